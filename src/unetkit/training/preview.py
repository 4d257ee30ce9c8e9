"""Previews: an image with its true and predicted outlines, and the differences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy import ndimage

from ..data.case import Case
from ..image import Image
from ..io import write
from ..labels.colours import class_colour
from ..labels.kind import IGNORE_INDEX

_WRONG, _MISSED = (214, 39, 40), (31, 119, 180)


def to_rgb(image: np.ndarray) -> np.ndarray:
    """An image (C, y, x) as (y, x, 3) uint8, 1st to 99th percentile from black to white; a volume's middle plane."""
    plane = image if image.ndim == 3 else image[:, image.shape[1] // 2]
    plane = plane[:3] if len(plane) >= 3 else np.repeat(plane[:1], 3, axis=0)
    low, high = np.percentile(plane, (1, 99))
    scaled = (plane - low) / max(high - low, 1e-6)
    return (np.clip(scaled, 0, 1).transpose(1, 2, 0) * 255).astype(np.uint8)


def outlines(image: np.ndarray, labels: np.ndarray, *, are_ids: bool = False) -> np.ndarray:
    """The image with the outline of every class in its colour, or of every object in one, (y, x, 3) uint8."""
    picture, plane = to_rgb(image), middle_plane(labels)
    cross = ndimage.generate_binary_structure(2, 1)
    low, high = (extreme(plane, footprint=cross) for extreme in (ndimage.minimum_filter, ndimage.maximum_filter))
    edge = (low != high) & (plane != 0)
    if are_ids:
        picture[edge] = class_colour(1)
        return picture
    for value in np.unique(plane[edge]):
        if value != IGNORE_INDEX:
            picture[edge & (plane == value)] = class_colour(value)
    return picture


def differences(image: np.ndarray, predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The image in gray, with false positives in red and misses in blue, (y, x, 3) uint8."""
    gray = to_rgb(image).mean(-1, keepdims=True).repeat(3, -1) * 0.6 + 80
    predicted, truth = middle_plane(predicted), middle_plane(truth)
    wrong = (predicted != truth) & (truth != IGNORE_INDEX)
    gray[wrong & (predicted > 0)] = _WRONG
    gray[wrong & (predicted == 0)] = _MISSED
    return gray.clip(0, 255).astype(np.uint8)


def panel(
    image: np.ndarray, predicted: np.ndarray, truth: np.ndarray, *, ids: tuple[np.ndarray, np.ndarray] | None = None
) -> np.ndarray:
    """Image, truth, prediction and their differences side by side, (y, 4 x + gaps, 3) uint8.

    Outlines are those of the classes, or of the `ids` of objects, predicted and true.
    """
    gap = np.full((middle_plane(truth).shape[0], 4, 3), 255, dtype=np.uint8)
    shown = (truth, predicted) if ids is None else ids[::-1]
    outlined = [outlines(image, labels, are_ids=ids is not None) for labels in shown]
    views = (to_rgb(image), *outlined, differences(image, predicted, truth))
    return np.concatenate([part for view in views for part in (view, gap)][:-1], axis=1)


def middle_plane(classes: np.ndarray) -> np.ndarray:
    """A plane (y, x) of a label image: itself in 2D, the middle one of a volume."""
    return classes if classes.ndim == 2 else classes[classes.shape[0] // 2]


def write_panel(path: Path, case: Case, predicted: np.ndarray) -> None:
    """Write the `panel` of a case and the classes, or ids of objects, predicted for it; the folder is made."""
    path.parent.mkdir(exist_ok=True)
    image, truth = np.asarray(case.image), np.asarray(case.classes)
    if case.ids is None:
        picture = panel(image, predicted, truth)
    else:
        foreground = (predicted > 0).astype(np.uint8)
        picture = panel(image, foreground, truth, ids=(predicted, np.asarray(case.ids)))
    picture = picture.transpose(2, 0, 1)
    write(path, Image(picture, "cyx", (1.0, 1.0), "px"))
