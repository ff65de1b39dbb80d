"""Memory for large messages that arrive. Most of what receiving them costs is the system's work
for each page of fresh memory: so it is asked for huge pages, as numpy does for its own arrays, it
is not filled with zeros first, and that of items is used again once nobody holds them any more.

Huge pages take half the time of small ones, mostly. But a virtual machine may have given memory
that was free for seconds back to its host, in just such pieces: then they take four times as long,
and small ones, which are left of what others have used, do not. So copies tell which to take.
"""

from __future__ import annotations

import functools
import mmap
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pickle import PickleBuffer
from typing import Any

LARGE_BYTES = 3 << 20
"""From here on a huge page (of 2 MiB, mostly) is likely to fit in."""
_AGAIN = 64
"""One copy in so many looks how long the other pages take now."""
LEAST_BYTES = 256_000
"""Smaller buffers come from memory that the allocator keeps."""
MOST_BYTES = 32_000_000
"""Bytes that a process keeps at most."""
_KEPT_BYTES = 4 << 20
"""Larger pieces of memory the C library gives back when they are freed, in any case."""
_COUNTS = sys.implementation.name == "cpython" and getattr(sys, "_is_gil_enabled", lambda: True)()
"""Whether references are counted as they are taken."""


def room(nbytes: int) -> bytearray:
    """A bytearray whose content is undefined."""
    if nbytes < LARGE_BYTES:
        return bytearray(nbytes)
    return _allocator()(nbytes)


def copied(buffer: Any) -> bytearray:
    """A copy of a contiguous buffer, as it lies in memory."""
    with PickleBuffer(buffer).raw() as content:
        if content.nbytes < LARGE_BYTES:
            return bytearray(content)
        huge, begin = _pages.huge(), time.perf_counter()
        if huge:
            data = room(content.nbytes)
            with memoryview(data) as whole:
                whole[:] = content
        else:
            data = bytearray(content)
        _pages.took(huge, time.perf_counter() - begin, content.nbytes)
        return data


class Pages:
    """Which pages large copies take less time with, huge or small ones, as the last copies tell."""

    def __init__(self) -> None:
        self._byte_s: dict[bool, float] = {}
        self._copies = 0

    def huge(self) -> bool:
        """Which to take for the next copy."""
        self._copies += 1
        for kind in (True, False):
            if kind not in self._byte_s:
                return kind
        better = self._byte_s[True] <= self._byte_s[False]
        return better if self._copies % _AGAIN else not better

    def took(self, huge: bool, seconds: float, nbytes: int) -> None:
        """What a copy took."""
        seen = seconds / nbytes
        self._byte_s[huge] = (self._byte_s.get(huge, seen) + seen) / 2


_pages = Pages()


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


class Rooms:
    """Makes writable copies of buffers of which many have the same size.

    Most of what a copy of megabytes costs is the system's work for each page of fresh memory; and
    a function whose arrays come and go beside it has the allocator give its pages back, too. So a
    copy of an earlier item makes room for a later one, if nothing refers to it: neither an array
    nor a view.

    Args:
        most_bytes: bytes to keep at most.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most, self._rooms = most_bytes, list[bytearray]()
        self._unused = 0
        for room in [bytearray()]:
            self._unused = sys.getrefcount(room)

    @property
    def nbytes(self) -> int:
        """Bytes that are kept."""
        return sum(map(len, self._rooms))

    def copied(self, buffer: Any) -> bytearray:
        """A copy that belongs to the caller for as long as it, or a view of it, is referred to."""
        size = memoryview(buffer).nbytes
        if size < LEAST_BYTES or not _COUNTS:
            return bytearray(buffer)
        # The count includes the variable's reference: another thread that looks at the same room
        # sees one more, and leaves it.
        for room in self._rooms:
            if len(room) == size and sys.getrefcount(room) == self._unused:
                room[:] = buffer
                return room
        made = copied(buffer)
        self._rooms.append(made)
        while self.nbytes > self._most:
            del self._rooms[0]
        return made


@functools.cache  # forked processes inherit it
def keep_freed_memory() -> None:
    """Have the C library keep freed pieces of up to 4 MiB for the next use. By default it gives
    back what is larger than 128 KiB, and the system fills each page of the next piece with zeros:
    most of what a message of 1 MB takes. It learns better from the first large piece that is freed,
    so one is asked for here, in which nothing is ever written.
    """
    with suppress(OSError):
        handle = os.open(os.devnull, os.O_RDONLY)
        try:
            os.read(handle, _KEPT_BYTES)
        finally:
            os.close(handle)
