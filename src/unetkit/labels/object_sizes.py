"""Sizes of labelled objects, to compare with the receptive field of a net."""

from __future__ import annotations

from math import gamma, pi

import numpy as np
from skimage.measure import label

from .kind import IGNORE_INDEX

__all__ = ["object_sizes"]


def object_sizes(labels: np.ndarray, *, ignore: int | None = IGNORE_INDEX) -> np.ndarray:
    """Measure every labelled object: the diameter of a disc (2D) or ball (3D) of the same area or volume.

    An object is a connected set of pixels with one value; pixels are connected by their faces, so that cells which
    only touch at a corner stay apart. Objects that the image border cuts count with their visible part.

    Parameters
    ----------
    labels : ndarray of shape (*spatial), integer or bool
        Classes or ids of instances; 0 is background.
    ignore : int or None
        Value that means "not labelled"; None where every value is an object (ids go beyond 255).

    Returns
    -------
    ndarray of shape (n_objects,), float64
        Equivalent diameters in pixels, ascending; empty without objects.

    Raises
    ------
    ValueError
        If `labels` has no axis, or is not of integers or booleans.

    Examples
    --------
    >>> labels = np.zeros((8, 8), dtype=np.uint8)
    >>> labels[1:3, 1:3], labels[5, 5] = 1, 2
    >>> object_sizes(labels).round(2)
    array([1.13, 2.26])
    """
    labels = np.asarray(labels)
    if labels.ndim < 1 or labels.dtype.kind not in "uib":
        raise ValueError(
            f"labels have {labels.ndim} axes and dtype {labels.dtype}; expected 1 axis or more, integers or booleans"
        )
    objects = labels.astype(np.uint8) if labels.dtype.kind == "b" else labels
    if ignore is not None:
        objects = np.where(objects == ignore, 0, objects)
    pixels = np.bincount(label(objects, background=0, connectivity=1).ravel())[1:]
    unit_ball = pi ** (labels.ndim / 2) / gamma(labels.ndim / 2 + 1)  # volume of the ball of radius 1
    return np.sort(2 * (pixels / unit_ball) ** (1 / labels.ndim))
