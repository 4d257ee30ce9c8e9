"""A case: an image with its labels, ready for training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..labels.kind import IGNORE_INDEX
from .readable import Readable

__all__ = ["Case"]


@dataclass(frozen=True)
class Case:
    """An image with its labels, ready for training.

    Attributes
    ----------
    name : str
    image : array of shape (C, *spatial), float32
        Standardised where it is read: kept in the dtype of the file. `numpy.asarray` reads all of it.
    labels : ndarray of shape (*spatial), uint8
        Class indices; 255 is not labelled.
    pixel_weights : array of shape (*spatial), float32, or None
        Weight of each pixel in the loss.
    group : str or None
    path : Path
        The image file.
    ids : ndarray of shape (*spatial), integer, or None
        Of the objects, 0 for background; None where objects are not separated.
    """

    name: str
    image: Readable
    labels: np.ndarray
    pixel_weights: Readable | None
    group: str | None
    path: Path
    ids: np.ndarray | None = None

    @property
    def size(self) -> tuple[int, ...]:
        """Spatial size in pixels."""
        return self.labels.shape

    @property
    def classes(self) -> np.ndarray:
        """Class indices that predictions are scored by: the labels, with distances inside objects as one foreground."""
        if self.ids is None:
            return self.labels
        return np.where(self.labels == IGNORE_INDEX, IGNORE_INDEX, self.labels > 0).astype(np.uint8)
