"""Overlap scores against hand formulas and scipy."""

import math

import numpy as np
import pytest
from scipy.stats.contingency import crosstab
from skimage.metrics import contingency_table

from unetkit.metrics.pixels import confusion, dice, iou, pixel_error, precision, recall

SHAPES = [(13, 11), (5, 6, 7)]


def classes(shape, seed, n_classes=3):
    return np.random.default_rng(seed).integers(0, n_classes, shape).astype(np.uint8)


def with_gaps(labels, seed):
    gaps = labels.copy()
    gaps[np.random.default_rng(seed).random(labels.shape) < 0.2] = 255
    return gaps


@pytest.mark.parametrize("shape", SHAPES)
def test_confusion_is_that_of_scipy_and_scikit_image(shape):
    predicted, truth = classes(shape, 0), classes(shape, 1)
    matrix = confusion(predicted, truth, 3)
    assert matrix.dtype == np.int64
    assert np.array_equal(matrix, crosstab(truth.ravel(), predicted.ravel()).count)
    assert np.array_equal(matrix, np.rint(contingency_table(truth, predicted).toarray()))
    assert np.array_equal(confusion(truth, predicted, 3), matrix.T)


@pytest.mark.parametrize("shape", SHAPES)
def test_confusion_leaves_out_what_either_image_does_not_label(shape):
    predicted, truth = with_gaps(classes(shape, 2), 3), with_gaps(classes(shape, 4), 5)
    both = (predicted != 255) & (truth != 255)
    expected = [[np.sum((truth == t) & (predicted == p) & both) for p in range(3)] for t in range(3)]
    assert confusion(predicted, truth, 3).tolist() == expected
    shown = np.where(predicted == 255, 7, predicted), np.where(truth == 255, 7, truth)
    assert confusion(*shown, 3, ignore=7).tolist() == expected


def test_confusion_refuses_what_is_no_class():
    with pytest.raises(ValueError, match=r"predicted has shape \(2,\) and truth \(3,\)"):
        confusion(np.zeros(2, int), np.zeros(3, int), 2)
    with pytest.raises(ValueError, match=r"truth holds class 5 \(2 px are out of range\): expected 0 to 1 or 255"):
        confusion(np.array([0, 0, 9]), np.array([5, 5, 255]), 2)
    with pytest.raises(
        ValueError, match=r"predicted holds class -1 \(1 px are out of range\): expected 0 to 1 or None"
    ):
        confusion(np.array([0, -1]), np.array([0, 1]), 2, ignore=None)


@pytest.mark.parametrize("shape", SHAPES)
def test_overlap_by_sets(shape):
    predicted, truth = classes(shape, 6), classes(shape, 7)
    matrix = confusion(predicted, truth, 3)
    for c in range(3):
        p, t = set(np.flatnonzero(predicted == c)), set(np.flatnonzero(truth == c))
        assert dice(matrix)[c] == pytest.approx(2 * len(p & t) / (len(p) + len(t)))
        assert iou(matrix)[c] == pytest.approx(len(p & t) / len(p | t))
        assert precision(matrix)[c] == pytest.approx(len(p & t) / len(p))
        assert recall(matrix)[c] == pytest.approx(len(p & t) / len(t))
    np.testing.assert_allclose(iou(matrix), dice(matrix) / (2 - dice(matrix)))
    assert pixel_error(matrix) == pytest.approx(np.mean(predicted != truth))


def test_perfect_and_opposite():
    truth = classes((9, 9), 8, n_classes=2)
    assert dice(confusion(truth, truth, 2)).tolist() == [1.0, 1.0]
    assert pixel_error(confusion(truth, truth, 2)) == 0.0
    assert iou(confusion(1 - truth, truth, 2)).tolist() == [0.0, 0.0]
    assert pixel_error(confusion(1 - truth, truth, 2)) == 1.0


def test_conventions_where_nothing_is_divided_by_nothing():
    matrix = confusion(
        np.array([0, 0, 3, 0]), np.array([0, 0, 0, 1]), 4
    )  # 1 never predicted, 2 nowhere, 3 not in truth
    np.testing.assert_array_equal(dice(matrix), [2 / 3, 0, 1, 0])
    np.testing.assert_array_equal(iou(matrix), [0.5, 0, 1, 0])
    np.testing.assert_array_equal(precision(matrix), [2 / 3, np.nan, np.nan, 0])
    np.testing.assert_array_equal(recall(matrix), [2 / 3, 0, np.nan, np.nan])
    assert math.isnan(pixel_error(np.zeros((2, 2), int)))
