"""A chunk that threads of this process share: whoever is free takes its next item. Public through
:mod:`amorsize.backend`.

Between threads nothing has to travel, so no item needs to be dealt out beforehand. None waits
behind a long one, and the caller, who wants the interpreter lock as well, is woken once for many.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from amorsize.callers_context import CallersContext
from amorsize.guard import rest
from amorsize.strays import end_if_forked, forks
from amorsize.worker import ChunkTimes, Failure, Outcome, worker_name

if TYPE_CHECKING:
    from amorsize.work import Chunk, OpenRequest


class SharedChunk:
    """A chunk in the works. Threads run its items with the context variables that its maker has
    now.

    Args:
        request: the function, and where the items are if the chunk does not hold them.
        chunk: the items.
        future: ends with the last of them; gets the ``Outcome``. Both are let go of then: whoever
            holds the chunk for longer holds no results.
    """

    def __init__(self, request: OpenRequest, chunk: Chunk, future: Future[Any]) -> None:
        future.set_running_or_notify_cancel()
        self._future: Future[Any] | None = future
        self._function, self._item = request.function, request.reader_of(chunk)
        self._stop_on_error = chunk.stop_on_error
        self._context, self._forks = CallersContext(), forks()
        self._values: list[Any] = [None] * chunk.count
        self._failures: list[tuple[int, BaseException]] = []
        self._unread: BaseException | None = None
        self._waiting = deque(range(chunk.count))
        self._lock, self._left, self._end = threading.Lock(), chunk.count, chunk.count
        self._started_s = time.monotonic()
        self._wall_s = self._cpu_s = 0.0
        self._threads = self._retries = 0

    @property
    def has_more(self) -> bool:
        """Whether there are items that no thread has taken."""
        return bool(self._waiting)

    def work(self) -> None:
        """Take items, one after the other, as long as there are some."""
        if self._waiting:
            self._context.run(self._take_items)

    def _take_items(self) -> None:
        wall, cpu = time.perf_counter(), time.thread_time()
        taken = 0
        try:
            while True:
                position = self._waiting.popleft()  # atomic: no other thread gets it
                taken += 1 + self._run(position)
        except IndexError:  # none is left
            pass
        if taken:
            wall, cpu = time.perf_counter() - wall, time.thread_time() - cpu
            self._leave(taken, wall, cpu)

    def _run(self, position: int) -> int:
        """Run one item; the number of items that are dropped for it."""
        try:
            item = self._item(position)
        except BaseException as error:  # the data's own: nothing of the chunk is of use then
            self._unread = error
            return self._drop()
        try:
            self._values[position] = self._function(item)
            end_if_forked(self._forks)
        except BaseException as error:
            end_if_forked(self._forks, error)
            # All items before it have been taken; those after it are not wanted any more.
            self._failures.append((position, error))
            return self._drop() if self._stop_on_error else 0
        return 0

    def _drop(self) -> int:
        """Forget the items that no thread has taken, the last ones; their number."""
        dropped = 0
        while True:
            try:
                self._waiting.pop()
            except IndexError:
                return dropped
            dropped += 1

    def withdraw(self) -> None:
        """Start no more of the items: the outcome holds the results of those before."""
        if dropped := self._drop():
            self._end -= dropped
            self._leave(dropped)

    def _leave(self, done: int, wall_s: float = 0.0, cpu_s: float = 0.0) -> None:
        """A thread has no more to do here."""
        retries = rest(self._function)
        with self._lock:
            self._wall_s += wall_s
            self._cpu_s += cpu_s
            self._retries += retries
            self._threads += wall_s > 0
            self._left -= done
            last = self._left == 0
        if last:
            self._finish()

    def _finish(self) -> None:
        future, self._future = self._future, None
        values, self._values, self._item = self._values, [], _nothing
        assert future is not None
        if self._unread is not None:
            future.set_exception(self._unread)
            return
        del values[self._end :]
        failures = sorted(self._failures, key=lambda failure: failure[0])
        if failures and self._stop_on_error:
            del values[failures[0][0] :], failures[1:]
        times = ChunkTimes(
            wall_s=self._wall_s,
            cpu_s=self._cpu_s,
            pack_s=0.0,
            started_s=self._started_s,
            worker=f"{worker_name()}/{threading.current_thread().name}",
            peak_rss_bytes=0,
            retries=self._retries,
            workers=max(1, self._threads),
        )
        found = tuple(Failure(position, error) for position, error in failures)
        future.set_result(Outcome(values, found, times))


def _nothing(position: int) -> None:
    """Reads items of a chunk that has ended: there are none."""
