"""Objects from distances: touching ones come apart, and blocks give what the whole gives."""

import os
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from unetkit.io import read_labels
from unetkit.labels.instances import InstanceThresholds, decode, decode_blocks, distance_levels
from unetkit.metrics.objects import mean_average_precision, overlaps

DATA = Path(os.environ.get("UNETKIT_DATA", Path(__file__).parents[3] / "shared" / "data"))


def balls(size: tuple[int, ...], n: int, radius: int, seed: int = 0) -> np.ndarray:
    """Objects that touch and cover each other."""
    rng = np.random.default_rng(seed)
    grid, ids = np.indices(size), np.zeros(size, int)
    for i in range(1, n + 1):
        centre = rng.integers(0, size).reshape(-1, *[1] * len(size))
        ids[((grid - centre) ** 2).sum(0) <= (radius * rng.uniform(0.6, 1)) ** 2] = i
    return ids


def noisy(ids: np.ndarray, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """About what a net predicts."""
    rng = np.random.default_rng(seed)
    smooth = [ndimage.gaussian_filter(rng.normal(size=ids.shape), 2) for _ in range(2)]
    return (ids > 0) * 0.8 + 0.1 + smooth[0], distance_levels(ids) + smooth[1]


def test_distance_levels() -> None:
    ids = np.zeros((7, 14), int)
    ids[1:6, 1:6], ids[1:6, 6:13] = 900, 3
    found = distance_levels(ids)
    assert found.dtype == np.float32
    assert (found[ids == 0] == 0).all()
    assert (found[ids > 0] > 0).all()
    assert found[3, 3] == found[3, 9] == 1
    assert found[3, 5] == pytest.approx(1 / 3)  # the border to another object is a border
    assert distance_levels(np.ones((5, 5), int))[0, 0] == pytest.approx(1 / 3)  # as is that of the image
    thick = distance_levels(np.ones((3, 9, 9), int), spacing=(10, 1, 1))
    assert thick[0, 4, 4] == thick[1, 4, 4] == 1


def test_touching_objects_come_apart() -> None:
    ids = balls((120, 150), 30, 12)
    found = decode((ids > 0).astype(float), distance_levels(ids))
    assert mean_average_precision(overlaps(found, ids)) > 0.8
    assert found.max() < 40
    joined = decode((ids > 0).astype(float), (ids > 0).astype(float))
    assert joined.max() == ndimage.label(ids > 0)[1]


def test_flat_and_small_objects() -> None:
    foreground, distance = np.zeros((20, 20)), np.zeros((20, 20))
    foreground[2:8, 2:8], foreground[12:14, 12:14] = 0.9, 0.9
    distance[2:8, 2:8] = 0.1  # nowhere a seed
    found = decode(foreground, distance, InstanceThresholds(min_size=5))
    assert (found[2:8, 2:8] == 1).all()
    assert found.sum() == 36
    assert decode(foreground, distance, InstanceThresholds(min_size=4)).max() == 2
    assert decode(foreground, distance, InstanceThresholds(foreground=0.95)).max() == 0


def test_the_order_of_ids() -> None:
    foreground = np.zeros((9, 9))
    foreground[0:2, 5:8], foreground[1:4, 0:3], foreground[6:, 6:] = 1, 1, 1
    found = decode(foreground, foreground, InstanceThresholds(min_size=1))
    assert (found[0, 5], found[1, 0], found[8, 8]) == (1, 2, 3)


@pytest.mark.parametrize(
    ("size", "block", "n", "radius"), [((150, 130), (32, 40), 60, 11), ((30, 40, 50), (16, 10, 25), 40, 6)]
)
@pytest.mark.parametrize("seed", range(3))
def test_blocks_give_what_the_whole_gives(
    size: tuple[int, ...], block: tuple[int, ...], n: int, radius: int, seed: int
) -> None:
    foreground, distance = noisy(balls(size, n, radius, seed), seed)
    expected = decode(foreground, distance)
    found = decode_blocks(lambda box: (foreground[box], distance[box]), size, block)
    assert expected.max() > 10
    assert np.array_equal(found, expected)


@pytest.mark.slow
def test_a_mosaic_of_real_nuclei() -> None:
    """2048 x 2048 pixels, tiles of 256 whose nuclei touch across their borders, read in blocks that cut most tiles."""
    files = sorted((DATA / "nuclei" / "masks").glob("*.png")) if (DATA / "nuclei").is_dir() else []
    tiles = [tile for tile in (read_labels(file).array for file in files) if tile.shape == (256, 256)][:64]
    if len(tiles) < 64:
        pytest.skip(f"no 64 masks of 256 x 256 in {DATA / 'nuclei'}")
    numbered = [np.where(tile > 0, tile.astype(int) + 1000 * i, 0) for i, tile in enumerate(tiles)]
    ids = np.block([[numbered[8 * row + column] for column in range(8)] for row in range(8)])
    foreground, distance = noisy(ids)
    expected = decode(foreground, distance)
    assert expected.max() > 1000
    for block in ((512, 700), (300, 2048)):
        found = decode_blocks(lambda box: (foreground[box], distance[box]), ids.shape, block)
        assert np.array_equal(found, expected)


def test_wrong_thresholds() -> None:
    with pytest.raises(ValueError, match=r"split_ratio is 1\.5"):
        InstanceThresholds(split_ratio=1.5)
