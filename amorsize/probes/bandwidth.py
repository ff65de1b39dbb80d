"""How fast memory is copied on this host: measured, with one thread and with all of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from amorsize.own_lock import OwnLock
from amorsize.probes.host import Host
from amorsize.probes.layout import last_level_bytes
from amorsize.probes.limits import Limits, limits
from amorsize.probes.together import compare

_Pair = tuple[Any, Any]
_MEBIBYTE = 1 << 20

# Sources are twice as large as the last-level cache, and targets, too: what a round finds there of
# the one before is little. Fresh pages take longer than copies, so no larger than need be.
_LEAST_BYTES, _MOST_BYTES = 64 * _MEBIBYTE, 256 * _MEBIBYTE
# The block of one thread must not fit into a cache of its own.
_LEAST_BLOCK_BYTES = 4 * _MEBIBYTE
# Bytes that a thread copies in a round: some milliseconds.
_ROUND_BYTES = 16 * _MEBIBYTE
_ROUNDS = 4

# More threads than this do not copy faster on any machine with a few memory channels.
_MAX_THREADS = 32


@dataclass(frozen=True)
class Bandwidth:
    """Measured rates of copying memory; each byte copied counts once as read, once as written."""

    one_thread: float
    """Bytes a second, read and written, by a single thread."""

    all_threads: float
    """Bytes a second, read and written, by ``threads`` threads together."""

    threads: int
    """Threads of the second measurement: the workers that ``limits()`` allows."""

    block_bytes: int
    """Bytes copied at a time by each thread."""

    seconds: float
    """What the measurement took in all."""

    def to_dict(self) -> dict[str, object]:
        """Return the bandwidth as plain data for JSON."""
        return {
            "one_thread": self.one_thread,
            "all_threads": self.all_threads,
            "threads": self.threads,
            "block_bytes": self.block_bytes,
            "seconds": self.seconds,
        }


def memory_bandwidth(*, refresh: bool = False) -> Bandwidth | None:
    """Return the memory bandwidth, measured on the first call and then remembered.

    The first call takes 0.05-0.2 s and up to an eighth of the available memory. ``None`` when
    there is too little memory to measure with.
    """
    global _measured
    with _lock:
        if refresh or _measured is None:
            _measured = measure(limits())
        return _measured


_lock = OwnLock()
_measured: Bandwidth | None = None


def measure(found: Limits, clock: Callable[[], float] = time.perf_counter) -> Bandwidth | None:
    """Measure the bandwidth under the limits given: the median of some rounds."""
    started = clock()
    threads = min(found.workers, _MAX_THREADS)
    block = _block_bytes(found, threads)
    if block is None:
        return None
    try:
        one, every = _rates(block, threads, clock)
    except Exception:  # no memory after all, no thread to start, no ctypes in this build
        return None
    return Bandwidth(one, every, threads, block, clock() - started)


def _block_bytes(found: Limits, threads: int) -> int | None:
    """Return the size of a block such that all take an eighth of the memory at most."""
    cache = last_level_bytes(Host()) or 0
    total = min(max(_LEAST_BYTES, 2 * cache), _MOST_BYTES)
    block = max(-(-total // threads), _LEAST_BLOCK_BYTES)
    if found.memory_bytes is None:
        return block
    block = min(block, found.memory_bytes // 8 // (2 * threads))
    return block if block >= _LEAST_BLOCK_BYTES else None


def _rates(block: int, threads: int, clock: Callable[[], float]) -> tuple[float, float]:
    """Return the bytes a second, read and written, that one thread copies and that all do."""
    blocks = [(_filled(block), _filled(block)) for _ in range(threads)]
    passes = max(1, _ROUND_BYTES // block)

    def all_blocks() -> None:
        for pair in blocks:
            _copy(pair, block)

    def own_block(pair: _Pair) -> None:
        for _ in range(passes):
            _copy(pair, block)

    found = compare(all_blocks, [partial(own_block, pair) for pair in blocks], _ROUNDS, clock)
    one = 2 * block * threads / max(found.alone_s, 1e-9)
    if threads == 1:
        return one, one
    return one, 2 * block * passes * threads / max(found.together_s, 1e-9)


def _filled(nbytes: int) -> Any:
    """Return memory that is there: mapped rather than allocated, so that it is given back to the
    system at once when dropped, in huge pages where there are any, which take less time.
    """
    import ctypes
    import mmap

    if not hasattr(mmap, "MADV_HUGEPAGE"):
        memory = mmap.mmap(-1, nbytes)
    else:  # shared memory, which is the default, has small pages only
        memory = mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        with suppress(OSError):
            memory.madvise(mmap.MADV_HUGEPAGE)
    block = (ctypes.c_char * nbytes).from_buffer(memory)
    ctypes.memset(block, 1, nbytes)
    return block


def _copy(pair: _Pair, nbytes: int) -> None:
    """Copy source to target; ``ctypes.memmove`` lets other threads run meanwhile."""
    import ctypes

    source, target = pair
    ctypes.memmove(target, source, nbytes)
