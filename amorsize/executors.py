"""Any ``concurrent.futures.Executor`` as a backend. Public through :mod:`amorsize.backend`."""

from __future__ import annotations

import concurrent.futures
import math
import threading
import time
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Executor, Future
from contextlib import AbstractContextManager, ExitStack
from typing import Any

from amorsize.backend import Availability, Backend, Chunk, OpenRequest, Session, Traits
from amorsize.callers_context import CallersContext
from amorsize.ending import LATE_S, tell_of_late_chunks
from amorsize.errors import BackendUnavailable, WorkerLost
from amorsize.shipping import Shipment, run_shipped
from amorsize.worker import Outcome, run_chunk


class ExecutorBackend(Backend):
    """Any ``concurrent.futures.Executor`` as a backend.

    Subclasses give ``name``, ``traits`` and ``executor``; costs are measured for free. An
    executor that breaks (``BrokenExecutor``) because a worker died is replaced by another one.
    """

    traits = Traits(survives_worker_death=True)

    @abstractmethod
    def executor(self, workers: int) -> AbstractContextManager[Executor]:
        """A context manager that yields an executor with ``workers`` workers; leaving it shuts
        the executor down (an executor itself is such a context manager). Called again when the
        executor has broken.
        """

    def availability(self) -> Availability:
        """Usable by default."""
        return Availability(True)

    def open(self, request: OpenRequest) -> Session:
        """Enter the executor's context."""

        def another() -> AbstractContextManager[Executor]:
            return self.executor(request.workers)

        return ExecutorSession(self.name, self.traits, request, another(), another=another)


class ExecutorSession(Session):
    """Runs chunks on an executor. Public for backends that need a small change of it.

    Args:
        name: the backend's name, for messages.
        traits: the backend's traits; workers of other processes are sent pickled chunks.
        request: what to run.
        context: yields the executor, and shuts it down when it is left.
        owned: whether the workers are the session's own, to be held to their share of the cores.
        another: makes an executor in place of a broken one; ``None`` if it cannot be replaced.

    An executor that breaks fails all its chunks, not only the one whose worker died. Those
    suspects run one at a time on the next executor, and new chunks wait until they are through:
    so only a chunk that was alone is ever ``WorkerLost``.
    """

    def __init__(
        self,
        name: str,
        traits: Traits,
        request: OpenRequest,
        context: AbstractContextManager[Executor],
        *,
        owned: bool = True,
        another: Callable[[], AbstractContextManager[Executor]] | None = None,
    ) -> None:
        self._name, self._traits, self._request = name, traits, request
        self._owned = owned
        self._cores = request.cores_per_worker if owned else None
        self._another = another
        self.workers = request.workers
        self._cancelled = self._broken = False
        self._futures: set[Future[Any]] = set()
        self._suspects: deque[_Held] = deque()
        self._waiting: deque[_Held] = deque()
        self._lock = threading.Lock()
        self._attention: Future[None] = Future()
        payload = None if traits.shares_memory else request.payload
        with ExitStack() as stack:
            if payload is not None:
                self._shipment = Shipment(payload)
                stack.callback(self._shipment.close)
            try:
                self._executor = stack.enter_context(context)
            except BackendUnavailable:
                raise
            except Exception as error:
                raise BackendUnavailable(name, f"it did not start: {error}") from error
            self._stack = stack.pop_all()

    def submit(self, chunk: Chunk) -> Future[Any]:
        """Submit to the executor; its broken-pool errors become ``WorkerLost``."""
        outer: Future[Any] = Future()
        outer.set_running_or_notify_cancel()
        if self._broken or self._suspects:
            self._waiting.append((outer, chunk))
        else:
            self._send(outer, chunk)
        return outer

    def _send(self, outer: Future[Any], chunk: Chunk) -> None:
        try:
            inner = self._submit(chunk)
        except Exception as error:
            if not self.is_loss(error):
                raise
            self._lost(outer, chunk, error)
        else:
            self._follow(inner, outer, chunk)

    def _submit(self, chunk: Chunk) -> Future[Any]:
        if self._traits.shares_memory:
            return self._executor.submit(CallersContext().run, self._run_shared, chunk)
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
        """Called by the executor's thread."""
        error = None if inner.cancelled() else inner.exception()
        if error is not None and self.is_loss(error):
            self._lost(outer, chunk, error, inner)
            return
        if inner.cancelled():
            outer.set_exception(WorkerLost("the executor cancelled the chunk"))
        elif error is not None:
            outer.set_exception(error)
        elif inner.result() is None:  # a worker of another host, without the function
            self._send_again(outer, chunk)
        else:
            outer.set_result(inner.result())
        with self._lock:
            self._futures.discard(inner)
        self._call_if_idle()

    def _lost(
        self,
        outer: Future[Any],
        chunk: Chunk,
        error: BaseException,
        inner: Future[Any] | None = None,
    ) -> None:
        """The executor is broken: a chunk that was alone in it did that, or is a suspect."""
        with self._lock:
            alone = not self._broken and self._futures <= {inner}
            self._broken = True
            suspect = not (alone or self._cancelled)
            if suspect:
                self._suspects.append((outer, chunk))
        if not suspect:
            outer.set_exception(WorkerLost(str(error) or type(error).__name__))
        with self._lock:
            self._futures.discard(inner)
        self._call_if_idle()

    # -- after a broken executor: all of this in the run's own thread -------------------------

    def _call_if_idle(self) -> None:
        """Wake the run's thread if chunks are held and nothing is in flight."""
        with self._lock:
            idle = (self._suspects or self._waiting) and not self._futures
            if idle and not self._attention.done():
                self._attention.set_result(None)

    def wait(self, futures: Collection[Future[Any]], timeout_s: float | None) -> set[Future[Any]]:
        """Block until a chunk ends or the time is over; restarts a broken executor meanwhile."""
        deadline = math.inf if timeout_s is None else time.monotonic() + timeout_s
        while True:
            self._call_if_idle()
            left = None if timeout_s is None else max(0.0, deadline - time.monotonic())
            done = super().wait({*futures, self._attention}, left)
            if self._attention in done:
                done.discard(self._attention)
                self._attention = Future()
                self._go_on()
            if done or time.monotonic() >= deadline:
                return done

    def _go_on(self) -> None:
        """Send the next suspect alone; when all are through, what waited for that."""
        if self._broken:
            try:
                self._replace()
            except BackendUnavailable as error:
                self._fail_all(error)
                return
            except Exception as error:  # an engine may fail in any way
                reason = f"a worker died, and it did not start again: {error}"
                self._fail_all(BackendUnavailable(self._name, reason))
                return
            self._broken = False
        if self._suspects:
            self._send_held(self._suspects)
            return
        while self._waiting and not self._broken:
            self._send_held(self._waiting)

    def _replace(self) -> None:
        broken = self._executor
        if self._another is not None:
            self._executor = self._stack.enter_context(self._another())
        if self._executor is broken:
            spans = sorted(span for _, chunk in self._suspects for span in chunk.spans)
            what = ", ".join(f"{start} to {stop - 1}" for start, stop in spans[:5])
            raise BackendUnavailable(
                self._name,
                "a worker died, and the executor is broken with it"
                + (f"; it was one of the items {what}" if what else ""),
                "make a new executor; a name such as 'multiprocessing' survives that",
            )

    def _send_held(self, held: deque[_Held]) -> None:
        outer, chunk = held.popleft()
        try:
            self._send(outer, chunk)
        except Exception as error:  # an item that cannot be pickled, say
            outer.set_exception(error)

    def _fail_all(self, error: Exception) -> None:
        held = [*self._suspects, *self._waiting]
        self._suspects.clear()
        self._waiting.clear()
        for outer, _ in held:
            outer.set_exception(error)

    def _send_again(self, outer: Future[Any], chunk: Chunk) -> None:
        if self._cancelled:
            return
        self._shipment.missed()
        try:
            self._follow(self._submit(chunk), outer, chunk)
        except Exception as error:  # it was shut down meanwhile
            outer.set_exception(error)

    def is_loss(self, error: BaseException) -> bool:
        """Whether the engine's error means that a chunk's worker vanished."""
        return isinstance(error, concurrent.futures.BrokenExecutor)

    def all_out(self) -> None:
        """Told to executors of our own, which have a method of that name."""
        if (tell := getattr(self._executor, "all_out", None)) is not None:
            tell()

    def close(self, *, cancel: bool) -> None:
        """Leave the executor's context; with ``cancel``, queued chunks are dropped first. Chunks
        that run are waited for on an executor that stays up, too, but after a cancel no longer
        than a second: an item may never end. How long an executor of the session's own waits for
        such an item is up to its context.
        """
        if cancel:
            self._cancelled = True
            for future in tuple(self._futures):
                future.cancel()
        if not cancel:
            concurrent.futures.wait(tuple(self._futures))
        elif not self._owned:
            left = concurrent.futures.wait(tuple(self._futures), LATE_S).not_done
            tell_of_late_chunks(self._name, len(left))
        self._fail_all(WorkerLost("the session was closed"))
        self._stack.close()


_Held = tuple[Future[Any], Chunk]
"""A chunk that is not with the executor now, and the future that its submitter has."""
