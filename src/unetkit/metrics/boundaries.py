"""Distances between the boundaries of two masks, and the share of them that agrees within a tolerance.

Distances come from scipy's exact Euclidean transform, so anisotropic pixels are a tuple of sizes and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

Array = np.ndarray


@dataclass(frozen=True)
class BoundaryMatch:
    """Counts of the boundary pixels of two masks within a tolerance of each other's boundary.

    Counts add up over images with `+`.

    Attributes
    ----------
    predicted, truth : int
        Boundary pixels of either mask.
    predicted_matched, truth_matched : int
        Those of them within the tolerance of the other mask's boundary.
    is_equal : bool
        Whether the masks are equal. It decides the score where neither mask has a boundary: one may be full
        and the other empty.
    """

    predicted: int = 0
    truth: int = 0
    predicted_matched: int = 0
    truth_matched: int = 0
    is_equal: bool = True

    def __add__(self, other: BoundaryMatch) -> BoundaryMatch:
        return BoundaryMatch(
            self.predicted + other.predicted,
            self.truth + other.truth,
            self.predicted_matched + other.predicted_matched,
            self.truth_matched + other.truth_matched,
            self.is_equal and other.is_equal,
        )

    @property
    def f1(self) -> float:
        """Harmonic mean of the matched fractions; 0.0 where only one mask has a boundary."""
        if not (self.predicted and self.truth):
            return self._without_boundary
        precision, recall = self.predicted_matched / self.predicted, self.truth_matched / self.truth
        return 2 * precision * recall / (precision + recall) if precision + recall else 0.0

    @property
    def surface_dice(self) -> float:
        """Matched fraction of both boundaries taken together; 0.0 where only one mask has a boundary."""
        if not (self.predicted and self.truth):
            return self._without_boundary
        return (self.predicted_matched + self.truth_matched) / (self.predicted + self.truth)

    @property
    def _without_boundary(self) -> float:
        return float(self.predicted == self.truth and self.is_equal)


def boundary(mask: Array, valid: Array | None = None) -> Array:
    """Pixels of `mask` with a neighbour (sharing a face) outside of it.

    Pixels beyond the image, or not labelled, are unknown and make no boundary: an object cut by the image's edge has
    no boundary along the cut.

    Parameters
    ----------
    mask : ndarray of shape (*spatial), bool
    valid : ndarray of shape (*spatial), bool, optional
        False where not labelled.

    Returns
    -------
    ndarray of shape (*spatial), bool
    """
    mask = np.asarray(mask, dtype=bool)
    if valid is None:
        return mask & ~ndimage.binary_erosion(mask, border_value=1)
    return mask & valid & ~ndimage.binary_erosion(mask | ~valid, border_value=1)


def surface_distances(
    predicted: Array, truth: Array, *, spacing: Sequence[float] | None = None, valid: Array | None = None
) -> tuple[Array, Array]:
    """Distance of every boundary pixel of one mask to the boundary of the other.

    Parameters
    ----------
    predicted, truth : ndarray of shape (*spatial), bool
    spacing : sequence of float, optional
        Pixel size per axis; 1 by default. Distances are in its unit.
    valid : ndarray of shape (*spatial), bool, optional
        False where not labelled: those pixels are no boundary in either mask.

    Returns
    -------
    from_predicted, from_truth : ndarray of shape (n_boundary_pixels,), float64
        In the order of the array; inf where the other mask has no boundary.

    Raises
    ------
    ValueError
        If shapes differ, or `spacing` is not one positive number per axis.
    """
    predicted, truth = np.asarray(predicted, dtype=bool), np.asarray(truth, dtype=bool)
    if predicted.shape != truth.shape:
        raise ValueError(f"predicted has shape {predicted.shape} and truth {truth.shape}: expected the same shape")
    spacing = _spacing(spacing, truth.ndim)
    edges = boundary(predicted, valid), boundary(truth, valid)
    box = ndimage.find_objects((edges[0] | edges[1]).astype(np.uint8))
    if not box:
        return np.zeros(0), np.zeros(0)
    of_predicted, of_truth = (edge[box[0]] for edge in edges)  # nothing outside the box matters
    return _distance_to(of_truth, spacing)[of_predicted], _distance_to(of_predicted, spacing)[of_truth]


def match_boundaries(
    predicted: Array,
    truth: Array,
    *,
    tolerance: float,
    spacing: Sequence[float] | None = None,
    valid: Array | None = None,
) -> BoundaryMatch:
    """Count the boundary pixels of two masks that lie within `tolerance` of each other's boundary.

    Parameters are those of `boundary_f1`.
    """
    if not tolerance >= 0:
        raise ValueError(f"tolerance {tolerance}: expected a distance of 0 or more, in the unit of the spacing")
    from_predicted, from_truth = surface_distances(predicted, truth, spacing=spacing, valid=valid)
    differ = np.asarray(predicted, dtype=bool) != np.asarray(truth, dtype=bool)
    return BoundaryMatch(
        len(from_predicted),
        len(from_truth),
        int(np.count_nonzero(from_predicted <= tolerance)),
        int(np.count_nonzero(from_truth <= tolerance)),
        not (differ if valid is None else differ & valid).any(),
    )


def boundary_f1(
    predicted: Array,
    truth: Array,
    *,
    tolerance: float,
    spacing: Sequence[float] | None = None,
    valid: Array | None = None,
) -> float:
    """Score how well contours agree: BF score [1]_, harmonic mean of contour precision and recall.

    Parameters
    ----------
    predicted, truth : ndarray of shape (*spatial), bool
    tolerance : float
        Contour pixels at most so far apart match; in the unit of `spacing`.
    spacing : sequence of float, optional
        Pixel size per axis; 1 by default.
    valid : ndarray of shape (*spatial), bool, optional
        False where not labelled: those pixels do not count in either mask.

    Returns
    -------
    float
        0 to 1. Where only one mask has a boundary, 0.0. Where neither has, 1.0 if the masks are equal (both empty or
        both full), else 0.0.

    Raises
    ------
    ValueError
        If shapes differ, `spacing` is not one positive number per axis, or `tolerance` is negative.

    References
    ----------
    .. [1] Csurka, Larlus, Perronnin, What is a good evaluation measure for semantic segmentation?, BMVC 2013,
       doi:10.5244/C.27.32
    """
    return match_boundaries(predicted, truth, tolerance=tolerance, spacing=spacing, valid=valid).f1


def normalised_surface_dice(
    predicted: Array,
    truth: Array,
    *,
    tolerance: float,
    spacing: Sequence[float] | None = None,
    valid: Array | None = None,
) -> float:
    """Fraction of both surfaces that lies within `tolerance` of the other: surface Dice [1]_.

    Every boundary pixel counts the same; the original weights it by the area of the surface in it, which differs
    where the spacing is anisotropic.

    Parameters, returned range and conventions are those of `boundary_f1`.

    References
    ----------
    .. [1] Nikolov et al., Deep learning to achieve clinically applicable segmentation of head and neck anatomy for
       radiotherapy, 2018, arXiv:1809.04430
    """
    return match_boundaries(predicted, truth, tolerance=tolerance, spacing=spacing, valid=valid).surface_dice


def _spacing(spacing: Sequence[float] | None, ndim: int) -> tuple[float, ...]:
    if spacing is None:
        return (1.0,) * ndim
    sizes = tuple(map(float, spacing))
    if len(sizes) != ndim or not all(0 < size < np.inf for size in sizes):
        raise ValueError(f"spacing {sizes} for masks of {ndim} axes: expected {ndim} positive numbers")
    return sizes


def _distance_to(edge: Array, spacing: tuple[float, ...]) -> Array:
    """Distance of every pixel to the nearest of `edge`."""
    if not edge.any():  # scipy's transform would return distances to nothing
        return np.full(edge.shape, np.inf)
    return ndimage.distance_transform_edt(~edge, sampling=spacing)
