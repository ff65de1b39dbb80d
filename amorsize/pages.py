"""New memory: how many pages a thread has been given, and what one takes.

A function that works in large new arrays spends much of its time on having the system map and
clear pages. How many there were is told exactly; how long they took is not: the system counts
its seconds by ticks of some milliseconds, which is longer than a sample.
"""

from __future__ import annotations

import mmap
import sys
import time
from typing import TYPE_CHECKING

if sys.platform != "win32":
    import resource

if TYPE_CHECKING:
    from amorsize.probes.together import Compared

MANY_PAGES = 200
"""Pages an item from which on they are worth to be looked at."""
_TRIED, _TIMES = 32, 3
"""Pages that are written to for finding out what one takes, and how often."""
_AT_ONCE, _ROUNDS = 256, 6
"""Pages of each thread for finding out what they take where several threads want some, and how
often: some hundred microseconds, in which the threads meet."""


def pages() -> int:
    """Pages that this thread has been given so far; 0 where the system does not tell."""
    if sys.platform != "linux":  # others do not tell it of a thread
        return 0
    return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt


def page_s() -> float:
    """Seconds that a new page takes, measured now: first writes against second ones, the least of
    some, as other programs only ever add.
    """
    if sys.platform != "linux":
        return 0.0
    return min(_page_s() for _ in range(_TIMES))


def _page_s() -> float:
    size = _TRIED * mmap.PAGESIZE
    with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        before = pages()
        first_s = _touch(memory)
        given = pages() - before
        return max(0.0, first_s - _touch(memory)) / max(1, given)


def turns(threads: int) -> Compared | None:
    """Seconds of some threads that are given new pages, alone and all at once; ``None`` where
    that cannot be told.
    """
    if sys.platform != "linux":
        return None
    from amorsize.probes.together import compare

    return compare(_many_pages, [_many_pages] * threads, _ROUNDS)


def _many_pages() -> None:
    """Take new pages, and give them back; ``ctypes.memset`` lets other threads run meanwhile."""
    import ctypes

    size = _AT_ONCE * mmap.PAGESIZE
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    block = (ctypes.c_char * size).from_buffer(memory)
    ctypes.memset(block, 1, size)
    del block
    memory.close()


def _touch(memory: mmap.mmap) -> float:
    """Seconds that writing to each page takes."""
    ones = bytes([1]) * _TRIED
    begin = time.perf_counter()
    memory[:: mmap.PAGESIZE] = ones
    return time.perf_counter() - begin
