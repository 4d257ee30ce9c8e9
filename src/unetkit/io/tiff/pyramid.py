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
from ..atomic import replace_file
from ..lazy import Region, Source, read_region
from .geotags import nodata_tags
from .writing import BIGTIFF_BYTES, check_ome_dtype, colour_options, is_ome, ome_options, plain_options

TILE = 512  # pixels; what cloud-optimised GeoTIFFs and most viewers take
SMALL_BYTES = 2**24  # an image of one tile and at most so many bytes needs neither tiles nor levels
BUFFER_BYTES = 2**24  # tiles waiting to be compressed


def write_tiled(
    path: Path,
    labels: Source,
    *,
    spacing: tuple[float, ...],
    unit: str,
    georeference: GeoReference | None = None,
    colours: np.ndarray | None = None,
) -> None:
    """Write all levels of a label image, one after the other, in compressed tiles.

    Parameters
    ----------
    path : Path
    labels : Source of shape (1, *spatial), integer or bool
        bool becomes uint8.
    spacing : tuple of float
        Per spatial axis, in `unit`.
    unit : str
    georeference : GeoReference, optional
        Of plain TIFF; OME-TIFF has none.
    colours : ndarray of shape (256, 3), uint8, optional
        Of every value; likewise.

    Raises
    ------
    ValueError
        If OME-TIFF cannot hold the dtype or unit, or the labels cannot be read.
    """
    is_ome_tiff, dtype = is_ome(path), stored_dtype(labels.dtype)
    if is_ome_tiff:
        check_ome_dtype(dtype)
    sizes = _level_sizes(labels.shape[1:], has_planes=is_ome_tiff)
    tile = tuple(min(TILE, -(-length // 16) * 16) for length in sizes[0][-2:])
    axes = {"axes": labels.axes[1:].upper()}
    first = ome_options(path, spacing, unit) if is_ome_tiff else plain_options(spacing, unit, georeference)
    first["metadata"] |= axes
    others = {"metadata": axes, "subfiletype": 1, "extratags": [] if is_ome_tiff else nodata_tags(georeference)}
    if is_ome_tiff and len(sizes) > 1:
        first["subifds"] = len(sizes) - 1
    shared: dict = {"dtype": dtype, "tile": tile, "buffersize": BUFFER_BYTES, "compression": "zlib"}
    shared |= colour_options(dtype, None if is_ome_tiff else colours)
    is_big = dtype.itemsize * sum(prod(_in_whole_tiles(size, tile)) for size in sizes) > BIGTIFF_BYTES
    with replace_file(path) as temporary, ExitStack() as stack:
        # Opened here, since tifffile passes over errors on closing a file: one of a full disk would be lost.
        file = stack.enter_context(temporary.open("w+b"))
        tif = stack.enter_context(tifffile.TiffWriter(file, bigtiff=is_big, ome=is_ome_tiff))
        bands = _source_bands(labels, tile[0], dtype)
        for level, size in enumerate(sizes):
            is_last = level + 1 == len(sizes)
            spool = None if is_last else stack.enter_context(tempfile.TemporaryFile(dir=path.parent))
            tif.write(_tiles(bands, tile[1], spool), shape=size, **shared, **(others if level else first))
            if spool is not None:
                bands = _spooled_bands(spool, sizes[level + 1], tile[0], dtype)


def is_small(labels: Source) -> bool:
    """Whether a label image needs neither tiles nor levels."""
    if labels.shape[-1] == 1:  # tifffile takes a last axis of one pixel for the samples of a pixel
        return True
    return max(labels.shape[-2:]) <= TILE and prod(labels.shape) * labels.dtype.itemsize <= SMALL_BYTES


def stored_dtype(dtype: np.dtype) -> np.dtype:
    """Dtype in which tiles store labels: bool as uint8, else their own."""
    return np.dtype(np.uint8) if dtype.kind == "b" else dtype.newbyteorder("=")


def _level_sizes(size: tuple[int, ...], *, has_planes: bool) -> list[tuple[int, ...]]:
    """Sizes of all levels, full resolution first."""
    sizes = [size]
    if len(size) > 2 and not has_planes:  # readers of plain TIFF do not know levels of volumes
        return sizes
    # An axis of one pixel cannot be halved, and readers tell levels by their halved sizes.
    while max(sizes[-1][-2:]) > TILE and min(sizes[-1][-2:]) > 1:
        *planes, height, width = sizes[-1]
        sizes.append((*planes, -(-height // 2), -(-width // 2)))
    return sizes


def _in_whole_tiles(size: tuple[int, ...], tile: tuple[int, ...]) -> tuple[int, ...]:
    return (*size[:-2], *(-(-length // side) * side for length, side in zip(size[-2:], tile, strict=True)))


def _tiles(bands: Iterator[np.ndarray], width: int, spool: IO[bytes] | None) -> Iterator[np.ndarray]:
    """The tiles of bands of shape (rows, x), from left to right; every second pixel goes to the spool."""
    for band in bands:
        if spool is not None:
            spool.write(band[::2, ::2].tobytes())  # bands begin at even rows, as tiles are multiples of 16
        for start in range(0, band.shape[1], width):
            yield band[:, start : start + width]


def _source_bands(labels: Source, rows: int, dtype: np.dtype) -> Iterator[np.ndarray]:
    for region in _regions(labels.shape[1:], rows):
        band = read_region(labels, (slice(0, 1), *region))
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
