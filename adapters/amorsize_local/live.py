"""Executors and pools of the user's own as backends; they stay up when a run ends."""

from __future__ import annotations

import concurrent.futures
import functools
import math
import os
import threading
import time
import uuid
from abc import abstractmethod
from collections import Counter, deque
from collections.abc import Collection, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

from amorsize.backend import (
    LATE_S,
    Availability,
    Backend,
    BackendUnavailable,
    CallersContext,
    Capacity,
    Chunk,
    ExecutorSession,
    OpenRequest,
    RelaySession,
    Session,
    Shipment,
    Traits,
    host_name,
    run_shipped,
    tell_of_late_chunks,
)
from amorsize.probes import Limits

_HERE = uuid.uuid4().hex
"""Of this interpreter and what it forks."""
_PROBE_S = 60.0
"""Seconds to wait for an unknown executor to say where its workers are."""
_THREADS = Traits(shares_memory=True, shares_gil=True, rank=1)
_PROCESSES = Traits(rank=2)


def whereabouts() -> tuple[str, str, int]:
    """Of a worker: interpreter, host and process."""
    return _HERE, host_name(), os.getpid()


_waiting, _counting = Counter[int](), threading.Lock()
"""How many of an engine's own threads wait for runs on it, by its identity."""


class LiveBackend(Backend):
    """What executors and pools of the user have in common: they are up, and of one size."""

    name = "executor"
    closed = "it was shut down"

    def __init__(self, engine: Any, workers: int) -> None:
        self._engine, self._workers = engine, workers
        self.name = type(engine).__name__.strip("_")  # type: ignore[misc]

    @abstractmethod
    def is_up(self) -> bool:
        """Whether it still takes work."""

    @contextmanager
    def counted(self, threads: Collection[Any]) -> Iterator[Any]:
        """The engine, while a run is on it. One of its own threads that waits for the run does
        nothing else meanwhile: with the last of them, all would wait for each other.

        Raises:
            BackendUnavailable: if no other thread of it is left.
        """
        within, key = threading.current_thread() in threads, id(self._engine)
        with _counting:
            if within and _waiting[key] + 1 >= self._workers:
                why = "this is one of its own tasks, and no other thread of it is free to run any"
                raise BackendUnavailable(self.name, why, "use 'threads', or no backend by name")
            _waiting[key] += within
        try:
            yield self._engine
        finally:
            with _counting:
                _waiting[key] -= within

    def availability(self) -> Availability:
        """Usable until its owner ends it."""
        if self.is_up():
            return Availability(True, "yours; it stays up", running=True)
        return Availability(False, self.closed, "make a new one and pass that")

    def capacity(self, limits: Limits) -> Capacity:
        """Its workers; those of this host share its cores."""
        cores = float(self._workers)
        return Capacity(self._workers, cores if self.traits.remote else min(cores, limits.cores))

    def configuration(self) -> str:
        """Costs depend on what it is and on its size."""
        return f"{type(self._engine).__module__}-{self._workers}"


class LiveExecutor(LiveBackend):
    """Any ``concurrent.futures.Executor`` that is up."""

    def __init__(self, engine: Executor) -> None:
        size = getattr(engine, "num_workers", None) or getattr(engine, "_max_workers", None)
        super().__init__(engine, size if isinstance(size, int) else os.cpu_count() or 1)

    @functools.cached_property
    def traits(self) -> Traits:
        """Known for the standard library's and our own; others are asked once where their workers
        are.
        """
        package = type(self._engine).__module__.partition(".")[0]
        if isinstance(self._engine, ThreadPoolExecutor) or package == "amorsize":
            return _THREADS
        if package in ("concurrent", "loky", "joblib"):
            return _PROCESSES
        try:
            here, host, process = self._engine.submit(whereabouts).result(_PROBE_S)
        except Exception as error:
            raise BackendUnavailable(self.name, f"its workers do not answer: {error!r}") from error
        if (here, process) == (_HERE, os.getpid()):
            return _THREADS
        return _PROCESSES if host == whereabouts()[1] else Traits(remote=True, rank=3)

    def is_up(self) -> bool:
        """Going by the flags of the standard library's executors, and of those that derive from
        them; others say no when they are given work.
        """
        flags = (getattr(self._engine, "_executor_manager_thread", None), self._engine)
        ended = any(getattr(flag, "_shutdown", False) is True for flag in flags)
        gone = getattr(self._engine, "_shutdown_thread", False) is True
        broken = getattr(self._engine, "_broken", False)
        return not (ended or gone or broken)

    def open(self, request: OpenRequest) -> Session:
        """A session that leaves the executor as it is."""
        context = self.counted(self._own_threads())
        return LiveExecutorSession(self.name, self.traits, request, context, owned=False)

    def _own_threads(self) -> Collection[Any]:
        """Those of the standard library's executor, or of one that has such a one within, as
        ``amorsize.Executor``; of others nothing is known.
        """
        within = getattr(self._engine, "_threads", None)
        threads = within if isinstance(within, set) else getattr(within, "_threads", None)
        return threads if isinstance(threads, set) else ()


class LiveExecutorSession(ExecutorSession):
    """Says what is wrong if the executor's owner ends it in the middle of a run."""

    def submit(self, chunk: Chunk) -> Future[Any]:
        """Submit to the executor."""
        try:
            return super().submit(chunk)
        except RuntimeError as error:
            if "shutdown" not in str(error):
                raise
            raise BackendUnavailable(self._name, str(error), "make a new executor") from error


class LivePool(LiveBackend):
    """A ``multiprocessing.pool.Pool`` or ``ThreadPool`` that is up."""

    closed = "the pool is closed"

    def __init__(self, engine: Any) -> None:
        super().__init__(engine, len(getattr(engine, "_pool", ())) or os.cpu_count() or 1)

    @functools.cached_property
    def traits(self) -> Traits:
        """Only a ``ThreadPool`` shares the caller's memory."""
        return _THREADS if type(self._engine).__name__ == "ThreadPool" else _PROCESSES

    def is_up(self) -> bool:
        """Whether it is neither closed nor terminated."""
        return getattr(self._engine, "_state", "RUN") == "RUN"

    def open(self, request: OpenRequest) -> Session:
        """A session that leaves the pool as it is."""
        context = self.counted(getattr(self._engine, "_pool", ()))
        return PoolSession(self.name, context, request, shares=self.traits.shares_memory)


class PoolSession(RelaySession):
    """Few chunks at a time are with the pool, which cannot give back what it has queued.

    A ``Pool`` forgets the call of a worker that dies, or of one that it terminates, and would let
    its caller wait for ever: so pool and workers are watched, and such an end ends the run. Those
    that a pool with ``maxtasksperchild`` starts meanwhile are learned of at each chunk and each
    second: one that is started and dies between two looks is missed, and so is one that an item
    ends with code 0.
    """

    def __init__(
        self, name: str, pool: AbstractContextManager[Any], request: OpenRequest, *, shares: bool
    ) -> None:
        super().__init__(name)
        self._stack = ExitStack()
        self._pool, self._request = self._stack.enter_context(pool), request
        self._shipment = None if shares else Shipment(request.payload)
        self._queue: deque[tuple[Future[Any], Chunk, Any]] = deque()
        self._out: set[Future[Any]] = set()
        self._shares = shares
        self._watched: dict[int, Any] = {}
        """Workers that may have died, by their identity; the pool drops them from its list."""
        self._learn()
        self.workers = request.workers

    def submit(self, chunk: Chunk) -> Future[Any]:
        """Queue a chunk here, and hand it to the pool once few others are there."""
        packed: Any = CallersContext() if self._shipment is None else chunk.pack()
        future = self.track(chunk)
        if gone := self.vanished():
            self.settle(future, error=gone)
            return future
        self._queue.append((future, chunk, packed))
        self._hand_out()
        return future

    def _hand_out(self) -> None:
        """Called by the run's thread and, at the end of each chunk, by the pool's."""
        while len(self._out) <= self._request.workers:
            try:
                future, chunk, packed = self._queue.popleft()
            except IndexError:
                return
            if future.cancelled():
                continue
            self._out.add(future)
            if self._shipment is None:
                call: tuple[Any, ...] = (packed.run, (self._request.run, chunk))
            else:
                rest = (packed, chunk.spans, chunk.stop_on_error)
                call = (run_shipped, (self._shipment.function, None, *rest))
            try:
                self._pool.apply_async(
                    *call,
                    callback=functools.partial(self._ended, future),
                    error_callback=functools.partial(self._failed, future),
                )
            except ValueError as error:  # it was closed meanwhile
                self._out.discard(future)
                self.settle(future, error=BackendUnavailable(self._name, str(error)))

    def _learn(self) -> None:
        """Of workers that the pool has started in place of others."""
        if not self._shares:
            for worker in list(getattr(self._pool, "_pool", ())):
                self._watched.setdefault(id(worker), worker)

    def _ended(self, future: Future[Any], outcome: Any) -> None:
        self._learn()
        self._out.discard(future)
        self.settle(future, outcome=outcome)
        self._hand_out()

    def _failed(self, future: Future[Any], error: BaseException) -> None:
        self._out.discard(future)
        self.settle(future, error=error)
        self._hand_out()

    def vanished(self) -> BackendUnavailable | None:
        """Whether the pool was terminated, or a worker died that had no reason to."""
        if getattr(self._pool, "_state", "RUN") == "TERMINATE":
            return BackendUnavailable(self._name, "the pool was terminated", "make a new pool")
        self._learn()
        codes = {key: worker.exitcode for key, worker in list(self._watched.items())}
        if self._may_leave():
            for key in [key for key, code in codes.items() if code == 0]:
                self._watched.pop(key, None)
                del codes[key]
        code = next((code for code in codes.values() if code is not None), None)
        if code is None:
            return None
        reason = f"a worker of the pool exited with code {code}, and its chunk is lost"
        return BackendUnavailable(self._name, reason, "make a new pool")

    def _may_leave(self) -> bool:
        """Whether a worker that ends in order has had nothing to do: one of a pool with
        ``maxtasksperchild`` at any time, of another only once it is closed and nothing is left.
        """
        return not self._out or getattr(self._pool, "_maxtasksperchild", 1) is not None

    def close(self, *, cancel: bool) -> None:
        """Drop what the pool has not got yet, and wait for what it has; after a cancel no longer
        than a second.
        """
        self._queue.clear()
        until = time.monotonic() + LATE_S if cancel else math.inf
        while self._out and not self.vanished() and time.monotonic() < until:
            concurrent.futures.wait(tuple(self._out), 0.1)
            self._out = {future for future in self._out if future in self.handles}
        tell_of_late_chunks(self._name, len(self._out) if cancel else 0)
        if self._shipment is not None:
            self._shipment.close()
        self._stack.close()
