"""Arrays of a Zarr hierarchy on disk: opened, made, read and written by region; failures name the chunk.

The one module that imports zarr, and only when an array is opened or made.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..decoder_errors import Refused, decoding, warned
from ..lazy import Region

ZSTD_LEVEL = 3
NOT_STORED = np.uint64(2**64 - 1)  # offset of a chunk in the index of its shard


class ChunkedArray:
    """An array stored in chunks, and the chunks perhaps in shards: files of many chunks.

    Parameters
    ----------
    folder : Path
        Of the array.
    name : str
        Of the array in the hierarchy, for errors.
    array : zarr.Array

    Attributes
    ----------
    shape : tuple of int
    dtype : dtype
        In the byte order of the machine.
    chunks, files : tuple of int
        Pixels of a chunk, and of what one file holds: a chunk, or a shard.
    """

    def __init__(self, folder: Path, name: str, array: Any) -> None:
        self._folder, self._array = folder, array
        self._title = f"array {name!r}" if name else "array"
        self.shape: tuple[int, ...] = tuple(array.shape)
        self.dtype = np.dtype(array.dtype).newbyteorder("=")
        self.chunks: tuple[int, ...] = tuple(array.chunks)
        self._is_sharded = array.shards is not None
        self.files: tuple[int, ...] = tuple(array.shards or array.chunks)
        self._whole: set[tuple[int, ...]] = set()  # shards that are long enough
        if min((*self.chunks, *self.files), default=1) < 1:
            raise Refused(
                f"{self._title} of shape {self.shape} in chunks of {self.chunks}: expected 1 pixel or more each"
            )

    def read(self, region: Region) -> np.ndarray:
        """Read a region, of slices with a start, a stop and no step.

        Raises
        ------
        ValueError
            If a chunk cannot be decoded: with its index.
        """
        try:
            return self._decoded(region)
        except ValueError as error:
            fault = self._fault(region)
            if fault is None:
                raise
            raise fault from error

    def write(self, region: Region, block: np.ndarray) -> None:
        """Write a region; one that covers whole files is written without reading."""
        self._array[region] = block

    def missing(self) -> list[str]:
        """Note the chunks that are not stored: by the specification their pixels have the fill value."""
        grid = [-(-length // step) for length, step in zip(self.shape, self.files, strict=True)]
        total, stored = math.prod(grid), sum(_is_inside(key, grid) for key in _keys(self._folder))
        if stored >= total:
            return []
        fill = 0 if self._array.fill_value is None else self._array.fill_value
        unit = "shard" if self._is_sharded else "chunk"
        if not stored:
            return [f"none of its {total} {unit}s is stored: every pixel is the fill value {fill}"]
        return [f"{total - stored} of {total} {unit}s not stored: their pixels are the fill value {fill}"]

    def _decoded(self, region: Region) -> np.ndarray:
        with decoding("chunk"):
            if self._is_sharded:
                self._check_shards(region)
            return np.asarray(self._array[region]).astype(self.dtype, copy=False)

    def _check_shards(self, region: Region) -> None:
        """Raise where a shard ends before its chunks do, which zarr would read as the fill value."""
        count = math.prod(file // chunk for file, chunk in zip(self.files, self.chunks, strict=True))
        for place in _touched(region, self.files):
            file = self._folder / self._array.metadata.encode_chunk_key(place)
            if place in self._whole or not file.is_file():
                continue
            size, least = file.stat().st_size, 2 * 8 * count
            if size >= least and self._is_index_first():
                index = np.fromfile(file, "<u8", 2 * count).reshape(count, 2)
                least = int(index[index[:, 0] != NOT_STORED].sum(1).max(initial=0))
            if size < least:
                raise ValueError(f"shard of {size} bytes, but its index and chunks take {least} at least")
            self._whole.add(place)

    def _is_index_first(self) -> bool:
        # As the specification writes it: the attributes of zarr's codec differ between its versions.
        codecs = [codec.to_dict() for codec in self._array.metadata.codecs]
        sharding = next(codec["configuration"] for codec in codecs if codec["name"] == "sharding_indexed")
        return sharding["index_location"] == "start"

    def _fault(self, region: Region) -> Refused | None:
        """The error of the first chunk of a region that cannot be read."""
        for index in _touched(region, self.chunks):
            corners = zip(index, self.chunks, self.shape, strict=True)
            try:
                self._decoded(tuple(slice(i * step, min((i + 1) * step, length)) for i, step, length in corners))
            except ValueError as error:
                place = tuple(i * step // file for i, step, file in zip(index, self.chunks, self.files, strict=True))
                shard = f" of shard {place}" if self._is_sharded else ""
                return Refused(f"{self._title}, chunk {index}{shard}: {error}")
        return None


def open_array(root: Path, name: str) -> ChunkedArray:
    """Open the array `name` of the hierarchy at `root` for reading; "" is `root` itself.

    Raises
    ------
    ImportError
        If zarr is not installed.
    ValueError
        If there is no such array, or its metadata is damaged or of a kind that zarr cannot read.
    """
    zarr, ignored = _zarr(root), list[str]()  # warnings of features that other programs lack
    with decoding(f"Zarr array {name!r}" if name else "Zarr array"), warned(ignored):
        return ChunkedArray(root / name, name, zarr.open_array(store=str(root / name), mode="r"))


def make_array(
    root: Path,
    name: str,
    *,
    shape: tuple[int, ...],
    dtype: np.dtype,
    chunks: tuple[int, ...],
    shards: tuple[int, ...],
    axes: str,
) -> ChunkedArray:
    """Make an array of Zarr format 3, sharded and zstd-compressed, for writing.

    Every chunk has a checksum, and chunks of zeros are stored as well, so that a missing or damaged file is noticed
    when the array is read.

    Parameters
    ----------
    root : Path
        A folder that exists.
    name : str
    shape, chunks, shards : tuple of int
        A shard is a whole number of chunks along every axis.
    dtype : dtype
    axes : str
        A letter per axis.

    Raises
    ------
    ImportError
        If zarr is not installed.
    """
    zarr = _zarr(root)
    array = zarr.create_array(
        store=str(root),
        name=name,
        shape=shape,
        dtype=dtype,
        chunks=chunks,
        shards=shards,
        compressors=zarr.codecs.ZstdCodec(level=ZSTD_LEVEL, checksum=True),
        fill_value=dtype.type(0),
        dimension_names=tuple(axes),
        config={"write_empty_chunks": True},
    )
    return ChunkedArray(root / name, name, array)


def _zarr(root: Path) -> Any:
    try:
        import zarr
    except ImportError as error:
        reason = str(error).splitlines()[0]
        raise ImportError(f"{root}: Zarr needs zarr ({reason}): pip install 'unetkit[zarr]'", name="zarr") from None
    if int(zarr.__version__.split(".")[0]) < 3:
        raise ImportError(
            f"{root}: Zarr needs zarr 3, got {zarr.__version__}: pip install 'unetkit[zarr]'", name="zarr"
        )
    return zarr


def _touched(region: Region, steps: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Places in a grid of boxes of `steps` pixels that a region touches."""
    return itertools.product(
        *(range(part.start // step, -(-part.stop // step)) for part, step in zip(region, steps, strict=True))
    )


def _keys(folder: Path) -> Iterator[str]:
    """Names of the files of an array, "0/1", "0.1" and "c/0/1" all as "0.1"."""
    for place, _, files in os.walk(folder):
        above = os.path.relpath(place, folder).replace(os.sep, ".").strip(".")
        yield from (f"{above}.{file}".lstrip(".").removeprefix("c.") for file in files)


def _is_inside(key: str, grid: list[int]) -> bool:
    numbers = key.split(".")
    return len(numbers) == len(grid) and all(
        number.isdecimal() and int(number) < count for number, count in zip(numbers, grid, strict=True)
    )
