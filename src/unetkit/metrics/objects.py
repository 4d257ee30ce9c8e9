"""Scores of objects: two label images of ids, compared by the pixels that their objects share.

Every score is made from one sparse table, the pixels that each true object shares with each predicted one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from math import fsum, isnan, nan

import numpy as np

__all__ = [
    "THRESHOLDS",
    "ObjectScore",
    "Overlaps",
    "average_precision",
    "mean_average_precision",
    "mean_object_score",
    "overlaps",
    "panoptic_quality",
    "score_objects",
    "segmentation_accuracy",
]

THRESHOLDS = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))


@dataclass(frozen=True)
class Overlaps:
    """Pixels that the objects of two label images share.

    Attributes
    ----------
    pairs : ndarray of shape (N, 2), int64
        Index of the true object and of the predicted one, for every pair that shares pixels.
    pixels : ndarray of shape (N,), int64
        Shared pixels of every pair.
    truth, predicted : ndarray, int64
        Pixels of every object.
    """

    pairs: np.ndarray
    pixels: np.ndarray
    truth: np.ndarray
    predicted: np.ndarray

    @property
    def iou(self) -> np.ndarray:
        """Intersection over union of every pair, (N,)."""
        unions = self.truth[self.pairs[:, 0]] + self.predicted[self.pairs[:, 1]] - self.pixels
        return np.asarray(self.pixels / np.maximum(unions, 1))


def overlaps(predicted: np.ndarray, truth: np.ndarray, *, valid: np.ndarray | None = None) -> Overlaps:
    """Count the pixels that objects share.

    Parameters
    ----------
    predicted, truth : ndarray of shape (*spatial), integer
        Ids of objects, any numbers; 0 is background.
    valid : ndarray of shape (*spatial), bool, optional
        Pixels that count.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if predicted.shape != truth.shape:
        raise ValueError(f"predicted objects have shape {predicted.shape}, true ones {truth.shape}: expected the same")
    chosen = slice(None) if valid is None else valid
    true_ids, predicted_ids = (_numbered(np.asarray(ids[chosen]).ravel()) for ids in (truth, predicted))
    width = int(predicted_ids.max(initial=0)) + 1
    table, pixels = np.unique(true_ids * width + predicted_ids, return_counts=True)
    pairs = np.stack([table // width, table % width], axis=1)
    both = (pairs > 0).all(axis=1)
    return Overlaps(pairs[both] - 1, pixels[both], np.bincount(true_ids)[1:], np.bincount(predicted_ids)[1:])


def _numbered(ids: np.ndarray) -> np.ndarray:
    """Ids renumbered to 0 for background and 1 to n for the objects, int64."""
    values, index = np.unique(ids, return_inverse=True)
    if 0 not in values:
        return index.reshape(-1).astype(np.int64) + 1
    order = np.where(values == 0, 0, np.cumsum(values != 0))
    return np.asarray(order[index.reshape(-1)], np.int64)


def average_precision(shared: Overlaps, threshold: float = 0.5) -> float:
    """`TP / (TP + FP + FN)`, where objects match if their intersection over union is above the threshold.

    The score of the Data Science Bowl 2018 (Caicedo et al., Nature Methods 2019), which calls it precision.

    Parameters
    ----------
    shared : Overlaps
    threshold : float
        0.5 or more, so that an object matches one other at most.

    Returns
    -------
    float
        0 to 1; 1 where there is no object on either side.
    """
    if threshold < 0.5:
        raise ValueError(f"the threshold is {threshold}; expected 0.5 to 1, where no object matches two others")
    hits = int((shared.iou > threshold).sum())
    total = len(shared.truth) + len(shared.predicted) - hits
    return hits / total if total else 1.0


def mean_average_precision(shared: Overlaps) -> float:
    """Mean of `average_precision` over the thresholds 0.5, 0.55, ..., 0.95."""
    return float(np.mean([average_precision(shared, threshold) for threshold in THRESHOLDS]))


def panoptic_quality(shared: Overlaps) -> float:
    """Sum of the IoU of matched objects (above 0.5) over `TP + FP / 2 + FN / 2` (Kirillov et al., CVPR 2019).

    0 to 1; 1 where there is no object on either side.
    """
    iou = shared.iou
    total = (len(shared.truth) + len(shared.predicted)) / 2
    return float(iou[iou > 0.5].sum() / total) if total else 1.0


def segmentation_accuracy(shared: Overlaps) -> float:
    """SEG of the Cell Tracking Challenge (Ulman et al., Nature Methods 2017): mean IoU over the true objects.

    An object counts with the IoU of the one that covers more than half of it, else with 0; superfluous objects cost
    nothing. nan where the truth has no object.
    """
    if not len(shared.truth):
        return float("nan")
    covers = shared.pixels > shared.truth[shared.pairs[:, 0]] / 2
    return float(shared.iou[covers].sum() / len(shared.truth))


@dataclass(frozen=True)
class ObjectScore:
    """Scores of the objects of an image, or their mean over images, from 0 to 1; nan where undefined.

    Attributes
    ----------
    truth, predicted : float
        Number of objects.
    ap50, ap75, mean_ap : float
        `average_precision` at 0.5 and 0.75, and `mean_average_precision`.
    panoptic, seg : float
        `panoptic_quality` and `segmentation_accuracy`.
    """

    truth: float
    predicted: float
    ap50: float
    ap75: float
    mean_ap: float
    panoptic: float
    seg: float

    def describe(self) -> str:
        """One line for the user."""
        return (
            f"objects: AP50 {self.ap50:.4f}, AP75 {self.ap75:.4f}, mean AP {self.mean_ap:.4f}, panoptic quality "
            f"{self.panoptic:.4f}, SEG {self.seg:.4f}; per image {self.predicted:.1f} found, {self.truth:.1f} true"
        )


def score_objects(predicted: np.ndarray, truth: np.ndarray, *, valid: np.ndarray | None = None) -> ObjectScore:
    """All scores of objects of one image; parameters as `overlaps` takes them."""
    shared = overlaps(predicted, truth, valid=valid)
    return ObjectScore(
        len(shared.truth),
        len(shared.predicted),
        average_precision(shared, 0.5),
        average_precision(shared, 0.75),
        mean_average_precision(shared),
        panoptic_quality(shared),
        segmentation_accuracy(shared),
    )


def mean_object_score(scores: Sequence[ObjectScore]) -> ObjectScore:
    """Mean over images, each counted the same (as the Data Science Bowl does), without undefined scores."""
    return ObjectScore(
        *(mean_of_defined([getattr(score, field.name) for score in scores]) for field in fields(ObjectScore))
    )


def mean_of_defined(values: Sequence[float]) -> float:
    """Mean of the values that are not nan; nan where there are none."""
    defined = [value for value in values if not isnan(value)]
    return fsum(defined) / len(defined) if defined else nan
