"""Write OME-Zarr 0.5: a pyramid of sharded arrays, block by block, in a folder that is whole or not there.

::

    level 0   |s h a r d|s h a r d|   one shard at a time from the source: a file of up to 4096 x 4096 pixels
    level 1   |s h a r d|             from the level above, every second pixel along the axes that are halved
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ...image import Image
from ..atomic import replace_folder
from ..filenames import holds_zarr, stem_of
from ..lazy import LazyImage, Region, Source
from .array import ChunkedArray, make_array
from .pyramid import Level, attributes, label_attributes, plan_levels


def write_pyramid(
    path: Path, source: Source, *, like: Image | LazyImage | None = None, is_labels: bool = False
) -> None:
    """Write an image, or a label image of one channel without its axis of channels; errors do not name the path.

    It is read shard by shard, so that it need not fit into memory; the levels of the pyramid keep every second pixel.
    The folder is written under a temporary name beside its place and renamed when it is complete: a failure leaves
    the previous folder.

    Parameters
    ----------
    path : Path
        Of the folder, in a folder that exists. A Zarr folder at this place is replaced.
    source : Source of shape (C, *spatial)
        Of integers, floats or bool; float16 to float64.
    like : Image or LazyImage, optional
        Where spacing, unit and the position of the first pixel are taken from.
    is_labels : bool
        Of one channel. Bool is stored as uint8; where an image of uint8 has at most 64 values, each gets a colour in
        the metadata.

    Raises
    ------
    ImportError
        If zarr is not installed.
    ValueError
        If Zarr cannot hold the image, something else than a Zarr folder is at the place already, or reading fails.
    OSError
        If the folder cannot be written (no such parent folder, no permission, disk full); nothing is left behind.
    """
    dtype = np.dtype(np.uint8) if is_labels and source.dtype.kind == "b" else source.dtype.newbyteorder("=")
    if dtype.kind not in "buif" or dtype.itemsize > 8:
        raise ValueError(f"OME-Zarr holds integers, floats and bool, got {dtype}")
    if 0 in source.shape:
        raise ValueError(f"OME-Zarr holds at least one pixel, got shape {source.shape}")
    spacing, unit = (source.spacing, source.unit) if like is None else (like.spacing, like.unit)
    origin = None if like is None else like.origin
    axes = source.axes[1:] if is_labels else source.axes
    levels = plan_levels(source.shape[1:], spacing)
    if path.exists() and not holds_zarr(path) and not (path.is_dir() and not any(path.iterdir())):
        kind = "folder without Zarr metadata" if path.is_dir() else "file"
        raise ValueError(f"a {kind} is at this place, which is not replaced: remove it, or choose another name")
    with replace_folder(path) as folder:
        above = _Stack(folder, 0, levels[0], source.shape[0], dtype, axes)
        values = _copy(source, above)
        for number, level in enumerate(levels[1:], 1):
            below = _Stack(folder, number, level, source.shape[0], dtype, axes)
            _shrink(above, below)
            above = below
        ome = attributes(stem_of(path), axes, levels, unit, origin) | (label_attributes(values) if is_labels else {})
        group = {"zarr_format": 3, "node_type": "group", "attributes": {"ome": ome}}
        (folder / "zarr.json").write_text(json.dumps(group, indent=2), encoding="utf-8")


class _Stack:
    """The array of a level, as one image of shape (*spatial) per channel."""

    def __init__(self, folder: Path, number: int, level: Level, channels: int, dtype: np.dtype, axes: str) -> None:
        self.level, self.channels, self.dtype = level, channels, dtype
        self._lead = (1,) if axes.startswith("c") else ()
        self._array: ChunkedArray = make_array(
            folder,
            str(number),
            shape=((channels,) * len(self._lead) + level.size),
            dtype=dtype,
            chunks=(*self._lead, *level.chunk),
            shards=(*self._lead, *level.shard),
            axes=axes,
        )

    def read(self, channel: int, box: Region) -> np.ndarray:
        return self._array.read(self._region(channel, box)).reshape(_lengths(box))

    def write(self, channel: int, box: Region, block: np.ndarray) -> None:
        self._array.write(self._region(channel, box), block.reshape(*self._lead, *block.shape))

    def _region(self, channel: int, box: Region) -> Region:
        return (slice(channel, channel + 1),) * len(self._lead) + box


def _copy(source: Source, full: _Stack) -> np.ndarray | None:
    """Write the first level; return a mask of the values that occur, where the dtype is uint8."""
    occurs = np.zeros(256, bool)
    for channel in range(full.channels):
        for box in _boxes(full.level.size, full.level.shard):
            block = source.read((slice(channel, channel + 1), *box))[0].astype(full.dtype, copy=False)
            full.write(channel, box, block)
            if full.dtype == np.uint8:
                for rows in block:  # row by row, since bincount converts to 64 bits
                    occurs |= np.bincount(rows.ravel(), minlength=256) > 0
    return occurs if full.dtype == np.uint8 else None


def _shrink(above: _Stack, below: _Stack) -> None:
    """Write a level from the one above, of which no more than a shard is in memory."""
    step = below.level.step
    part = tuple(-(-length // factor) for length, factor in zip(above.level.shard, step, strict=True))
    for channel in range(below.channels):
        for box in _boxes(below.level.size, below.level.shard):
            block = np.empty(_lengths(box), below.dtype)
            for inner in _boxes(block.shape, part):
                wide = tuple(
                    slice((low.start + at.start) * factor, min((low.start + at.stop) * factor, length))
                    for low, at, factor, length in zip(box, inner, step, above.level.size, strict=True)
                )
                block[inner] = above.read(channel, wide)[tuple(slice(None, None, factor) for factor in step)]
            below.write(channel, box, block)


def _boxes(size: tuple[int, ...], step: tuple[int, ...]) -> Iterator[Region]:
    """Boxes of `step` pixels that cover `size`, cut at its end."""
    starts = (range(0, length, width) for length, width in zip(size, step, strict=True))
    for corner in itertools.product(*starts):
        yield tuple(slice(i, min(i + width, length)) for i, width, length in zip(corner, step, size, strict=True))


def _lengths(box: Region) -> tuple[int, ...]:
    return tuple(part.stop - part.start for part in box)
