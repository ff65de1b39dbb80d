"""Any ``concurrent.futures.Executor`` as a backend. Public through :mod:`amorsize.backend`."""

from __future__ import annotations

import concurrent.futures
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future
from contextlib import AbstractContextManager, ExitStack
from typing import Any

from amorsize.backend import Availability, Backend, Chunk, OpenRequest, Session, Traits
from amorsize.errors import BackendUnavailable, WorkerLost
from amorsize.shipping import Shipment, run_shipped
from amorsize.worker import Outcome, run_chunk


class ExecutorBackend(Backend):
    """Any ``concurrent.futures.Executor`` as a backend.

    Subclasses give ``name``, ``traits`` and ``executor``; costs are measured for free.
    """

    traits = Traits()

    @abstractmethod
    def executor(self, workers: int) -> AbstractContextManager[Executor]:
        """A context manager that yields an executor with ``workers`` workers; leaving it shuts
        the executor down (an executor itself is such a context manager).
        """

    def availability(self) -> Availability:
        """Usable by default."""
        return Availability(True)

    def open(self, request: OpenRequest) -> Session:
        """Enter the executor's context."""
        return ExecutorSession(self.name, self.traits, request, self.executor(request.workers))


class ExecutorSession(Session):
    """Runs chunks on an executor. Public for backends that need a small change of it.

    Args:
        name: the backend's name, for messages.
        traits: the backend's traits; workers of other processes are sent pickled chunks.
        request: what to run.
        context: yields the executor, and shuts it down when it is left.
        owned: whether the workers are the session's own, to be held to their share of the cores.
    """

    def __init__(
        self,
        name: str,
        traits: Traits,
        request: OpenRequest,
        context: AbstractContextManager[Executor],
        *,
        owned: bool = True,
    ) -> None:
        self._name, self._traits, self._request = name, traits, request
        self._cores = request.cores_per_worker if owned else None
        self.workers = request.workers
        self._cancelled = False
        self._futures: set[Future[Any]] = set()
        payload = None if traits.shares_memory else request.payload
        with ExitStack() as stack:
            if payload is not None:
                self._shipment = Shipment(payload)
                stack.callback(self._shipment.close)
            try:
                self._executor = stack.enter_context(context)
            except Exception as error:
                raise BackendUnavailable(name, f"it did not start: {error}") from error
            self._stack = stack.pop_all()

    def submit(self, chunk: Chunk) -> Future[Any]:
        """Submit to the executor; its broken-pool errors become ``WorkerLost``."""
        outer: Future[Any] = Future()
        try:
            inner = self._submit(chunk)
        except Exception as error:
            if not self.is_loss(error):
                raise
            outer.set_exception(WorkerLost(str(error) or type(error).__name__))
            return outer
        outer.set_running_or_notify_cancel()
        self._follow(inner, outer, chunk)
        return outer

    def _submit(self, chunk: Chunk) -> Future[Any]:
        if self._traits.shares_memory:
            return self._executor.submit(self._run_shared, chunk)
        rest = (chunk.pack(), chunk.spans, chunk.stop_on_error)
        return self._executor.submit(run_shipped, self._shipment.function, self._cores, *rest)

    def _run_shared(self, chunk: Chunk) -> Outcome:
        items, function = self._request.items_of(chunk), self._request.function
        return run_chunk(function, self._until_cancelled(items), stop_on_error=chunk.stop_on_error)

    def _until_cancelled(self, items: Iterable[Any]) -> Iterator[Any]:
        """A thread cannot be ended: it looks before each item whether it is still wanted."""
        for item in items:
            if self._cancelled:
                return
            yield item

    def _follow(self, inner: Future[Any], outer: Future[Any], chunk: Chunk) -> None:
        self._futures.add(inner)
        inner.add_done_callback(lambda done: self._finish(done, outer, chunk))

    def _finish(self, inner: Future[Any], outer: Future[Any], chunk: Chunk) -> None:
        self._futures.discard(inner)
        if inner.cancelled():
            outer.set_exception(WorkerLost("the executor cancelled the chunk"))
            return
        error = inner.exception()
        if error is not None:
            lost = self.is_loss(error)
            outer.set_exception(WorkerLost(str(error) or type(error).__name__) if lost else error)
        elif inner.result() is None:  # a worker of another host, without the function
            self._send_again(outer, chunk)
        else:
            outer.set_result(inner.result())

    def _send_again(self, outer: Future[Any], chunk: Chunk) -> None:
        self._shipment.missed()
        try:
            self._follow(self._submit(chunk), outer, chunk)
        except Exception as error:  # it was shut down meanwhile
            outer.set_exception(error)

    def is_loss(self, error: BaseException) -> bool:
        """Whether the engine's error means that a chunk's worker vanished."""
        return isinstance(error, concurrent.futures.BrokenExecutor)

    def close(self, *, cancel: bool) -> None:
        """Leave the executor's context; with ``cancel``, queued chunks are dropped first. Chunks
        that run are waited for, also on an executor that stays up: no item runs on unseen.
        """
        if cancel:
            self._cancelled = True
            for future in tuple(self._futures):
                future.cancel()
        concurrent.futures.wait(tuple(self._futures))
        self._stack.close()
