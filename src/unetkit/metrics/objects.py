"""How well objects are found and told apart: two label images of ids, compared by what their objects share.

Every score is made from one sparse table, the pixels that each true object shares with each predicted one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from math import fsum, isnan, nan

import numpy as np
from skimage.segmentation import watershed

__all__ = [
    "THRESHOLDS",
    "ObjectScore",
    "Overlaps",
    "average_precision",
    "mean_average_precision",
    "mean_object_score",
    "overlaps",
    "panoptic_quality",
    "rand_and_information",
    "score_objects",
    "segmentation_accuracy",
    "thin_borders",
]

THRESHOLDS = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))


@dataclass(frozen=True)
class Overlaps:
    """What the objects of two label images share.

    Attributes
    ----------
    pairs : ndarray of shape (N, 2), int64
        Index of the true object and of the predicted one, for every pair that shares pixels.
    pixels : ndarray of shape (N,), int64
        How many.
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
    """Count what objects share.

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
    theirs, ours = (_numbered(np.asarray(ids[chosen]).ravel()) for ids in (truth, predicted))
    width = int(ours.max(initial=0)) + 1
    table, pixels = np.unique(theirs * width + ours, return_counts=True)
    pairs = np.stack([table // width, table % width], axis=1)
    both = (pairs > 0).all(axis=1)
    return Overlaps(pairs[both] - 1, pixels[both], np.bincount(theirs)[1:], np.bincount(ours)[1:])


def _numbered(ids: np.ndarray) -> np.ndarray:
    """Ids as 0 for background and 1 to n for the objects, int64."""
    values, index = np.unique(ids, return_inverse=True)
    if 0 not in values:
        return index.reshape(-1).astype(np.int64) + 1
    order = np.where(values == 0, 0, np.cumsum(values != 0))
    return np.asarray(order[index.reshape(-1)], np.int64)


def average_precision(found: Overlaps, threshold: float = 0.5) -> float:
    """`TP / (TP + FP + FN)`, where objects match if their intersection over union is above the threshold.

    The score of the Data Science Bowl 2018 (Caicedo et al., Nature Methods 2019), which calls it precision.

    Parameters
    ----------
    found : Overlaps
    threshold : float
        0.5 or more, so that an object matches one other at most.

    Returns
    -------
    float
        0 to 1; 1 where there is no object on either side.
    """
    if threshold < 0.5:
        raise ValueError(f"the threshold is {threshold}; expected 0.5 to 1, where no object matches two others")
    hits = int((found.iou > threshold).sum())
    total = len(found.truth) + len(found.predicted) - hits
    return hits / total if total else 1.0


def mean_average_precision(found: Overlaps) -> float:
    """Mean of `average_precision` over the thresholds 0.5, 0.55, ..., 0.95."""
    return float(np.mean([average_precision(found, threshold) for threshold in THRESHOLDS]))


def panoptic_quality(found: Overlaps) -> float:
    """Sum of the IoU of matched objects (above 0.5) over `TP + FP / 2 + FN / 2` (Kirillov et al., CVPR 2019).

    0 to 1; 1 where there is no object on either side.
    """
    iou = found.iou
    total = (len(found.truth) + len(found.predicted)) / 2
    return float(iou[iou > 0.5].sum() / total) if total else 1.0


def segmentation_accuracy(found: Overlaps) -> float:
    """SEG of the Cell Tracking Challenge (Ulman et al., Nature Methods 2017): mean IoU over the true objects.

    An object counts with the IoU of the one that covers more than half of it, else with 0; superfluous objects cost
    nothing. nan where the truth has no object.
    """
    if not len(found.truth):
        return float("nan")
    covers = found.pixels > found.truth[found.pairs[:, 0]] / 2
    return float(found.iou[covers].sum() / len(found.truth))


def rand_and_information(predicted: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """V_rand and V_info of the ISBI 2012 challenge, restricted to the true foreground.

    The F-scores, of equal weight, of split and merge by pairs of pixels and by bits (Arganda-Carreras et al.,
    Frontiers in Neuroanatomy 2015). Pixels of the true foreground where the prediction has background are objects of
    one pixel each. Thin the predicted borders first (`thin_borders`), as the challenge does.

    Parameters
    ----------
    predicted, truth : ndarray of shape (*spatial), integer
        Ids of objects; 0 is border.

    Returns
    -------
    (v_rand, v_info) : float
        0 to 1, 1 is equal; nan where the truth has no object.
    """
    table = overlaps(predicted, truth, valid=truth != 0)
    n = int(table.truth.sum())
    if not n:
        return float("nan"), float("nan")
    alone = n - int(table.pixels.sum())  # true foreground without a predicted object
    joint, theirs, ours = (counts / n for counts in (table.pixels, table.truth, table.predicted))
    single = alone / n
    both, rows, columns = ((p**2).sum() for p in (joint, theirs, ours))
    v_rand = (both + single / n) / (0.5 * rows + 0.5 * (columns + single / n))
    loss = single * np.log(n)  # of objects of one pixel, to both entropies
    h_joint, h_theirs, h_ours = _entropy(joint) + loss, _entropy(theirs), _entropy(ours) + loss
    total = 0.5 * (h_theirs + h_ours)
    v_info = (h_theirs + h_ours - h_joint) / total if total > 0 else 1.0
    return float(v_rand), float(v_info)


def thin_borders(ids: np.ndarray) -> np.ndarray:
    """Let objects grow over the background until lines of one pixel between them are left.

    Parameters
    ----------
    ids : ndarray of shape (*spatial), integer
        0 is background.

    Returns
    -------
    ndarray of the same shape, int32
    """
    flat = np.zeros(ids.shape, np.uint8)
    return np.asarray(watershed(flat, markers=ids.astype(np.int32), watershed_line=True), np.int32)


@dataclass(frozen=True)
class ObjectScore:
    """How well the objects of an image, or on average of some images, were found; scores from 0 to 1, nan undefined.

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
    found = overlaps(predicted, truth, valid=valid)
    return ObjectScore(
        len(found.truth),
        len(found.predicted),
        average_precision(found, 0.5),
        average_precision(found, 0.75),
        mean_average_precision(found),
        panoptic_quality(found),
        segmentation_accuracy(found),
    )


def mean_object_score(scores: Sequence[ObjectScore]) -> ObjectScore:
    """Mean over images, each counted the same (the Data Science Bowl's); where a score is undefined it is left out."""
    means = []
    for field in fields(ObjectScore):
        values = [value for score in scores if not isnan(value := getattr(score, field.name))]
        means.append(fsum(values) / len(values) if values else nan)
    return ObjectScore(*means)


def _entropy(shares: np.ndarray) -> float:
    positive = shares[shares > 0]
    return float(-(positive * np.log(positive)).sum())
