"""Threads that work on each chunk together. They are daemons: an item that never ends delays
neither the session's end nor the interpreter's.
"""

from __future__ import annotations

import logging
import math
import sys
import threading
import time
import weakref
from collections.abc import Collection
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any

from amorsize.backend import BackendUnavailable, Chunk, OpenRequest, Session, SharedChunk

_PATIENCE_S = 1.0
"""Seconds that all threads together get to finish what they run."""

log = logging.getLogger("amorsize")


class TeamSession(Session):
    """Some threads. One is started at once, the others with the first chunks: those that are up
    are at work while the last ones are still being started.

    A thread that is late to start had to wait for the interpreter lock: items compute, and many of
    them at once would only take turns with it. If they were taken to wait, the run finds out with
    the first results; what others have begun by then has to end on threads. So each late start
    has the next one wait twice as long.

    Raises:
        BackendUnavailable: if not a single thread can be started here.
    """

    def __init__(self, name: str, request: OpenRequest) -> None:
        self._request, self.workers = request, request.workers
        self._turns: SimpleQueue[SharedChunk | None] = SimpleQueue()
        """Chunks, each as often as there may be threads for its items; ``None`` sends one home."""
        self._open: weakref.WeakSet[SharedChunk] = weakref.WeakSet()
        self._threads: list[threading.Thread] = []
        self._leaving = False
        self._hands = 0
        """Threads that the chunks so far could still use."""
        self._pause_s = self._start_at = 0.0
        try:
            self._start_one()
        except RuntimeError as error:
            raise BackendUnavailable(name, f"it did not start: {error}") from error

    def submit(self, chunk: Chunk) -> Future[Any]:
        """Let threads work on a chunk."""
        future: Future[Any] = Future()
        shared = SharedChunk(self._request, chunk, future)
        self._open.add(shared)
        hands = min(chunk.count, self.workers)
        for _ in range(hands):
            self._turns.put(shared)
        if self._leaving:
            self._start_one()
        self._hands += hands
        self._start_some()
        return future

    def wait(self, futures: Collection[Future[Any]], timeout_s: float | None) -> set[Future[Any]]:
        """As for any session; starts threads that had to wait for others."""
        until = math.inf if timeout_s is None else time.monotonic() + timeout_s
        while (now := time.monotonic()) < until and self._lacks_threads():
            done = super().wait(futures, max(0.0, min(until, self._start_at) - now))
            if done:
                return done
            self._start_some()
        return super().wait(futures, None if timeout_s is None else max(0.0, until - now))

    def all_out(self) -> None:
        """Let threads leave that find nothing to do, while the last items run: joining them all at
        the end takes its time. A chunk that comes nevertheless gets a thread of its own.
        """
        self._leaving = True
        for _ in self._threads:
            self._turns.put(None)

    def withdraw(self) -> None:
        """Start no more items of the chunks that are here."""
        for shared in tuple(self._open):
            shared.withdraw()

    def _lacks_threads(self) -> bool:
        """Whether there are items for threads that have not been started."""
        wanted = self._hands and len(self._threads) < self.workers
        return bool(wanted) and any(shared.has_more for shared in tuple(self._open))

    def _start_some(self) -> None:
        """Start what is wanted, as long as nothing says that it would only be in the way."""
        while (begin := time.monotonic()) >= self._start_at and self._lacks_threads():
            cpu = time.process_time()
            self._hands -= 1
            self._start_another()
            took_s, cpu = time.monotonic() - begin, time.process_time() - cpu
            late_s = sys.getswitchinterval()
            if took_s >= late_s and cpu >= took_s / 2:  # and not other programs' doing
                self._pause_s = max(late_s, 2 * self._pause_s)
                self._start_at = begin + took_s + self._pause_s
            else:
                self._pause_s = 0.0
            if took_s >= late_s:  # results may have come meanwhile
                return

    def _start_another(self) -> None:
        try:
            self._start_one()
        except RuntimeError:  # no more are allowed here: those that are up have to do
            self.workers = len(self._threads)

    def _start_one(self) -> None:
        name = f"amorsize_{len(self._threads)}"
        thread = threading.Thread(target=_work, args=(self._turns,), name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def close(self, *, cancel: bool) -> None:
        """End the threads, when they have done what there is to do or, with ``cancel``, with the
        items that they run. One that is still busy a second later is left to itself: it ends with
        its item, or with the process.
        """
        if cancel:
            self.withdraw()
        for _ in self._threads:
            self._turns.put(None)
        until = time.monotonic() + _PATIENCE_S
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        if busy := sum(thread.is_alive() for thread in self._threads):
            log.warning("threads that are busy with an item and go on until it ends: %d", busy)


def _work(turns: SimpleQueue[SharedChunk | None]) -> None:
    while (shared := turns.get()) is not None:
        shared.work()
        del shared  # nothing is held while waiting for the next one
