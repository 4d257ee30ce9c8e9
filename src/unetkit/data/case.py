"""A case: an image with its labels, ready for training."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ..labels.kind import IGNORE_INDEX
from .encoded import EncodedLabels
from .readable import ByRegion, Readable, Region, blocks

__all__ = ["COUNTED_PIXELS", "EMPTY", "Case", "pixels_of_values", "shown_in"]

EMPTY = 0  # kind of an image without foreground; the others are the indices of the classes that an image shows
COUNTED_PIXELS = 2**22  # at a time


@dataclass(frozen=True)
class Case:
    """An image with its labels, ready for training.

    Attributes
    ----------
    name : str
    image : array of shape (C, *spatial), float32
        Standardised where it is read: kept in the dtype of the file. `numpy.asarray` reads all of it.
    labels : array of shape (*spatial), uint8
        Class indices; 255 is not labelled.
    pixel_weights : array of shape (*spatial), float32, or None
        Weight of each pixel in the loss.
    group : str or None
    path : Path
        The image file.
    ids : array of shape (*spatial), integer, or None
        Of the objects, 0 for background; None where objects are not separated.
    """

    name: str
    image: Readable
    labels: Readable
    pixel_weights: Readable | None
    group: str | None
    path: Path
    ids: Readable | None = None

    @property
    def size(self) -> tuple[int, ...]:
        """Spatial size in pixels."""
        return self.labels.shape

    @property
    def classes(self) -> Readable:
        """Class indices that predictions are scored by: the labels, with distances inside objects as one foreground."""
        if self.ids is None:
            return self.labels
        foreground = _Foreground(self.labels)
        return np.asarray(foreground) if isinstance(self.labels, np.ndarray) else foreground

    @cached_property
    def label_blocks(self) -> list[tuple[Region, np.ndarray]]:
        """Blocks of the labels, in the order of memory, and the pixels of every value in each, (256,), uint32."""
        if isinstance(self.labels, EncodedLabels):
            return self.labels.label_blocks
        every = blocks(self.size, COUNTED_PIXELS)
        return [(space, pixels_of_values(self.labels, space).astype(np.uint32)) for space in every]

    @cached_property
    def label_pixels(self) -> np.ndarray:
        """Pixels of every value of the labels, (256,), int64."""
        return np.asarray(np.sum([counts for _, counts in self.label_blocks], axis=0, dtype=np.int64))

    @property
    def n_labelled(self) -> int:
        """Pixels that are labelled."""
        return int(self.label_pixels[:IGNORE_INDEX].sum())

    @property
    def shown_classes(self) -> frozenset[int]:
        """Foreground classes that predictions are scored by and that the image shows; `EMPTY` where there is none."""
        shown = shown_in(self.label_pixels)
        return shown if self.ids is None or shown == {EMPTY} else frozenset({1})


def pixels_of_values(labels: Readable, box: Region) -> np.ndarray:
    """Pixels of every value in a box of labels, (256,), int64."""
    counts = np.zeros(IGNORE_INDEX + 1, np.int64)
    for inner in blocks([part.stop - part.start for part in box], COUNTED_PIXELS):
        space = tuple(slice(b.start + i.start, b.start + i.stop) for b, i in zip(box, inner, strict=True))
        counts += np.bincount(labels[space].ravel(), minlength=IGNORE_INDEX + 1)
    return counts


def shown_in(pixels: np.ndarray) -> frozenset[int]:
    """Foreground classes of which there are pixels; `EMPTY` where there is none."""
    return frozenset(int(i) for i in np.flatnonzero(pixels[1:IGNORE_INDEX]) + 1) or frozenset({EMPTY})


class _Foreground(ByRegion):
    """Labels of which all that is neither background nor not labelled is 1."""

    def __init__(self, labels: Readable) -> None:
        self._labels, self.shape, self.dtype = labels, labels.shape, np.dtype(np.uint8)

    def _read(self, region: Region) -> np.ndarray:
        labels = self._labels[region]
        return np.where(labels == IGNORE_INDEX, IGNORE_INDEX, labels > 0).astype(np.uint8)
