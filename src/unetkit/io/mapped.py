"""Memory maps whose pages are given back."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np

__all__ = ["Mapped"]


class Mapped:
    """A memory map that gives its pages back after each read: a large file that is read through takes no memory.

    Parameters
    ----------
    array : memmap
    """

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.shape, self.dtype = array, array.shape, array.dtype
        base: Any = array
        while base is not None and not isinstance(base, mmap.mmap):
            base = getattr(base, "base", None)
        self._map: mmap.mmap | None = base

    def __getitem__(self, index: tuple[slice | int, ...]) -> np.ndarray:
        values = np.array(self.array[index])
        if self._map is not None and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)
        return values
