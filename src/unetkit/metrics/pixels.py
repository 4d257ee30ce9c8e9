"""Scores of predicted classes by overlap, all from one confusion matrix.

Counts add up, so the scores of one image and those of all images together are the same few lines.
"""

from __future__ import annotations

import numpy as np

from ..labels.kind import IGNORE_INDEX

__all__ = ["confusion", "dice", "iou", "labelled_mask", "pixel_error", "precision", "recall"]

Array = np.ndarray


def confusion(predicted: Array, truth: Array, n_classes: int, *, ignore: int | None = IGNORE_INDEX) -> Array:
    """Count how often each class was predicted as each class.

    Parameters
    ----------
    predicted, truth : ndarray of shape (*spatial), integer
        Class indices 0 to `n_classes` - 1, or `ignore`.
    n_classes : int
    ignore : int or None
        Pixels with this value in either image are not counted.

    Returns
    -------
    ndarray of shape (n_classes, n_classes), int64
        Pixels; rows are the truth, columns the prediction.

    Raises
    ------
    ValueError
        If the shapes differ, or an image holds an index that is not a class.

    Examples
    --------
    >>> confusion(np.array([0, 1, 1, 1]), np.array([0, 0, 1, 255]), 2)
    array([[1, 1],
           [0, 1]])
    """
    predicted, truth = np.asarray(predicted), np.asarray(truth)
    valid = labelled_mask(predicted, truth, ignore)
    indices = []
    for name, classes in (("truth", truth[valid]), ("predicted", predicted[valid])):
        wrong = (classes < 0) | (classes >= n_classes)
        if wrong.any():
            raise ValueError(
                f"{name} holds class {classes[wrong][0]} ({np.count_nonzero(wrong)} px are out of range): expected "
                f"0 to {n_classes - 1} or {ignore} for not labelled"
            )
        indices.append(classes.astype(np.int64))
    both = indices[0] * n_classes + indices[1]
    return np.bincount(both, minlength=n_classes**2).reshape(n_classes, n_classes).astype(np.int64)


# --- overlap: (K, K) pixels in, one float64 per class out ---


def dice(matrix: Array) -> Array:
    """Dice coefficient (F1) per class, `2 TP / (2 TP + FP + FN)`; 1.0 for a class that is in neither image."""
    hit, predicted, truth = _margins(matrix)
    return _ratio(2 * hit, predicted + truth, empty=1.0)


def iou(matrix: Array) -> Array:
    """Intersection over union (Jaccard) per class, `TP / (TP + FP + FN)`; 1.0 for a class that is in neither image."""
    hit, predicted, truth = _margins(matrix)
    return _ratio(hit, predicted + truth - hit, empty=1.0)


def precision(matrix: Array) -> Array:
    """Fraction of the pixels predicted as a class that are of it; nan where the class is never predicted."""
    hit, predicted, _ = _margins(matrix)
    return _ratio(hit, predicted, empty=np.nan)


def recall(matrix: Array) -> Array:
    """Fraction of the pixels of a class that were predicted as it; nan where the truth has none."""
    hit, _, truth = _margins(matrix)
    return _ratio(hit, truth, empty=np.nan)


def pixel_error(matrix: Array) -> float:
    """Fraction of the labelled pixels with a wrong class, 1 - accuracy; nan where nothing is labelled."""
    total = int(matrix.sum())
    return 1.0 - float(np.trace(matrix)) / total if total else float("nan")


def _margins(matrix: Array) -> tuple[Array, Array, Array]:
    """Pixels per class that are right, predicted, and in the truth."""
    return np.diagonal(matrix), matrix.sum(axis=0), matrix.sum(axis=1)


def _ratio(part: Array, whole: Array, *, empty: float) -> Array:
    return np.divide(part, whole, out=np.full(len(whole), empty), where=whole > 0)


def labelled_mask(predicted: Array, truth: Array, ignore: int | None) -> Array:
    """Pixels in which both images have a class.

    Parameters
    ----------
    predicted, truth : ndarray of shape (*spatial), integer
    ignore : int or None
        Class index that means "not labelled".

    Returns
    -------
    ndarray of shape (*spatial), bool

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if predicted.shape != truth.shape:
        raise ValueError(f"predicted has shape {predicted.shape} and truth {truth.shape}: expected the same shape")
    if ignore is None:
        return np.ones(truth.shape, dtype=bool)
    return (predicted != ignore) & (truth != ignore)
