"""Settings of the C library by which a process keeps freed memory, since the kernel zeroes every new page."""

from __future__ import annotations

import ctypes
import os
import sys

__all__ = ["keep_freed_memory", "return_freed_memory"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt, as malloc.h of glibc has them
_LARGEST = 2**30  # bytes of a block that is kept
_MOST = 2**31 - 1  # free bytes at the end of the heap


def keep_freed_memory() -> bool:
    """Let the C library keep freed blocks of up to 1 GB; return whether that could be set.

    Nets free and allocate the same few sizes repeatedly. glibc maps blocks above 32 MB anew each time, and the kernel
    fills each with zeros: a training step takes a tenth to a fifth longer for it, a 3D net in slabs a third. The
    process keeps its largest size. Linux with glibc only; MALLOC_MMAP_THRESHOLD_ and MALLOC_TRIM_THRESHOLD_ in the
    environment take precedence.
    """
    if not sys.platform.startswith("linux") or {"MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"} & os.environ.keys():
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is None:
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _LARGEST) and mallopt(_TRIM_THRESHOLD, _MOST))


def return_freed_memory() -> bool:
    """Give what was freed so far back to the system, after work that the process will not repeat; whether it could be.

    Linux with glibc only; what is freed later is kept as before.
    """
    if not sys.platform.startswith("linux"):
        return False
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return trim is not None and bool(trim(0))
