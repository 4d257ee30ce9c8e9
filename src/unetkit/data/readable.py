"""Arrays that are read by region, in memory or on disk: every image and mask of a training is one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

__all__ = ["Readable", "Tabulated", "read_rows", "region_of"]

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
