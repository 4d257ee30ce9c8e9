"""Levels of an OME-Zarr pyramid, their chunks and shards, and its metadata."""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

VERSION = "0.5"
CHUNK = {2: (512, 512), 3: (32, 128, 128)}
SHARD = {2: (4096, 4096), 3: (256, 256, 256)}  # 16.8 million pixels: a file of some MB, and a block in memory
ISOTROPIC = math.sqrt(2)  # axes of pixel sizes within this ratio are halved together, which brings them closest
MOST_COLOURS = 64
GOLDEN = (math.sqrt(5) - 1) / 2
UNITS = {
    "pm": "picometer",
    "Å": "angstrom",
    "nm": "nanometer",
    "µm": "micrometer",
    "mm": "millimeter",
    "cm": "centimeter",
    "m": "meter",
    "in": "inch",
}


@dataclass(frozen=True)
class Level:
    """One resolution of a pyramid.

    Parameters
    ----------
    size : tuple of int
        Spatial, in pixels.
    spacing : tuple of float
    step : tuple of int
        Pixels of the level above, per axis, of which one is kept: 1 or 2.
    """

    size: tuple[int, ...]
    spacing: tuple[float, ...]
    step: tuple[int, ...]

    @property
    def chunk(self) -> tuple[int, ...]:
        """Pixels of a chunk."""
        return tuple(min(full, length) for full, length in zip(CHUNK[len(self.size)], self.size, strict=True))

    @property
    def shard(self) -> tuple[int, ...]:
        """Pixels of a shard: whole chunks, as many as the level has and a file may hold."""
        most = SHARD[len(self.size)]
        counts = (
            min(full // chunk, -(-length // chunk))
            for full, chunk, length in zip(most, self.chunk, self.size, strict=True)
        )
        return tuple(max(1, count) * chunk for count, chunk in zip(counts, self.chunk, strict=True))


def plan_levels(size: tuple[int, ...], spacing: tuple[float, ...]) -> list[Level]:
    """Levels of a pyramid, down to one of about a chunk's pixels.

    Of every level the axes of the smallest pixel size are halved, with those up to sqrt(2) times as large: a volume of
    thick slices is halved in the plane until its voxels are about cubes, and then along all axes.

    Examples
    --------
    >>> [level.size for level in plan_levels((40, 1024, 1024), (2.0, 0.5, 0.5))]
    [(40, 1024, 1024), (40, 512, 512), (40, 256, 256), (20, 128, 128)]
    """
    levels = [Level(size, spacing, (1,) * len(size))]
    while math.prod(levels[-1].size) > math.prod(CHUNK[len(size)]):
        last = levels[-1]
        smallest = min(step for step, length in zip(last.spacing, last.size, strict=True) if length > 1)
        step = tuple(
            2 if length > 1 and width <= smallest * ISOTROPIC else 1
            for width, length in zip(last.spacing, last.size, strict=True)
        )
        halved = tuple(-(-length // factor) for length, factor in zip(last.size, step, strict=True))
        widths = tuple(width * factor for width, factor in zip(last.spacing, step, strict=True))
        levels.append(Level(halved, widths, step))
    return levels


def attributes(
    name: str, axes: str, levels: list[Level], unit: str, origin: tuple[float, ...] | None = None
) -> dict[str, object]:
    """OME metadata of version 0.5 for the group of a pyramid.

    Parameters
    ----------
    name : str
        Of the image.
    axes : str
        "cyx" or "czyx", or without c for a label image.
    levels : list of Level
    unit : str
        Of their spacing.
    origin : tuple of float, optional
        Position of the first pixel, the same for all levels.
    """
    multiscale = _multiscale(name, axes, levels, unit)
    if origin is not None:
        start = [0.0] * axes.startswith("c") + list(origin)
        for dataset in multiscale["datasets"]:
            dataset["coordinateTransformations"].append({"type": "translation", "translation": start})
    return {"version": VERSION, "multiscales": [multiscale]}


def label_attributes(occurs: np.ndarray | None) -> dict[str, object]:
    """OME metadata that makes a pyramid a label image.

    Parameters
    ----------
    occurs : ndarray of shape (256,), bool, optional
        True for values that occur. Where they are at most 64, each gets a colour; 0, the background, is clear.
    """
    return {"image-label": {"version": VERSION, **_colours(occurs)}}


def _multiscale(name: str, axes: str, levels: list[Level], unit: str) -> dict[str, Any]:
    """The metadata of a pyramid."""
    named = {} if unit == "px" else {"unit": UNITS.get(unit, unit)}
    # No translation of a level: it keeps every second pixel at its place, so that it is not shifted.
    lead = [1.0] * axes.startswith("c")
    return {
        "name": name,
        "axes": [
            {"name": axis, "type": "channel"} if axis == "c" else {"name": axis, "type": "space", **named}
            for axis in axes
        ],
        "datasets": [
            {
                "path": str(number),
                "coordinateTransformations": [{"type": "scale", "scale": [*lead, *level.spacing]}],
            }
            for number, level in enumerate(levels)
        ],
        "type": "nearest",
        "metadata": {"description": "every second pixel along the axes that are halved"},
    }


def _colours(occurs: np.ndarray | None) -> dict[str, object]:
    """A colour for every value of a class mask, background clear; none where the values are too many to be classes."""
    values = [] if occurs is None else [int(value) for value in np.flatnonzero(occurs)]
    if not 0 < len(values) <= MOST_COLOURS:
        return {}
    return {"colors": [{"label-value": value, "rgba": _rgba(order, value)} for order, value in enumerate(values)]}


def _rgba(order: int, value: int) -> list[int]:
    if value == 0:
        return [0, 0, 0, 0]
    # Hues a golden section of the circle apart, so that any few differ.
    return [round(255 * part) for part in (*colorsys.hsv_to_rgb(order * GOLDEN % 1, 0.7, 1.0), 1.0)]
