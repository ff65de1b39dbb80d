"""How long a thread waited for a processor while it ran a block of items."""

from __future__ import annotations

import time

from amorsize.monitor import queued_s

_OFF_S = 0.001
"""Seconds off the processor from which on a block asks why: asking takes as long as a short item,
and lets go of the interpreter's lock, which then seems to be free."""


class RunQueue:
    """Tells of the calling thread's blocks, one after the other, for how much of their time other
    programs had the processor: an item that they push aside for a while neither takes long nor
    waits.
    """

    def __init__(self) -> None:
        self._off_s, self._queued_s = _off_s(), queued_s()

    def begin(self) -> None:
        """A block begins: what has pushed this thread aside before is none of its."""
        if _off_s() - self._off_s >= _OFF_S:
            self._off_s, self._queued_s = _off_s(), queued_s()

    def within(self, off_s: float) -> float:
        """Seconds in which the block that has just ended waited for a processor, of ``off_s`` that
        it was on none. For what comes after it and before the system has told, it is not to blame.
        """
        if off_s < _OFF_S:
            return 0.0
        off, queued = self._off_s, self._queued_s
        self._off_s, self._queued_s = _off_s(), queued_s()
        outside_s = max(0.0, self._off_s - off - off_s)
        return min(off_s, max(0.0, self._queued_s - queued - outside_s))


def _off_s() -> float:
    """Seconds in which this thread was on no processor, since whenever."""
    return time.perf_counter() - time.thread_time()
