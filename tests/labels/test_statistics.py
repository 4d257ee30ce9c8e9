"""Counts and components against numpy, scipy and drawings."""

import numpy as np
import pytest
from scipy import ndimage

from unetkit.labels import statistics
from unetkit.labels.statistics import as_integers, count_values, label_statistics


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int64, np.uint64, np.float32])
@pytest.mark.parametrize("shape", [(9, 7), (5, 6, 4)])
def test_counts_are_those_of_numpy(shape, dtype):
    labels = np.random.default_rng(0).integers(0, 9, shape).astype(dtype)
    values, counts = np.unique(labels, return_counts=True)
    assert label_statistics(labels).counts == dict(zip(values.tolist(), counts.tolist(), strict=True))


def test_counts_of_ids_too_far_apart_for_bins():
    assert count_values(np.array([5, 1 << 40, 5, -1])) == {-1: 1, 5: 2, 1 << 40: 1}


@pytest.mark.parametrize("shape", [(24, 20), (8, 9, 10)])
def test_components_are_those_of_scipy_per_value(shape):
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 4, shape) * (rng.random(shape) < 0.3)
    corners = np.ones((3,) * len(shape))
    expected = {value: ndimage.label(labels == value, corners)[1] for value in (1, 2, 3)}
    assert label_statistics(labels).components == expected


def test_touching_ids_are_two_objects_and_diagonal_pixels_one():
    assert label_statistics(np.array([[1, 2, 0], [0, 0, 2], [3, 0, 3]])).components == {1: 1, 2: 1, 3: 2}


def test_components_are_not_sought_where_two_values_say_all():
    assert label_statistics(np.array([[0, 255], [255, 0]])).components == {}
    assert label_statistics(np.array([[True, False]])).counts == {0: 1, 1: 1}


def test_ignored_value_has_no_components():
    assert label_statistics(np.array([[-1, 0, 1], [-1, 0, 2]])).components == {1: 1, 2: 1}


def test_components_of_a_large_image_come_from_its_middle(monkeypatch):
    monkeypatch.setattr(statistics, "WINDOW_PIXELS", 200)
    labels = np.zeros((40, 40), dtype=int)
    labels[0, 0], labels[20, 20], labels[20, 22], labels[21, 18] = 1, 2, 2, 3
    seen = label_statistics(labels)
    assert seen.components == {2: 2, 3: 1}
    assert set(seen.counts) == {0, 1, 2, 3}


def test_refuses_what_is_no_label():
    with pytest.raises(ValueError, match=r"2 of 3 pixels that are not whole numbers \(e.g. 0.5\)"):
        label_statistics(np.array([1.0, 0.5, np.nan]))
    with pytest.raises(ValueError, match=r"shape \(0, 4\) holds no pixels"):
        label_statistics(np.zeros((0, 4), dtype=int))
    with pytest.raises(ValueError, match="dtype complex128"):
        as_integers(np.zeros(2, dtype=complex))
