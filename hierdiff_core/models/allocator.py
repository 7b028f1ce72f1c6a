"""The allocator of the C library: memory that a network frees is kept for its next call.

For glibc; other systems are left as they are. By default glibc returns large blocks at once, and
the next layer's are zeroed and mapped anew, page by page: thousands of page faults in every call of
a denoiser on a CPU, a tenth of its time.
"""

from __future__ import annotations

import ctypes

# Of <malloc.h>.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_KEPT = 1 << 30  # bytes that may lie free at the end of the heap
_LARGEST = (1 << 30, 32 << 20)  # bytes of a block that comes from the heap; older glibc allows less


def keep_freed_memory() -> bool:
    """Let this process keep memory that it frees; return False where the C library cannot.

    Applies to the whole process, and to threads that have not allocated yet. The memory of the
    largest call stays with the process for the next one.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    # One heap for all threads: the heaps of other threads are small, and unmapped once empty.
    mallopt(_ARENA_MAX, 1)
    return bool(mallopt(_TRIM_THRESHOLD, _KEPT)) and any(
        mallopt(_MMAP_THRESHOLD, size) for size in _LARGEST
    )
