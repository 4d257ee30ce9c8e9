"""Another pixel size: every pixel the same in any region, means kept, nothing folded, labels the nearest."""

import numpy as np
import pytest
from scipy import ndimage

from unetkit.image import Image
from unetkit.io.lazy import WholeImage
from unetkit.io.resample import Resampled, resampled, size_at, to_size

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("size", "new"), [((40, 50), (61, 33)), ((8, 20, 24), (8, 31, 11)), ((7, 9), (1, 30))])
@pytest.mark.parametrize("nearest", [False, True])
def test_regions_are_parts_of_the_whole(size, new, nearest):
    array = RNG.normal(size=(2, *size)).astype(np.float32)
    source = Resampled(
        WholeImage(Image(array, "cyx" if len(size) == 2 else "czyx", (1.0,) * len(size))), new, nearest=nearest
    )
    whole = source.read(tuple(slice(0, n) for n in source.shape))
    assert whole.shape == (2, *new)
    for _ in range(10):
        low = [int(RNG.integers(0, n)) for n in new]
        region = tuple(slice(a, int(RNG.integers(a, n)) + 1) for a, n in zip(low, new, strict=True))
        part = source.read((slice(0, 2), *region))
        np.testing.assert_allclose(part, whole[(slice(None), *region)], rtol=1e-6, atol=1e-6)


def test_a_ramp_stays_a_ramp():
    ramp = np.arange(40.0)[None, None] * np.ones((1, 5, 1))
    for n in (80, 20, 57):
        found = resampled(ramp, (5, n), (1.0, 1.0))[0, 2]
        expected = (np.arange(n) + 0.5) * 40 / n - 0.5
        inside = (expected > 1.5) & (expected < 37.5)
        np.testing.assert_allclose(found[inside], expected[inside], rtol=1e-5)


def test_fine_patterns_become_gray_and_are_not_folded():
    stripes = (np.indices((64, 64)).sum(0) % 2).astype(np.float32)[None]
    found = resampled(stripes, (15, 15), (1.0, 1.0))
    assert np.abs(found[0, 1:-1, 1:-1] - 0.5).max() < 0.02
    blob = ndimage.gaussian_filter(RNG.normal(size=(64, 64)), 6)[None]
    assert resampled(blob, (20, 20), (1.0, 1.0)).mean() == pytest.approx(blob.mean(), abs=1e-3)


def test_thick_sections_are_not_mixed():
    array = np.zeros((1, 3, 8, 8), np.float32)
    array[0, 1] = 1
    found = resampled(array, (6, 8, 8), (5.0, 1.0, 1.0))
    assert set(np.unique(found)) == {0.0, 1.0}
    assert set(np.unique(resampled(array, (6, 8, 8), (2.0, 1.0, 1.0)))) == {0.0, 0.25, 0.75}


def test_labels_there_and_back():
    labels = RNG.integers(0, 500, (13, 17)).astype(np.uint16)
    assert (to_size(to_size(labels, (39, 51)), (13, 17)) == labels).all()
    assert to_size(labels, (20, 9)).dtype == np.uint16
    assert to_size(labels, (13, 17)) is not None


@pytest.mark.parametrize(
    ("spacing", "unit", "target", "target_unit", "expected"),
    [
        ((1.0, 1.0), "mm", (1.05, 1.0), "mm", (100, 60)),
        ((2.0, 1.0), "mm", (1.0, 1.0), "mm", (200, 60)),
        ((2.0, 1.0), "µm", (1000.0, 1000.0), "nm", (200, 60)),
        ((2.0, 1.0), "px", (1.0, 1.0), "mm", (100, 60)),
        ((2.0, 1.0), "mm", (1.0, 1.0, 1.0), "mm", (100, 60)),
        ((1.0, 0.125), "mm", (1.0, 1.0), "mm", (100, 8)),
    ],
)
def test_sizes(spacing, unit, target, target_unit, expected):
    assert size_at((100, 60), spacing, unit, target, target_unit) == expected


def test_a_factor_of_a_thousand_is_another_unit():
    with pytest.raises(ValueError, match=r"has pixels of 500 x 500 µm, where 0.5 x 0.5 µm are usual: correct"):
        size_at((100, 60), (500.0, 500.0), "µm", (0.5, 0.5), "µm")


def test_nearest_takes_the_later_of_two_pixels_as_near():
    """Halving 0 to 5: 1 3 5 as Pillow and scikit-image have it, where OpenCV, ITK and torch's nearest take 0 2 4."""
    row = np.arange(6)
    assert to_size(row[None], (1, 3)).tolist() == [[1, 3, 5]]
    assert to_size(row[None, None], (1, 1, 3)).tolist() == [[[1, 3, 5]]]
    assert to_size(row[:, None, None], (3, 1, 1)).ravel().tolist() == [1, 3, 5]
