"""Whole slides (SVS, NDPI, MRXS ...), by openslide: the level of full resolution, a region at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import openslide

from .sliced import SlicedSource


class _Level:
    """Level 0 of a slide as an array of shape (y, x, 3); white where the scanner left pixels out."""

    dtype = np.dtype(np.uint8)

    def __init__(self, slide: openslide.OpenSlide) -> None:
        self.slide = slide
        width, height = slide.level_dimensions[0]
        self.shape = (height, width, 3)

    def __getitem__(self, index: tuple[Any, ...]) -> np.ndarray:
        rows, columns, channels = index
        size = (columns.stop - columns.start, rows.stop - rows.start)
        picture = np.asarray(self.slide.read_region((columns.start, rows.start), 0, size))  # RGBA
        opaque = picture[..., 3:] > 0
        return np.where(opaque, picture[..., :3], np.uint8(255))[..., channels]


def open_source(path: Path, *, is_mask: bool) -> SlicedSource:
    """A slide at full resolution, with its pixel size in µm where the scanner states it."""
    slide = openslide.OpenSlide(str(path))
    names = {"x": openslide.PROPERTY_NAME_MPP_X, "y": openslide.PROPERTY_NAME_MPP_Y}
    sizes = {axis: float(slide.properties[name]) for axis, name in names.items() if name in slide.properties}
    levels = slide.level_count
    notes = [f"level 0 of {levels} read"] if levels > 1 else []
    spacing = sizes if len(sizes) == 2 and min(sizes.values()) > 0 else None
    return SlicedSource(_Level(slide), "yxc", spacing=spacing, unit="µm", notes=notes, is_rgb=True, close=slide.close)
