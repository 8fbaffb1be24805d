"""Freed memory is kept, and used again."""

import subprocess
import sys

import pytest

CODE = """
import ctypes, resource, sys
from gan_lab.kernels.malloc import keep_freed_memory
libc, size = ctypes.CDLL(None), 2**26
libc.malloc.restype = ctypes.c_void_p
if sys.argv[1] == "keep":
    keep_freed_memory()
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / size
def allocate_and_free():  # by ctypes: a tensor's small blocks may end above its data, where the heap cannot be cut off
    blocks = [ctypes.c_void_p(libc.malloc(size)) for _ in range(3)]
    for block in blocks:
        ctypes.memset(block, 1, size)
    for block in blocks:
        libc.free(block)
    return resident() - before
before = resident()
print(*(allocate_and_free() for _ in range(10)))
"""


def kept(how):
    """Resident memory each time after three blocks of 64 MiB were written to and freed, in blocks."""
    done = subprocess.run([sys.executable, "-c", CODE, how], capture_output=True, text=True, check=True)
    return [float(number) for number in done.stdout.split()]


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc, and /proc")
def test_freed_memory_is_kept_and_used_again():
    assert max(kept("default")) < 0.5
    with_it = kept("keep")
    assert min(with_it) > 2.9
    assert max(with_it) < 6.5  # three, or more where something small came to lie between them
