"""The contract between amorsize and an engine: everything a plugin author needs.

A backend is a light object that says what an engine is and opens sessions on it. Importing the
module of a backend must not import the engine. A backend holds no policy: how many workers,
which chunks, in which order, what happens after an error are decided by the core.

Write a class that derives from :class:`Backend`, or from :class:`ExecutorBackend` if the engine
offers a ``concurrent.futures.Executor``, and register it::

    import amorsize

    @amorsize.hookimpl
    def amorsize_backends():
        return [MyBackend()]

in a module named by an entry point of the group ``amorsize``. Prove it with
:class:`amorsize.testing.BackendContract`.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from amorsize import checking
from amorsize.costs import HOST_FALLBACK, BackendCosts, declared, fallback
from amorsize.errors import (
    AmorsizeError,
    BackendUnavailable,
    InvalidArgument,
    TranslationUnsupported,
    WorkerLost,
)
from amorsize.installed import installed_version, is_installed
from amorsize.interrupts import (
    before_termination,
    deadly_sigterm,
    raise_if_terminated,
    shielded,
    unchanged_environment,
)
from amorsize.on_demand import loader
from amorsize.packing import FunctionPayload, Packed, Parcel, innermost, sent_as_by
from amorsize.rooms import copied, room
from amorsize.source import IndexedSource, Span
from amorsize.work import Chunk, OpenRequest
from amorsize.worker import (
    Outcome,
    PackedOutcome,
    host_name,
    rss_bytes,
    run_chunk,
    run_packed,
    settle_in,
)

if TYPE_CHECKING:
    from concurrent.futures import Future

    from amorsize.arrivals import Arrivals
    from amorsize.callers_context import CallersContext
    from amorsize.ending import LATE_S, ending_processes, killing, tell_of_late_chunks
    from amorsize.executors import ExecutorBackend, ExecutorSession
    from amorsize.keywords import Keywords
    from amorsize.meanwhile import Meanwhile, Shared, jointly
    from amorsize.offspring import kept_from_children
    from amorsize.plans import Plan
    from amorsize.probes import Limits
    from amorsize.sharing import SharedChunk
    from amorsize.shipping import Shipment, run_shipped
    from amorsize.starting import awaited, looks, mended, needed, own_engine, starting_quietly

CONTRACT_VERSION = 1
"""Version of this contract; a backend that states another one is refused when it is loaded."""

_LOOK_S = 1.0
"""Seconds without news after which a session looks whether its engine is still there."""


class Traits(NamedTuple):
    """What kind of engine this is. The core asks these, never the name."""

    shares_memory: bool = False
    """Workers are threads of this process: nothing is pickled, state is shared."""
    shares_gil: bool = False
    """Workers hold one interpreter lock between them."""
    inline: bool = False
    """``submit`` runs the chunk in the caller before it returns."""
    inherits_memory: bool = False
    """Workers see the caller's memory as it is when the session opens (fork)."""
    remote: bool = False
    """Workers may live on other hosts; its capacity is not limited by this host's cores."""
    survives_worker_death: bool = False
    """A killed worker costs its chunk (``WorkerLost``), not the session."""
    stores_inputs: bool = False
    """The inputs of a chunk may travel within its task, or lie in a store of the engine's own:
    ``OpenRequest.store_bytes`` says from which size on. Both ways are measured."""
    shares_chunks: bool = False
    """Workers take the items of a chunk one by one, whichever is free: a chunk keeps all of them
    busy, and none of them waits for another at its end. See ``SharedChunk``."""
    rank: int = 2
    """Simplicity, for ties: 0 serial, 1 threads, 2 processes, 3 a cluster."""


class Availability(NamedTuple):
    """Whether a backend can be used now."""

    usable: bool
    """True if ``open`` is expected to work."""
    reason: str = ""
    """Why not, or a remark (which client, which start method)."""
    remedy: str = ""
    """What the user can do, e.g. a pip command."""
    running: bool = False
    """An engine is up already, so that start-up costs nothing."""
    idle: int | None = None
    """Workers of it that are up, where others would have to be started; ``None``: all."""


class Capacity(NamedTuple):
    """What an engine offers."""

    workers: int
    """Number of chunks that can run at once, at least 1."""
    cores: float
    """Processor cores behind those workers; waiting work may use more workers than cores."""
    memory_per_worker_bytes: int | None = None
    """Memory of each worker where the engine limits it, else ``None``."""
    elastic: bool = False
    """More workers than ``workers`` can be started for work that waits (threads, processes)."""
    interpreters: int | None = None
    """Python interpreters that those workers live in, where some share one: each runs Python code
    of one worker at a time. ``None``, the default: as many as workers."""

    def interpreters_of(self, workers: int, traits: Traits) -> int:
        """Interpreters that so many of these workers live in; one for those of the caller's."""
        if traits.shares_gil:
            return 1
        return max(1, min(workers, self.interpreters or workers))

    def scaled(self, workers: int, cores: float) -> Capacity:
        """The same engine with another number of workers, as many of them to an interpreter."""
        interpreters = self.interpreters
        if interpreters is not None:
            interpreters = math.ceil(workers * interpreters / self.workers)
        return self._replace(workers=workers, cores=cores, interpreters=interpreters)


class Session(ABC):
    """A running engine with the user's function on it, for one run.

    Sessions are used by one thread. Whatever a session starts, ``close`` ends.
    """

    workers: int
    """Workers alive now."""
    _arrivals: Arrivals | None = None

    @abstractmethod
    def submit(self, chunk: Chunk) -> Future[Any]:
        """Queue a chunk. The future's result is an ``Outcome`` or a ``PackedOutcome``; its
        exception is ``WorkerLost`` if the worker vanished, and otherwise means that the engine
        itself failed. It never blocks for long: the core submits a bounded window.
        """

    def wait(self, futures: Collection[Future[Any]], timeout_s: float | None) -> set[Future[Any]]:
        """Block until at least one of ``futures`` is done or ``timeout_s`` seconds have passed;
        returns those that are done.
        """
        if self._arrivals is None:  # subclasses need not call an __init__ of ours
            from amorsize.arrivals import Arrivals

            self._arrivals = Arrivals()
        return self._arrivals.wait(futures, timeout_s)

    def all_out(self) -> None:  # noqa: B027
        """Nothing more is left to submit, unless a chunk has to run again: workers without work
        may end. Optional.
        """

    def withdraw(self) -> None:  # noqa: B027
        """The run will end here: start no more items of the chunks in flight. Their outcomes may
        then hold fewer results than they have items: those of the first ones. Optional.
        """

    def shrink(self, workers: int) -> None:  # noqa: B027
        """Memory ran out: keep at most ``workers``. Optional; no more chunks will run at once."""

    @abstractmethod
    def close(self, *, cancel: bool) -> None:
        """End the session. With ``cancel``, drop what is queued and stop what runs, where the
        engine can. No process, thread or file of the session outlives this call.
        """


class RelaySession(Session):
    """For engines that end their tasks in threads of their own, and that may vanish while they
    do: keeps a future for each chunk, and never waits for what cannot come any more.

    Subclasses :meth:`track` the engine's own handle of a chunk and :meth:`settle` its future.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self.handles: dict[Future[Any], Any] = {}
        """The engine's handles of the chunks in flight."""
        self._look_at = time.monotonic() + _LOOK_S

    def track(self, handle: Any) -> Future[Any]:
        """A future for a chunk in flight.

        Raises:
            BackendUnavailable: if the engine has vanished.
        """
        from concurrent.futures import Future

        if gone := self.vanished():
            raise gone
        future: Future[Any] = Future()
        self.handles[future] = handle
        future.add_done_callback(self._drop_if_cancelled)
        return future

    def settle(
        self, future: Future[Any], *, outcome: Any = None, error: BaseException | None = None
    ) -> None:
        """End a chunk's future, from any thread; only the first call counts. Errors of items are
        part of an outcome: any other than amorsize's own becomes ``BackendUnavailable``.
        """
        if self.handles.pop(future, None) is None or not future.set_running_or_notify_cancel():
            return
        if error is None:
            future.set_result(outcome)
        elif isinstance(error, AmorsizeError):
            future.set_exception(error)
        else:
            reason = f"a task failed: {type(error).__name__}: {error}"
            remedy = "amorsize, in this version, must be importable by every worker"
            unavailable = BackendUnavailable(self._name, reason, remedy)
            unavailable.__cause__ = error
            future.set_exception(unavailable)

    def _drop_if_cancelled(self, future: Future[Any]) -> None:
        if future.cancelled() and (handle := self.handles.get(future)) is not None:
            self.drop(handle)

    def drop(self, handle: Any) -> None:
        """Nobody waits for this chunk any more: the engine may forget it."""

    def live_workers(self) -> int:
        """Workers alive now, asked of the engine about once a second: some may have joined."""
        return self.workers

    def vanished(self) -> BackendUnavailable | None:
        """Why the engine can do no more, ``None`` while it can. Asked each second without news."""
        return None

    def wait(self, futures: Collection[Future[Any]], timeout_s: float | None) -> set[Future[Any]]:
        """Block until a chunk ends, the time is over, or the engine has vanished."""
        deadline = math.inf if timeout_s is None else time.monotonic() + timeout_s
        while True:
            raise_if_terminated()
            left = max(0.0, min(_LOOK_S, deadline - time.monotonic()))
            done = super().wait(futures, left)
            if (now := time.monotonic()) > self._look_at:
                self._look(now)
            if done or now >= deadline:
                return done

    def _look(self, now: float) -> None:
        self._look_at = now + _LOOK_S
        if gone := self.vanished():
            for future in list(self.handles):
                self.settle(future, error=gone)
            return
        try:
            self.workers = max(1, self.live_workers())
        except Exception:  # it is about to vanish: seen at the next look
            pass


class Backend(ABC):
    """An engine as the planner and the runner see it."""

    name: ClassVar[str]
    """The name users write, unique among all backends."""
    contract_version: ClassVar[int] = CONTRACT_VERSION
    options: ClassVar[Mapping[str, str]] = {}
    """Options of ``plan(..., options={...})`` that this backend takes: name and meaning."""

    @property
    @abstractmethod
    def traits(self) -> Traits:
        """What kind of engine this is; a plain class attribute will do."""

    @abstractmethod
    def availability(self) -> Availability:
        """Whether the backend can be used now. Cheap (no engine import, nothing started)."""

    @abstractmethod
    def open(self, request: OpenRequest) -> Session:
        """Start or attach to the engine and make the function known to its workers once.

        Raises:
            BackendUnavailable: if the engine cannot be started or reached.
        """

    def capacity(self, limits: Limits) -> Capacity:
        """Worker slots and memory; asked of the engine when it is up. ``limits`` are this
        host's. The default: one worker a usable core of this host.
        """
        return Capacity(limits.workers, limits.cores)

    def bind(self, options: Mapping[str, Any]) -> Backend:
        """This backend with the user's options; the session finds them in its request.
        Override it where an option changes the traits or the costs. Options whose names end in
        ``_s`` are numbers of seconds.

        Raises:
            InvalidArgument: naming an option this backend does not know, or that is no number of
                seconds although its name says so.
        """
        unknown = sorted(set(options) - set(self.options))
        if unknown:
            known = ", ".join(sorted(self.options)) or "none"
            raise InvalidArgument(
                f"backend {self.name!r} knows no option {', '.join(unknown)}; its options: {known}"
            )
        for name in options:
            if name.endswith("_s"):
                checking.seconds(name, options[name], least=0.0)
        return self

    def configuration(self) -> str:
        """Identifies what the costs depend on besides host and Python: engine version, start
        method. Costs measured under another configuration are not reused.
        """
        return ""

    def prepare(self) -> None:  # noqa: B027 - optional
        """A run is about to be planned on this engine, which is up: what its workers have to load
        for chunks may be loaded meanwhile. Does not wait, and starts nothing that outlives it;
        nothing by default.
        """

    def fallback_costs(self) -> BackendCosts:
        """Documented defaults, used until costs are measured and shown as fallback. The
        defaults here are those of a local process pool (docs/costs.md).
        """
        return process_pool_fallback()

    def no_cheaper_than(self) -> Backend | None:
        """Another configuration of this engine that cannot take longer to start: measured costs
        that say otherwise are not believed. ``None``, the default, if there is none.
        """
        return None

    def arguments(self, plan: Plan[Any]) -> Any:
        """The plan's numbers in the engine's own words: a frozen dataclass that unpacks with
        ``**``.

        Raises:
            TranslationUnsupported: by default.
        """
        raise TranslationUnsupported(self.name)

    def release(self) -> None:  # noqa: B027 - optional
        """End what the backend keeps between sessions (idle workers, say); nothing by default.
        Idle workers must also end by themselves, and with the program.
        """

    def __repr__(self) -> str:
        return f"<backend {self.name}>"


def process_pool_fallback() -> BackendCosts:
    """Defaults for workers in other processes of this host, of the order seen for
    ``ProcessPoolExecutor`` with fork (docs/costs.md has the table).
    """
    return BackendCosts(
        startup_s=fallback(0.010),
        startup_worker_s=fallback(0.002),
        shutdown_s=fallback(0.002),
        dispatch_s=fallback(70e-6),
        latency_s=fallback(150e-6),
        slot_s=fallback(100e-6),
        byte_in_s=fallback(1.5e-9),
        byte_out_s=fallback(2e-9),
        slowdown=fallback(1.0),
        **HOST_FALLBACK,
    )


__all__ = [
    "CONTRACT_VERSION",
    "HOST_FALLBACK",
    "LATE_S",
    "Availability",
    "Backend",
    "BackendCosts",
    "BackendUnavailable",
    "CallersContext",
    "Capacity",
    "Chunk",
    "ExecutorBackend",
    "ExecutorSession",
    "FunctionPayload",
    "IndexedSource",
    "Keywords",
    "Limits",
    "Meanwhile",
    "OpenRequest",
    "Outcome",
    "Packed",
    "PackedOutcome",
    "Parcel",
    "RelaySession",
    "Session",
    "Shared",
    "SharedChunk",
    "Shipment",
    "Span",
    "Traits",
    "TranslationUnsupported",
    "WorkerLost",
    "awaited",
    "before_termination",
    "copied",
    "deadly_sigterm",
    "declared",
    "ending_processes",
    "fallback",
    "host_name",
    "innermost",
    "installed_version",
    "is_installed",
    "jointly",
    "kept_from_children",
    "killing",
    "looks",
    "mended",
    "needed",
    "own_engine",
    "process_pool_fallback",
    "room",
    "rss_bytes",
    "run_chunk",
    "run_packed",
    "run_shipped",
    "sent_as_by",
    "settle_in",
    "shielded",
    "starting_quietly",
    "tell_of_late_chunks",
    "unchanged_environment",
]


_load = loader(
    __name__,
    {
        "CallersContext": "amorsize.callers_context",
        "Meanwhile": "amorsize.meanwhile",
        "jointly": "amorsize.meanwhile",
        "ExecutorBackend": "amorsize.executors",
        "ExecutorSession": "amorsize.executors",
        "Keywords": "amorsize.keywords",
        "LATE_S": "amorsize.ending",
        "Limits": "amorsize.probes",
        "ending_processes": "amorsize.ending",
        "killing": "amorsize.ending",
        "tell_of_late_chunks": "amorsize.ending",
        "Shared": "amorsize.meanwhile",
        "SharedChunk": "amorsize.sharing",
        "Shipment": "amorsize.shipping",
        "run_shipped": "amorsize.shipping",
        "kept_from_children": "amorsize.offspring",
        "awaited": "amorsize.starting",
        "looks": "amorsize.starting",
        "mended": "amorsize.starting",
        "needed": "amorsize.starting",
        "own_engine": "amorsize.starting",
        "starting_quietly": "amorsize.starting",
    },
)

if not TYPE_CHECKING:  # checkers would take any name for one of this module

    def __getattr__(name: str) -> Any:
        """What builds on the classes here is loaded on demand."""
        return _load(name)
