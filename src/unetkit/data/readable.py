"""Arrays that are read by region, in memory or on disk: every image and mask of a training is one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any, Protocol

import numpy as np

__all__ = ["ByRegion", "Readable", "Region", "Tabulated", "blocks", "bytes_of", "read_blocks", "read_rows", "region_of"]

Region = tuple[slice, ...]


class Readable(Protocol):
    """An array of shape (C, *spatial) or (*spatial), in memory or on disk, whose regions can be read."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype: ...

    def __getitem__(self, region: tuple[slice, ...], /) -> np.ndarray: ...


class ByRegion:
    """An array whose values are made where they are read: a base that lets numpy read all of it, and index as it does.

    Whoever derives from it has `shape` and `dtype`, and reads regions in `_read`.
    """

    shape: tuple[int, ...]
    dtype: np.dtype

    def _read(self, region: Region) -> np.ndarray:
        """Values of a region of slices with a start, a stop and no step, one per axis; never a view to write to."""
        raise NotImplementedError

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of values."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all values, were they in memory."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray:
        """A region; any other index as numpy takes it of the whole array, which is then read."""
        region = region_of(index, self.shape)
        return np.asarray(self)[index] if region is None else self._read(region)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self._read(tuple(slice(0, n) for n in self.shape)), dtype)


class Tabulated(ByRegion):
    """An array of few different values, of which each is kept once: two bytes per value in place of four.

    Parameters
    ----------
    values : ndarray
        The different values.
    places : ndarray of unsigned integer
        Of each value of the array among them.
    """

    def __init__(self, values: np.ndarray, places: np.ndarray) -> None:
        self._values, self._places = values, places
        self.shape, self.dtype = places.shape, values.dtype

    @classmethod
    def of(cls, array: np.ndarray) -> Readable:
        """The array with its different values in a table, where that is smaller; else itself."""
        values, places = np.unique(array, return_inverse=True)
        small = np.min_scalar_type(len(values))
        if small.itemsize >= array.itemsize:
            return array
        return cls(values, places.reshape(array.shape).astype(small))

    @property
    def nbytes(self) -> int:
        """Bytes that are held."""
        return self._values.nbytes + self._places.nbytes

    def _read(self, region: Region) -> np.ndarray:
        return self._values[self._places[region]]


def bytes_of(array: Readable) -> int:
    """Bytes that an array takes, or would take in memory."""
    return int(getattr(array, "nbytes", prod(array.shape) * array.dtype.itemsize))


def region_of(index: Any, shape: Sequence[int]) -> Region | None:
    """The region that an index means: slices of one start and stop per axis; None where it is anything else.

    >>> region_of((slice(None), slice(2, -1)), (3, 5, 7))
    (slice(0, 3, None), slice(2, 4, None), slice(0, 7, None))
    """
    parts = index if isinstance(index, tuple) else (index,)
    if len(parts) > len(shape) or not all(isinstance(part, slice) and part.step in (None, 1) for part in parts):
        return None
    full = (*parts, *(slice(None),) * (len(shape) - len(parts)))
    ends = [part.indices(n)[:2] for part, n in zip(full, shape, strict=True)]
    return tuple(slice(start, max(start, stop)) for start, stop in ends)


def read_rows(array: Readable, rows: Sequence[np.ndarray]) -> np.ndarray:
    """Read rows of the last axes, each in any order and with repeats as at a mirrored border; a copy.

    Parameters
    ----------
    array : array of shape (*leading, *spatial)
    rows : sequence of ndarray of int
        Per spatial axis.

    Returns
    -------
    ndarray of shape (*leading, *lengths of the rows)
    """
    hull = tuple(slice(int(each.min()), int(each.max()) + 1) for each in rows)
    leading = (slice(None),) * (len(array.shape) - len(rows))
    block = array[(*leading, *hull)]
    inner = [each - part.start for each, part in zip(rows, hull, strict=True)]
    if not all(np.array_equal(each, np.arange(len(each))) for each in inner):
        at: tuple[Any, ...] = (*leading, *np.ix_(*inner))
        block = block[at]
    return np.array(block, order="C")


def read_blocks(array: Readable, most: float) -> np.ndarray:
    """All of an array, read in blocks of at most `most` values, so that making them takes no more than that."""
    result = np.empty(array.shape, array.dtype)
    for region in blocks(array.shape, most):
        result[region] = array[region]
    return result


def blocks(size: Sequence[int], most: float) -> Iterator[Region]:
    """Cut an array into blocks of at most `most` values: bands of its first axis, cut along the others where need be.

    >>> [rows for rows, columns in blocks((5, 4), 8)]
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    if prod(size) <= most:
        yield tuple(slice(0, n) for n in size)
        return
    first, *others = size
    within = prod(others)
    if within > most:  # a row, or a plane, is too large
        for i in range(first):
            for inner in blocks(others, most):
                yield (slice(i, i + 1), *inner)
        return
    step = int(most // within)
    for start in range(0, first, step):
        yield (slice(start, min(start + step, first)), *(slice(0, n) for n in others))
