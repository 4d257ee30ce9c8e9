"""Freed memory is kept where the C library can be told so, and the user's own settings are left alone."""

import os
import subprocess
import sys

import pytest

from unetkit.allocator import return_freed_memory

CODE = """
import ctypes, resource
from unetkit.allocator import keep_freed_memory
print(keep_freed_memory())
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
faults = []
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = libc.malloc(ctypes.c_size_t(2**26))
    ctypes.memset(block, 1, 2**26)
    libc.free(block)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(faults[2] < faults[0] / 4)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is on Linux")
@pytest.mark.parametrize("given", [{}, {"MALLOC_MMAP_THRESHOLD_": "33554432"}], ids=["unset", "set"])
def test_blocks_are_kept(given: dict[str, str]) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")} | given
    done = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ([str(not given)] * 2)


def test_freed_memory_is_returned_where_it_can_be():
    assert return_freed_memory() in (True, False)
