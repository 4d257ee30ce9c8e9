"""Border weights against the formula computed in full, and the papers' numbers; contacts parted by morphology."""

import itertools
import math
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture
from scipy import ndimage

from unetkit.labels.borders import border_weights, separate_touching

DATA = Path(os.environ.get("UNETKIT_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
SIZES = {2: (90, 110), 3: (20, 40, 30)}


def cells(ndim, *, n=12, reach=7.0, seed=0):
    """Round cells cut where they meet: the pixels within `reach` of a seed point, given to the nearest."""
    rng = np.random.default_rng(seed)
    points = np.stack([rng.integers(0, side, n) for side in SIZES[ndim]])
    free = np.ones(SIZES[ndim], bool)
    free[tuple(points)] = False
    distance, nearest = ndimage.distance_transform_edt(free, return_indices=True)
    ids = np.zeros(SIZES[ndim], np.uint16)
    ids[tuple(points)] = rng.permutation(n) * 3 + 1  # ids with gaps
    return np.where(distance <= reach, ids[tuple(nearest)], 0)


def brute_force(instances, *, w0, sigma, spacing):
    ids = np.unique(instances)[1:]
    distances = np.sort([ndimage.distance_transform_edt(instances != i, sampling=spacing) for i in ids], axis=0)
    return 1 + w0 * np.exp(-((distances[0] + distances[1]) ** 2) / (2 * sigma**2))


def beside_another(instances):
    """Cell pixels with a neighbour, corners included, of another id: the long way, one neighbour after another."""
    found, padded = np.zeros(instances.shape, bool), np.pad(instances, 1)
    for offset in itertools.product((0, 1, 2), repeat=instances.ndim):
        shifted = padded[tuple(slice(o, o + side) for o, side in zip(offset, instances.shape, strict=True))]
        found |= (shifted != instances) & (shifted > 0) & (instances > 0)
    return found


@pytest.mark.parametrize("anisotropic", [False, True])
@pytest.mark.parametrize(("w0", "sigma"), [(10.0, 5.0), (3.0, 2.0)])
@pytest.mark.parametrize("ndim", [2, 3])
def test_weights_are_the_formula(ndim, w0, sigma, anisotropic):
    instances = separate_touching(cells(ndim))
    spacing = (2.5, 1.0, 0.7)[:ndim] if anisotropic else None
    found = border_weights(instances, w0=w0, sigma=sigma, spacing=spacing)
    expected = brute_force(instances, w0=w0, sigma=sigma, spacing=spacing)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert found.max() > 1 + 0.15 * w0


@pytest.mark.parametrize(("gap", "value"), [(5, 6.0653), (10, 1.3534), (15, 0.1111)])
@pytest.mark.parametrize("ndim", [2, 3])
def test_the_papers_numbers(ndim, gap, value):
    """Between two straight borders d1 + d2 is the gap wherever one stands."""
    instances = np.zeros((6,) * (ndim - 1) + (30,), np.int32)
    instances[..., :5] = 7
    instances[..., 4 + gap :] = 2
    between = border_weights(instances)[..., 5 : 4 + gap] - 1
    np.testing.assert_allclose(between, value, atol=5e-5)


def test_distance_zero_weighs_w0():
    """d1 + d2 goes to 0 as pixels do: with pixels of 1e-6 the border between two cells weighs w0."""
    found = border_weights(np.array([[1, 0, 2]]), spacing=(1e-6, 1e-6), w0=10, class_weights=(0, 0))
    np.testing.assert_allclose(found, 10, atol=1e-5)


@pytest.mark.parametrize("ndim", [2, 3])
def test_spacing_scales_with_sigma(ndim):
    instances = cells(ndim)
    found = border_weights(instances, sigma=5.0, spacing=(0.2,) * ndim)
    np.testing.assert_allclose(found, border_weights(instances, sigma=25.0), atol=1e-4)


@pytest.mark.parametrize("ids", [[], [4]])
def test_fewer_than_two_cells_leave_class_weights(ids):
    instances = np.zeros((12, 12), np.uint8)
    for i in ids:
        instances[3:6, 3:6] = i
    found = border_weights(instances, class_weights=(0.5, 2.0))
    assert np.array_equal(found, np.where(instances > 0, 2.0, 0.5).astype(np.float32))


def test_balanced_classes_weigh_the_same():
    instances = cells(2)
    found = border_weights(instances, w0=0.0, class_weights="balanced")
    assert math.isclose(found[instances > 0].sum(), found[instances == 0].sum(), rel_tol=1e-4)
    assert math.isclose(found.mean(), 1, rel_tol=1e-4)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int64])
@pytest.mark.parametrize("ndim", [2, 3])
def test_separated_cells_do_not_touch(ndim, dtype):
    instances = cells(ndim).astype(dtype)
    before = instances.copy()
    found = separate_touching(instances)
    assert np.array_equal(instances, before)
    assert found.dtype == dtype
    assert np.array_equal(found[found > 0], instances[found > 0])
    removed = (instances > 0) & (found == 0)
    assert removed.any()
    assert np.array_equal(removed, beside_another(instances))
    assert not beside_another(found).any()
    assert np.array_equal(separate_touching(found), found)


def test_separation_does_not_depend_on_ids():
    instances = cells(2)
    swapped = np.where(instances > 0, instances.max() + 1 - instances, 0).astype(instances.dtype)
    assert np.array_equal(separate_touching(instances) > 0, separate_touching(swapped) > 0)


def test_what_does_not_fit_is_refused():
    good = np.array([[1, 0, 2]])
    for function in (border_weights, separate_touching):
        with pytest.raises(ValueError, match=r"float64 with 2 axes"):
            function(good.astype(float))
        with pytest.raises(ValueError, match=r"int64 with 1 axes"):
            function(good[0])
        with pytest.raises(ValueError, match=r"the id -1"):
            function(good - 1)
    with pytest.raises(ValueError, match=r"spacing is \(1.0,\) for 2 axes"):
        border_weights(good, spacing=(1.0,))
    with pytest.raises(ValueError, match=r"spacing is \(1.0, 0.0\)"):
        border_weights(good, spacing=(1.0, 0.0))
    with pytest.raises(ValueError, match=r"w0 is -1 and sigma is 5.0"):
        border_weights(good, w0=-1)
    with pytest.raises(ValueError, match=r"w0 is 10.0 and sigma is 0"):
        border_weights(good, sigma=0)
    with pytest.raises(ValueError, match=r"class_weights is \(1.0, 2.0, 3.0\)"):
        border_weights(good, class_weights=(1.0, 2.0, 3.0))
    with pytest.raises(ValueError, match=r"class_weights is 'even'"):
        border_weights(good, class_weights="even")


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no real images at {DATA}")
def test_real_nuclei():
    path = min((DATA / "nuclei" / "masks").iterdir())
    instances = separate_touching(np.asarray(Picture.open(path)).astype(np.uint16))
    found = border_weights(instances)
    np.testing.assert_allclose(found, brute_force(instances, w0=10, sigma=5, spacing=None), atol=1e-4)
