"""Which chunks have ended. ``concurrent.futures.wait`` looks at every future in flight each time:
with hundreds of them that costs more than the chunks.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Any


class Arrivals:
    """Waits for the first of some futures, again and again; for one thread at a time."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[Future[Any]] = SimpleQueue()
        self._known: set[Future[Any]] = set()
        """Futures that put themselves into the queue."""
        self._done: set[Future[Any]] = set()
        """Those that came out of it in this call."""

    def wait(self, futures: Collection[Future[Any]], timeout_s: float | None) -> set[Future[Any]]:
        """Block until at least one is done, or the time is over; those that are done."""
        asked = set(futures)
        for future in asked - self._known:
            future.add_done_callback(self._queue.put)
        self._known = asked
        self._take(timeout_s)
        done, self._done = self._done, set()
        self._known -= done  # not kept: results may be large
        return done

    def _take(self, timeout_s: float | None) -> None:
        deadline = math.inf if timeout_s is None else time.monotonic() + timeout_s
        while True:
            left = None if timeout_s is None else max(0.0, deadline - time.monotonic())
            waits = not self._done and bool(self._known) and left != 0.0
            try:
                future = self._queue.get(waits, left if waits else None)
            except Empty:
                return
            if future in self._known:
                self._done.add(future)
