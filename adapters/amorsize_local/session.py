"""A pool of worker processes that its caller drives alone: no helper thread, so that forking
stays safe, and no shared queue that a dying worker could leave locked.
"""

from __future__ import annotations

import pickle
import select
import selectors
import sys
import time
from collections import deque
from collections.abc import Collection, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import Any

from amorsize.backend import BackendUnavailable, Chunk, OpenRequest, Session, WorkerLost
from amorsize_local import channel
from amorsize_local.server import Assignment, Order, name_of_death, outcome_of, serve

_AHEAD_S = 0.002
"""Chunks shorter than this are queued one ahead at a worker; longer ones wait for whoever is
free first, because a chunk committed to a busy worker spoils a tapering schedule."""
_SMALL_BYTES = 4096
"""Only orders that surely fit into a pipe may be sent to a busy worker: it may be blocked on
sending a result, and two blocked ends would wait for each other."""
_PATIENCE_S = 1.0

Ticket = tuple[Chunk, "Future[Any]"]


class _Worker:
    """A process with its two pipes, and the chunks that it has."""

    def __init__(self, process: BaseProcess, orders: channel.End, outcomes: channel.End) -> None:
        self.process, self.orders, self.outcomes = process, orders, outcomes
        self.tickets: deque[Ticket] = deque()


class ProcessSession(Session):
    """Workers pull chunks from one queue held here; each has a pipe to and from it."""

    def __init__(self, context: BaseContext, request: OpenRequest, *, inherits: bool) -> None:
        self._context, self._request, self._inherits = context, request, inherits
        function = request.function if inherits else request.payload
        self._assignment = Assignment(
            function, request.source if inherits else None, request.cores_per_worker
        )
        self._queue: deque[Ticket] = deque()
        self._workers: dict[int, _Worker] = {}
        self._selector = selectors.DefaultSelector()
        self._wanted = request.workers
        try:
            for _ in range(self._wanted):
                self._start_worker()
        except OSError as error:
            self.close(cancel=True)
            remedy = "use fewer workers, or backend='threads'"
            raise BackendUnavailable(
                "multiprocessing", f"cannot start workers: {error}", remedy
            ) from error

    @property
    def workers(self) -> int:  # type: ignore[override]
        """Workers alive now."""
        return len(self._workers)

    def submit(self, chunk: Chunk) -> Future[Any]:
        """Queue a chunk and hand it to a free worker if there is one."""
        future: Future[Any] = Future()
        self._queue.append((chunk, future))
        self._hand_out()
        return future

    def wait(self, futures: Collection[Future[Any]], timeout_s: float | None) -> set[Future[Any]]:
        """Take outcomes from the pipes until one of ``futures`` is done."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not (done := {future for future in futures if future.done()}):
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready = self._selector.select(left)
            for key, _ in ready:
                self._take(key.data)
            self._hand_out()
            if not ready and left is not None:
                break
        return done

    def close(self, *, cancel: bool) -> None:
        """End all workers: by the end of their orders, or at once with ``cancel``."""
        workers, self._workers = list(self._workers.values()), {}
        self._queue.clear()
        self._selector.close()
        for worker in workers:
            worker.orders.close()
            if cancel:
                worker.process.terminate()
        for worker in workers:
            _reap(worker.process)
            worker.outcomes.close()
            worker.process.close()

    def _start_worker(self) -> None:
        their_orders, orders = channel.pipe()
        outcomes, their_outcomes = channel.pipe()
        channel.enlarge(outcomes)
        foreign: list[channel.End] = []
        if self._inherits:
            foreign = [orders, outcomes]
            foreign += [end for w in self._workers.values() for end in (w.orders, w.outcomes)]
        process = self._context.Process(  # type: ignore[attr-defined]
            target=serve,
            args=(self._assignment, their_orders, their_outcomes, foreign),
            name="amorsize-worker",
            daemon=True,
        )
        with _hidden_main(hide=not self._inherits):
            process.start()
        their_orders.close()
        their_outcomes.close()
        worker = _Worker(process, orders, outcomes)
        self._workers[outcomes.fileno()] = worker
        self._selector.register(outcomes.fileno(), selectors.EVENT_READ, worker)

    def _hand_out(self) -> None:
        """Give queued chunks to free workers; short ones also to workers that will be free."""
        for depth in (0, 1):
            for worker in list(self._workers.values()):
                while self._queue and self._queue[0][1].cancelled():
                    self._queue.popleft()
                if not self._queue:
                    return
                if len(worker.tickets) == depth:
                    self._send(worker, ahead=depth > 0)

    def _send(self, worker: _Worker, *, ahead: bool) -> None:
        chunk, future = self._queue[0]
        if ahead and (chunk.expected_s > _AHEAD_S or chunk.items is not None):
            return
        order = pickle.dumps(Order(chunk.spans, chunk.stop_on_error, chunk.items is not None))
        if ahead and len(order) > _SMALL_BYTES:
            return
        self._queue.popleft()
        frames: list[Any] = [order]
        if chunk.items is not None:
            try:
                packed = chunk.pack()
            except Exception as error:  # an item that cannot be pickled
                future.set_exception(error)
                return
            frames += [packed.data, *packed.buffers]
        worker.tickets.append((chunk, future))
        try:
            channel.send(worker.orders, frames)
        except OSError:  # it died: its pipe's end is taken care of where outcomes are read
            self._bury(worker)

    def _take(self, worker: _Worker) -> None:
        """Receive one outcome, or learn that the worker is dead."""
        try:
            frames = channel.receive(worker.outcomes)
        except (EOFError, OSError):
            self._bury(worker)
            return
        _, future = worker.tickets.popleft()
        if future.cancelled():
            return
        try:
            future.set_result(outcome_of(frames))
        except Exception as error:  # the worker could not load function or items
            future.set_exception(error)

    def _bury(self, worker: _Worker) -> None:
        """Replace a dead worker. Only the chunk it ran is lost; queued ones go back."""
        if self._workers.pop(worker.outcomes.fileno(), None) is None:
            return
        self._selector.unregister(worker.outcomes.fileno())
        worker.orders.close()
        _reap(worker.process)
        reason = name_of_death(worker.process.exitcode)
        worker.outcomes.close()
        worker.process.close()
        if worker.tickets:
            _, future = worker.tickets.popleft()
            if not future.cancelled():
                future.set_exception(WorkerLost(reason))
            self._queue.extendleft(reversed(worker.tickets))
        self._start_worker()


def _reap(process: BaseProcess) -> None:
    """Wait for the end of a process, and make it end if that takes long. ``join`` with a
    time-out would do the same after a costly import.
    """
    sentinel = select.poll()
    sentinel.register(process.sentinel, select.POLLIN)
    if not sentinel.poll(_PATIENCE_S * 1000):
        process.kill()
    process.join()


@contextmanager
def _hidden_main(*, hide: bool) -> Iterator[None]:
    """Keep a fresh interpreter from running the user's main script again: functions of
    ``__main__`` travel by value, and scripts without an ``if __name__`` guard must work.
    """
    if not hide:
        yield
        return
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
