"""Memory that is freed and taken again: kept by the process, as the system zeroes every page that it gives out."""

from __future__ import annotations

import ctypes
import os
import sys

__all__ = ["keep_freed_memory"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt, as malloc.h of glibc has them
_LARGEST = 2**30  # bytes of a block that is kept
_MOST = 2**31 - 1  # free bytes at the end of the heap


def keep_freed_memory() -> bool:
    """Have the C library keep blocks of up to 1 GB when they are freed; True where that could be set.

    Nets free and take the same few sizes over and over. glibc maps blocks above 32 MB anew each time, and the kernel
    fills each with zeros: a training step takes a tenth to a fifth longer for it, a 3D net in slabs a third. The
    process stays as large as it once was. Linux with glibc only; MALLOC_MMAP_THRESHOLD_ or MALLOC_TRIM_THRESHOLD_ in
    the environment are the user's own choice, and left alone.
    """
    if not sys.platform.startswith("linux") or {"MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"} & os.environ.keys():
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is None:
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _LARGEST) and mallopt(_TRIM_THRESHOLD, _MOST))
