"""The pixels of an image that a mask is drawn on, where the mask's file has none of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..georeference import GeoReference
from ..image import Image, WorldAffine
from .lazy import LazyImage

__all__ = ["Grid"]


@dataclass(frozen=True)
class Grid:
    """Size and place of an image.

    Attributes
    ----------
    path : Path
        The image, by whose name some files know which outlines are its own.
    size : tuple of int
        In pixels, (y, x) or (z, y, x).
    spacing, unit, place, georeference, origin
        As of `Image`.
    is_one_of_many : bool
        Whether the outlines are those of other images too, so that none may lie on this one.
    """

    path: Path
    size: tuple[int, ...]
    spacing: tuple[float, ...]
    unit: str = "px"
    place: WorldAffine | None = None
    georeference: GeoReference | None = None
    origin: tuple[float, ...] | None = None
    is_one_of_many: bool = False

    @classmethod
    def of(cls, path: Path, image: Image | LazyImage, *, is_one_of_many: bool = False) -> Grid:
        """The grid of an image that was read, or opened."""
        place, georeference, origin = image.place, image.georeference, image.origin
        return cls(path, image.size, image.spacing, image.unit, place, georeference, origin, is_one_of_many)

    def label_image(self, labels: np.ndarray, notes: tuple[str, ...]) -> Image:
        """A label image that lies where the image does."""
        georeference = self.georeference.with_nodata(None) if self.georeference else None  # its own is of gray values
        axes = {2: "yx", 3: "zyx"}[len(self.size)]
        return Image(labels, axes, self.spacing, self.unit, notes, self.place, georeference, self.origin)
