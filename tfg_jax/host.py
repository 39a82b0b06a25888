"""Settings of the host process for CPU runs, used by the command line and the scripts, never on import."""

from __future__ import annotations

import ctypes

TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD, ARENA_MAX = -1, -2, -3, -8


def keep_freed_memory() -> bool:
    """Let glibc keep freed memory for reuse instead of returning it to the system.

    XLA on CPU frees its buffers after every step; fetching them anew costs a page fault per 4 KiB, which was more than
    half the time of a training step on two cores. Does nothing (and returns False) without glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    settings = ((TRIM_THRESHOLD, 2**31 - 1), (TOP_PAD, 2**26), (MMAP_THRESHOLD, 2**30), (ARENA_MAX, 1))
    return all([mallopt(name, value) == 1 for name, value in settings])
