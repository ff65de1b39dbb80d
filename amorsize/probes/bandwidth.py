"""How fast memory is copied on this host: measured, with one thread and with all of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from amorsize.probes.host import Host
from amorsize.probes.layout import last_level_bytes
from amorsize.probes.limits import Limits, limits

_MEBIBYTE = 1 << 20

# A block is as large as the last-level cache, which then cannot hold source and target; but
# touching fresh pages takes longer than the measurement itself, so no larger than need be.
_USUAL_BLOCK_BYTES = 32 * _MEBIBYTE
_MAX_BLOCK_BYTES = 128 * _MEBIBYTE
_MIN_BLOCK_BYTES = 4 * _MEBIBYTE

# Seconds of copying for each of the two measurements; the first copies, which touch fresh
# pages, come before and are not timed.
_DURATION_S = 0.05

# More threads than this do not copy faster on any machine with a few memory channels, and
# would need gigabytes of blocks.
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

    The first call takes 0.1-0.3 s and up to an eighth of the available memory. ``None`` when
    there is too little memory to measure with.
    """
    global _measured
    with _lock:
        if refresh or _measured is None:
            _measured = measure(limits())
        return _measured


_lock = threading.Lock()
_measured: Bandwidth | None = None


def measure(found: Limits, clock: Callable[[], float] = time.perf_counter) -> Bandwidth | None:
    """Measure the bandwidth under the limits given."""
    started = clock()
    threads = min(found.workers, _MAX_THREADS)
    block = _block_bytes(found, threads)
    if block is None:
        return None
    try:
        copiers = [_Copier(block) for _ in range(threads)]
        one = _rate(copiers[:1], clock)
        every = _rate(copiers, clock) if threads > 1 else one
    except Exception:  # no memory after all, no thread to start, no ctypes in this build
        return None
    return Bandwidth(one, every, threads, block, clock() - started)


def _block_bytes(found: Limits, threads: int) -> int | None:
    """Return the size of a block such that all take an eighth of the memory at most."""
    cache = last_level_bytes(Host()) or 0
    block = min(max(_USUAL_BLOCK_BYTES, cache), _MAX_BLOCK_BYTES)
    if found.memory_bytes is None:
        return block
    block = min(block, found.memory_bytes // 8 // (2 * threads))
    return block if block >= _MIN_BLOCK_BYTES else None


class _Copier:
    """Copies one block to another; ``ctypes.memmove`` lets other threads run meanwhile."""

    def __init__(self, size: int) -> None:
        import ctypes
        import mmap

        self._move = ctypes.memmove
        self._size = size
        # Mapped rather than allocated: given back to the system at once when dropped.
        self._blocks = [(ctypes.c_char * size).from_buffer(mmap.mmap(-1, size)) for _ in range(2)]
        for block in self._blocks:
            ctypes.memset(block, 1, size)
        self.copied = 0

    def run(self, until: Callable[[], bool]) -> None:
        """Copy until told to stop, at least once."""
        source, target = self._blocks
        self.copied = 0
        while True:
            self._move(target, source, self._size)
            self.copied += 2 * self._size
            if until():
                return


def _rate(copiers: list[_Copier], clock: Callable[[], float]) -> float:
    """Return the bytes a second that the copiers read and write at the same time."""
    ready = threading.Barrier(len(copiers) + 1)
    end = float("inf")

    def work(copier: _Copier) -> None:
        ready.wait()
        copier.run(lambda: clock() >= end)

    threads = [threading.Thread(target=work, args=(copier,), daemon=True) for copier in copiers]
    for thread in threads:
        thread.start()
    started = clock()
    end = started + _DURATION_S
    ready.wait()
    for thread in threads:
        thread.join()
    return sum(copier.copied for copier in copiers) / max(clock() - started, 1e-9)
