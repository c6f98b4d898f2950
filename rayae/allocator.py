"""Home of what becomes of memory that is given back: it is kept for the next micro-batch."""

import ctypes

MOST_KEPT = 1024**3
"""Bytes at the end of the heap that are kept."""
TRIM_THRESHOLD, MMAP_MAX = -1, -4
"""M_TRIM_THRESHOLD and M_MMAP_MAX of glibc's malloc.h: what is kept at the end of the heap, and how many blocks at most
are mapped one by one."""


def keep_memory() -> bool:
    """Let glibc keep large blocks that are given back, for this process; whether it does (no other C library can).

    By itself it returns every block of more than 32 MB to the kernel, which clears its pages once more when the next
    micro-batch asks for it: on a CPU a fifth to a third of the time of scoring. Every thread keeps up to 64 MB of its
    own.
    """
    setting = getattr(ctypes.CDLL(None), "mallopt", None)
    return setting is not None and all(setting(*one) for one in ((MMAP_MAX, 0), (TRIM_THRESHOLD, MOST_KEPT)))
