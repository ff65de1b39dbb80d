"""Memory for large messages that arrive. Most of what receiving them costs is the system's work
for each page of fresh memory, so it is asked for huge pages, as numpy does for its own arrays, and
not filled with zeros first.
"""

from __future__ import annotations

import functools
import mmap
import sys
from collections.abc import Callable
from typing import Any

LARGE_BYTES = 3 << 20
"""From here on a huge page (of 2 MiB, mostly) is likely to fit in."""


def room(nbytes: int) -> bytearray:
    """A bytearray whose content is undefined."""
    if nbytes < LARGE_BYTES:
        return bytearray(nbytes)
    return _allocator()(nbytes)


def copied(view: memoryview) -> bytearray:
    """A copy of some bytes."""
    if view.nbytes < LARGE_BYTES:
        return bytearray(view)
    data = room(view.nbytes)
    with memoryview(data) as whole:
        whole[:] = view
    return data


@functools.cache
def _allocator() -> Callable[[int], bytearray]:
    """How to make a large bytearray here."""
    if sys.implementation.name != "cpython" or not hasattr(mmap, "MADV_HUGEPAGE"):
        return bytearray
    try:
        import ctypes

        make: Any = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_ssize_t)(
            ("PyByteArray_FromStringAndSize", ctypes.pythonapi)
        )
        advise: Any = ctypes.CFUNCTYPE(
            ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
        )(("madvise", ctypes.CDLL(None)))
    except (ImportError, AttributeError, OSError):
        return bytearray

    def allocate(nbytes: int) -> bytearray:
        data: bytearray = make(None, nbytes)
        start = ctypes.addressof(ctypes.c_char.from_buffer(data))
        first = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE
        pages = (start + nbytes - first) // mmap.PAGESIZE
        advise(first, pages * mmap.PAGESIZE, mmap.MADV_HUGEPAGE)  # no matter if it is refused
        return data

    return allocate
