"""Write a label image of any size from a source: TIFF in tiles with reduced levels, in one pass over the source.

A band is a row of tiles. Each level leaves every second pixel of its bands behind for the next::

    source --bands--> tiles of level 0
              +-- [::2, ::2] --> temporary file --bands--> tiles of level 1
                                                   +-- [::2, ::2] --> temporary file --bands--> ...

OME-TIFF has its levels in SubIFDs; other TIFFs as further pages marked as reduced, which GDAL takes for overviews.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from math import prod
from pathlib import Path
from typing import IO

import numpy as np
import tifffile

from ...georeference import GeoReference
from ...image import Image
from ..atomic import replace_file
from ..decoder_errors import naming
from ..filenames import TIFF_SUFFIXES, ZARR_SUFFIXES, suffix_of
from ..lazy import LazyImage, Region, Source
from ..writing import (
    BIGTIFF_BYTES,
    OME_DTYPES,
    is_ome,
    ome_options,
    plain_options,
    shown_as,
    where_labels_lie,
    write_labels,
)
from ..zarr.writing import write_pyramid
from .geotags import nodata_tags

TILE = 512  # pixels; what cloud-optimised GeoTIFFs and most viewers take
SMALL_BYTES = 2**24  # an image of one tile and at most so many bytes needs neither tiles nor levels
BUFFER_BYTES = 2**24  # tiles waiting to be compressed


def write_labels_from(
    path: str | Path,
    labels: Source,
    *,
    like: LazyImage | None = None,
    nodata: int | None = None,
    colours: np.ndarray | None = None,
) -> None:
    """Write a label image of any size from a source, reading each part of it once, all or nothing as `write` does.

    TIFF and OME-TIFF are written in compressed tiles with levels of half the resolution each (every second pixel: ids
    cannot be averaged) down to one tile, as BigTIFF where 4 GB might not suffice; a few rows of tiles are held in
    memory, and temporary files beside `path` take a third of the uncompressed size. A volume's levels keep all planes,
    and only OME-TIFF has them. OME-Zarr is written shard by shard, with levels too. Other formats, and images of one
    tile, are read whole and written by `write_labels`.

    Parameters
    ----------
    path : str or Path
    labels : Source of shape (1, *spatial), integer or bool
        bool becomes uint8 in tiles.
    like : LazyImage, optional
        The image that the labels belong to; its spacing, unit, place and georeference are written. By default the
        spacing and unit of `labels`.
    nodata : int, optional
        The value of pixels without data: see `write_labels`.
    colours : ndarray of shape (256, 3), uint8, optional
        Of every value: see `write_labels`.

    Raises
    ------
    ValueError
        As for `write_labels`; or if the labels have several channels, cannot be read, or end early.
    OSError
        If the file cannot be written, or the labels not be read; nothing is left behind.
    """
    path = Path(path)
    with naming(path):
        _check(labels, like)
        if suffix_of(path) in ZARR_SUFFIXES:
            write_pyramid(path, labels, like=like, is_labels=True)
            return
        is_tiled = suffix_of(path) in TIFF_SUFFIXES and not _is_small(labels)
        if is_tiled:
            _write(path, labels, like, nodata, colours)
            return
        array = _read(labels, tuple(slice(0, length) for length in labels.shape))[0]
        image = Image(array, labels.axes[1:], labels.spacing, labels.unit)
    write_labels(path, image, like, nodata=nodata, colours=colours)


def _check(labels: Source, like: LazyImage | None) -> None:
    if labels.dtype.kind not in "bui":
        raise ValueError(f"labels of dtype {labels.dtype}: expected integers or bool")
    if labels.shape[0] != 1:
        raise ValueError(f"labels of {labels.shape[0]} channels, shape {labels.shape}: expected one id per pixel")
    if like is not None and like.size != labels.shape[1:]:
        raise ValueError(f"labels of shape {labels.shape[1:]} for an image of size {like.size}: they must be equal")


def _is_small(labels: Source) -> bool:
    if labels.shape[-1] == 1:  # tifffile takes a last axis of one pixel for the samples of a pixel
        return True
    return max(labels.shape[-2:]) <= TILE and prod(labels.shape) * labels.dtype.itemsize <= SMALL_BYTES


def _write(path: Path, labels: Source, like: LazyImage | None, nodata: int | None, colours: np.ndarray | None) -> None:
    """All levels, one after the other."""
    dtype = np.dtype(np.uint8) if labels.dtype.kind == "b" else labels.dtype.newbyteorder("=")
    if is_ome(path) and dtype.name not in OME_DTYPES:
        raise ValueError(f"OME-TIFF holds {', '.join(OME_DTYPES)}, got {dtype}: use .tif, or fewer bits")
    sizes = _levels(labels.shape[1:], has_planes=is_ome(path))
    tile = tuple(min(TILE, -(-length // 16) * 16) for length in sizes[0][-2:])
    georeference = where_labels_lie(None if like is None else like.georeference, nodata, dtype)
    first, others = _options(path, labels, like, georeference)
    if is_ome(path) and len(sizes) > 1:
        first["subifds"] = len(sizes) - 1
    how: dict = {"dtype": dtype, "tile": tile, "buffersize": BUFFER_BYTES}
    how |= {"compression": "zlib"} | shown_as(dtype, None if is_ome(path) else colours)
    is_big = dtype.itemsize * sum(prod(_padded(size, tile)) for size in sizes) > BIGTIFF_BYTES
    with replace_file(path) as temporary, ExitStack() as opened:
        # Opened here, since tifffile passes over errors on closing a file: one of a full disk would be lost.
        file = opened.enter_context(temporary.open("w+b"))
        tif = opened.enter_context(tifffile.TiffWriter(file, bigtiff=is_big, ome=is_ome(path)))
        bands = _source_bands(labels, tile[0], dtype)
        for level, size in enumerate(sizes):
            is_last = level + 1 == len(sizes)
            spool = None if is_last else opened.enter_context(tempfile.TemporaryFile(dir=path.parent))
            tif.write(_tiles(bands, tile[1], spool), shape=size, **how, **(others if level else first))
            if spool is not None:
                bands = _spooled_bands(spool, sizes[level + 1], tile[0], dtype)


def _levels(size: tuple[int, ...], *, has_planes: bool) -> list[tuple[int, ...]]:
    """Sizes of all levels, full resolution first; readers of plain TIFF know no levels of volumes."""
    sizes = [size]
    if len(size) > 2 and not has_planes:
        return sizes
    # An axis of one pixel cannot be halved, and readers tell levels by their halved sizes.
    while max(sizes[-1][-2:]) > TILE and min(sizes[-1][-2:]) > 1:
        *planes, height, width = sizes[-1]
        sizes.append((*planes, -(-height // 2), -(-width // 2)))
    return sizes


def _padded(size: tuple[int, ...], tile: tuple[int, ...]) -> tuple[int, ...]:
    """Size in whole tiles."""
    return (*size[:-2], *(-(-length // side) * side for length, side in zip(size[-2:], tile, strict=True)))


def _options(
    path: Path, labels: Source, like: LazyImage | None, georeference: GeoReference | None
) -> tuple[dict, dict]:
    """What tifffile is told of the first level, and of the others."""
    said = like or labels
    axes = {"axes": labels.axes[1:].upper()}
    is_plain = not is_ome(path)
    first = plain_options(said.spacing, said.unit, georeference) if is_plain else ome_options(said.spacing, said.unit)
    first["metadata"] |= axes
    return first, {"metadata": axes, "subfiletype": 1, "extratags": nodata_tags(georeference) if is_plain else []}


def _tiles(bands: Iterator[np.ndarray], width: int, spool: IO[bytes] | None) -> Iterator[np.ndarray]:
    """The tiles of bands of shape (rows, x), from left to right; every second pixel goes to the spool."""
    for band in bands:
        if spool is not None:
            spool.write(band[::2, ::2].tobytes())  # bands begin at even rows, as tiles are multiples of 16
        for start in range(0, band.shape[1], width):
            yield band[:, start : start + width]


def _source_bands(labels: Source, rows: int, dtype: np.dtype) -> Iterator[np.ndarray]:
    for region in _regions(labels.shape[1:], rows):
        band = _read(labels, (slice(0, 1), *region))
        yield band.reshape(band.shape[-2:]).astype(dtype, copy=False)


def _spooled_bands(spool: IO[bytes], size: tuple[int, ...], rows: int, dtype: np.dtype) -> Iterator[np.ndarray]:
    spool.seek(0)
    for *_, part, columns in _regions(size, rows):
        shape = part.stop - part.start, columns.stop
        yield np.frombuffer(spool.read(prod(shape) * dtype.itemsize), dtype).reshape(shape)


def _regions(size: tuple[int, ...], rows: int) -> Iterator[Region]:
    """Bands of `rows` rows of each plane, as slices over (*spatial), in the order of the file."""
    *planes, height, width = size
    for plane in np.ndindex(*planes):
        for top in range(0, height, rows):
            yield (*(slice(z, z + 1) for z in plane), slice(top, min(top + rows, height)), slice(0, width))


def _read(labels: Source, region: Region) -> np.ndarray:
    """A region of the source.

    Raises
    ------
    ValueError, OSError
        If it cannot be read, or comes with fewer pixels than it has.
    """
    try:
        array = np.asarray(labels.read(region))
    except ValueError as error:
        raise ValueError(f"its labels cannot be read: {error}") from error
    except OSError as error:
        raise OSError(error.errno, f"its labels cannot be read: {error.strerror or error}") from error
    expected = tuple(part.stop - part.start for part in region)
    if array.shape != expected:
        said = ", ".join(f"{part.start}:{part.stop}" for part in region)
        raise ValueError(f"its labels end early: region ({said}) has shape {array.shape}, expected {expected}")
    return array
