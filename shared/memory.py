"""Memory, in a service whose work is batches of objects without cycles."""

import ctypes
import gc

OBJECTS_BETWEEN_COLLECTIONS = 200_000
_M_ARENA_MAX = -8
"""Of glibc's malloc.h: how many heaps there may be."""


def tune_memory() -> None:
    """Collect garbage less often, and keep one heap for all threads. Call it before threads are started.

    A batch makes some 100,000 objects that live as long as it does: going through them over and over cost
    a seventh of the labelling and a fifth of the sink. And each thread that works on batches would get a heap
    of its own from the C library, which keeps what its largest batch took (docs/performance.md); here one
    thread computes at a time anyway.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)
    # Other C libraries than glibc have no such function, and no such heaps.
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
