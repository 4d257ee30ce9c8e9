"""Synthetic cells: repeatable, in contact, not to be had by a threshold; files that read back as written."""

import numpy as np
import pytest
from scipy import ndimage
from skimage.filters import gaussian, threshold_otsu

from unetkit import io
from unetkit.data.synthetic import synthetic_cells, write_synthetic_cells
from unetkit.labels.borders import separate_touching

SIZES = {2: (96, 128), 3: (24, 64, 64)}


@pytest.mark.parametrize("ndim", [2, 3])
def test_image_and_instances(ndim):
    image, instances = synthetic_cells(SIZES[ndim], seed=1)
    assert image.shape == instances.shape == SIZES[ndim]
    assert image.dtype == np.uint8
    assert instances.dtype == np.uint16
    ids = np.unique(instances)
    assert np.array_equal(ids, np.arange(len(ids)))
    assert len(ids) > 2
    assert 0.15 < (instances > 0).mean() < 0.6
    assert (image == 255).mean() < 0.02
    assert image[instances > 0].mean() > image[instances == 0].mean()


@pytest.mark.parametrize("ndim", [2, 3])
def test_every_cell_is_one_piece_of_some_size(ndim):
    _, instances = synthetic_cells(SIZES[ndim], seed=2)
    for cell in range(1, instances.max() + 1):
        assert ndimage.label(instances == cell)[1] == 1
        assert np.count_nonzero(instances == cell) >= 40


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_seed_is_a_picture(ndim):
    first, again, other = (synthetic_cells(SIZES[ndim], seed=seed) for seed in (3, 3, 4))
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


def test_number_of_cells():
    assert synthetic_cells((64, 64), seed=0, n_cells=0)[1].max() == 0
    assert synthetic_cells((64, 64), seed=0, n_cells=1)[1].max() == 1
    assert 6 <= synthetic_cells((256, 256), seed=0, n_cells=8)[1].max() <= 8


def test_many_cells_touch():
    counts = [
        (np.count_nonzero((instances > 0) & (separate_touching(instances) == 0)), instances.max())
        for instances in (synthetic_cells(seed=seed)[1] for seed in range(4))
    ]
    assert all(touching > 8 * cells for touching, cells in counts)


def test_contacts_are_darker_than_the_cells_they_part():
    """Else the line between two cells could not be learned."""
    ratios = []
    for seed in range(4):
        image, instances = synthetic_cells(seed=seed)
        line = (instances > 0) & (separate_touching(instances) == 0)
        beside = ndimage.binary_dilation(line, iterations=5) & (instances > 0) & ~ndimage.binary_dilation(line)
        ratios.append(image[line].mean() / image[beside].mean())
    assert max(ratios) < 0.85


def test_a_threshold_is_not_enough():
    """The best single brightness, chosen by Otsu after smoothing, scores a Dice of 0.5 to 0.8."""
    scores = []
    for seed in range(6):
        image, instances = synthetic_cells(seed=seed)
        smooth = gaussian(image.astype(float), 2, preserve_range=True)
        predicted, truth = smooth > threshold_otsu(smooth), separate_touching(instances) > 0
        scores.append(2 * (predicted & truth).sum() / (predicted.sum() + truth.sum()))
    assert min(scores) > 0.5
    assert 0.6 < np.mean(scores) < 0.8


@pytest.mark.parametrize("ndim", [2, 3])
def test_demo_data_reads_back(tmp_path, ndim):
    images, masks = write_synthetic_cells(tmp_path / "demo", n=2, size=SIZES[ndim], seed=5)
    names = sorted(path.name for path in images.iterdir())
    assert names == sorted(path.name for path in masks.iterdir())
    assert [name.split(".")[0] for name in names] == ["cells_000", "cells_001"]
    image, instances = synthetic_cells(SIZES[ndim], seed=5 * 100_003 + 1)
    assert np.array_equal(io.read(images / names[1]).array[0], image)
    mask = io.read_labels(masks / names[1]).array
    assert np.array_equal(mask > 0, separate_touching(instances) > 0)
    assert len(np.unique(mask)) == 2


def test_the_same_seed_writes_the_same_files(tmp_path):
    pairs = [
        write_synthetic_cells(tmp_path / name, n=1, size=(64, 64), seed=seed) for name, seed in (("a", 1), ("b", 1))
    ]
    for first, second in zip(*pairs, strict=True):
        assert (first / "cells_000.png").read_bytes() == (second / "cells_000.png").read_bytes()


def test_what_does_not_fit_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"size \(256,\) does not fit cells"):
        synthetic_cells((256,), seed=0)
    with pytest.raises(ValueError, match=r"size \(64, 20\) does not fit cells: .* at least 32"):
        synthetic_cells((64, 20), seed=0)
    with pytest.raises(ValueError, match=r"size \(4, 64, 64\)"):
        synthetic_cells((4, 64, 64), seed=0)
    with pytest.raises(ValueError, match=r"n_cells is -1"):
        synthetic_cells((64, 64), seed=0, n_cells=-1)
    with pytest.raises(ValueError, match=r"n is 0"):
        write_synthetic_cells(tmp_path, n=0)
