"""Memory of a CPU: what a step frees is kept for the next one."""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # glibc's malloc.h


def keep_freed_memory() -> None:
    """Let glibc keep what a step frees, because the next step needs it again.

    By default every large tensor is mapped anew and zeroed page by page by the kernel, a tenth of a CPU step of small
    nets. The peak stays as it is; between peaks the memory is not given back. Nothing happens elsewhere than on Linux
    with glibc.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # musl has none
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
