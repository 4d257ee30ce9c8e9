"""Images and masks as they are read, each held in memory, read by region from its file, or kept in the cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np

from ..georeference import GeoReference
from ..image import Image, WorldAffine
from ..io import read_coded_labels
from ..io.grid import Grid
from ..io.label_samples import ValueCode
from ..io.read_options import ReadOptions
from .channels import read_channels
from .opened import open_image, open_mask
from .pairs import Pair
from .readable import ByRegion
from .store import ArrayStore

__all__ = ["kept_image", "kept_mask"]


@dataclass(frozen=True)
class _Header:
    """All of an image but its pixels, and what the values of a mask stand for."""

    axes: str
    spacing: tuple[float, ...]
    unit: str
    notes: tuple[str, ...]
    place: WorldAffine | None
    georeference: GeoReference | None
    origin: tuple[float, ...] | None
    has_valid: bool
    code: ValueCode | None = None


def kept_image(files: Sequence[Path], options: ReadOptions, store: ArrayStore) -> Image:
    """Read an image as `read_channels` does; its array is held, or read by region where the budget is used up."""
    if store.folder is None:
        return _held(_owned(read_channels(files, options)), store)
    name = store.name_of(files, options)
    if saved := _saved(name, store):
        return saved[0]
    if opened := open_image(files, options, store.opened, least_bytes=store.left_bytes):
        store.in_files_bytes += opened.array.nbytes
        return opened
    return _kept(name, _owned(read_channels(files, options)), None, store)


def kept_mask(
    pair: Pair, options: ReadOptions, store: ArrayStore, *, grid: Grid | None, size: Sequence[int]
) -> tuple[Image, ValueCode | None]:
    """Read a mask as `read_coded_labels` does, likewise."""
    if store.folder is None:
        mask, code = read_coded_labels(pair.mask, axes=options.axes, grid=grid, size=size)
        return _held(mask, store), code
    name = "mask-" + store.name_of((pair.mask, *pair.files), options)
    if saved := _saved(name, store):
        return saved
    own = ReadOptions(options.axes)
    if opened := open_mask(pair.mask, own, store.opened, least_pixels=store.block_pixels):
        return opened, None
    mask, code = read_coded_labels(pair.mask, axes=options.axes, grid=grid, size=size)
    return _kept(name, mask, code, store), code


def _owned(image: Image) -> Image:
    """The image with an array of its own: gray stored as RGB is a view of all three channels, which it would hold."""
    base = image.array
    while isinstance(base.base, np.ndarray):
        base = base.base
    return replace(image, array=image.array.copy()) if base.nbytes > image.array.nbytes else image


def _held(image: Image, store: ArrayStore) -> Image:
    store.held_bytes += image.array.nbytes
    return image


def _kept(name: str, image: Image, code: ValueCode | None, store: ArrayStore) -> Image:
    """The image with its array held, or saved with all that is needed to find it again."""
    array = store.keep(name, image.array)
    if not isinstance(array, ByRegion):
        return image
    valid = None if image.valid is None else store.keep(f"{name}-valid", image.valid)
    header = _Header(
        image.axes,
        image.spacing,
        image.unit,
        image.notes,
        image.place,
        image.georeference,
        image.origin,
        isinstance(valid, ByRegion),
        code,
    )
    if valid is None or header.has_valid:
        store.write_record(name, header)
    return replace(image, array=cast(np.ndarray, array), valid=cast(np.ndarray, valid))


def _saved(name: str, store: ArrayStore) -> tuple[Image, ValueCode | None] | None:
    """An image or mask of the cache; None where it is not there, whole."""
    if (header := store.record(name, _Header)) is None or (array := store.saved(name)) is None:
        return None
    valid = store.saved(f"{name}-valid") if header.has_valid else None
    if header.has_valid and valid is None:
        return None
    place = header.place, header.georeference, header.origin, cast(np.ndarray, valid)
    image = Image(cast(np.ndarray, array), header.axes, header.spacing, header.unit, header.notes, *place)
    return image, header.code
