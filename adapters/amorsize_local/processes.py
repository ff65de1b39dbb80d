"""Worker processes of this host, started by the standard library's multiprocessing."""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from amorsize.backend import (
    HOST_FALLBACK,
    Availability,
    Backend,
    BackendCosts,
    Capacity,
    OpenRequest,
    Session,
    Traits,
    declared,
    fallback,
    rss_bytes,
)
from amorsize.errors import InvalidArgument
from amorsize.probes import Limits, fork_safety, start_methods
from amorsize_local import forked
from amorsize_local.session import ProcessSession

if TYPE_CHECKING:
    from amorsize_local.arguments import PoolArguments

_FALLBACKS = {
    # start-up, each worker, shut-down: of the order seen on small machines (docs/costs.md)
    "fork": (0.002, 0.001, 0.002),
    "forkserver": (0.042, 0.009, 0.003),
    "spawn": (0.027, 0.018, 0.010),
}
_MOMENT_S = 0.002
"""Seconds for which a plan believes what it has seen of the threads here. A session looks anew."""
MIB = 1 << 20
FORK_BYTE_S = 5e-11
"""Seconds that forking takes per byte of the caller's memory (50 us a megabyte)."""


class ProcessBackend(Backend):
    """Processes; forked ones inherit function and data, others receive them.

    Args:
        start_method: ``fork``, ``forkserver`` or ``spawn``; by default fork where it is safe
            now, else forkserver, else spawn.
    """

    name = "multiprocessing"
    options: Mapping[str, str] = {"start_method": "fork, forkserver or spawn"}  # type: ignore[misc]

    def __init__(self, start_method: str | None = None) -> None:
        self._wanted = start_method
        self._forks_until_s, self._beside = -math.inf, 0

    @property
    def start_method(self) -> str:
        """The start method a session opened now would use. A plan asks some dozen times, each of
        which would look at all threads: that forking is safe holds for a moment, unless another
        thread of Python's has begun meanwhile.
        """
        if self._wanted is not None:
            return self._wanted
        now, threads = time.monotonic(), threading.active_count()
        if now < self._forks_until_s and threads == self._beside:
            return "fork"
        method = self._safe_now()
        if method == "fork":
            self._forks_until_s, self._beside = now + _MOMENT_S, threads
        return method

    def _safe_now(self) -> str:
        available = start_methods()
        if "fork" in available and fork_safety().safe:
            return "fork"
        return "forkserver" if "forkserver" in available else "spawn"

    @property
    def traits(self) -> Traits:
        """Forked workers see the caller's memory."""
        inherits = self.start_method == "fork"
        return Traits(inherits_memory=inherits, survives_worker_death=True, rank=2)

    def bind(self, options: Mapping[str, Any]) -> Backend:
        """Fix the start method."""
        super().bind(options)
        method = options.get("start_method", self._wanted)
        if method is None:
            return self
        if method not in start_methods():
            known = ", ".join(start_methods())
            raise InvalidArgument(f"start_method must be one of {known}, not {method!r}")
        return ProcessBackend(method)

    def availability(self) -> Availability:
        """Usable; the remark tells the start method and why it is not fork."""
        method = self.start_method
        reason = f"start method {method}"
        if method != "fork" and self._wanted is None:
            reason += f" ({fork_safety().reason})"
        idle = 0 if method == "fork" else _waiting(method)
        if idle:
            reason += f", {idle} workers wait for another run"
        return Availability(True, reason, running=idle > 0, idle=idle or None)

    def capacity(self, limits: Limits) -> Capacity:
        """One process a core for work that computes; more for work that waits."""
        return Capacity(limits.workers, limits.cores, elastic=True)

    def configuration(self) -> str:
        """Costs depend on the start method; of a fork also on the caller's memory, whose page
        tables are copied: measured anew for each four-fold size. Costs that were measured before
        workers were forked together are others.
        """
        if self.start_method != "fork":
            return self.start_method
        return f"fork-together-{4 ** max(3, _log4(rss_bytes() / MIB))}MiB"

    def open(self, request: OpenRequest) -> Session:
        """Start the workers; the function is inherited, or sent to each once."""
        method = self._wanted or self._safe_now()
        if method == "fork" and forked.preferred():
            return ProcessSession(None, request, inherits=True)
        import multiprocessing

        from amorsize_local import warm

        if method == "fork":
            return ProcessSession(multiprocessing.get_context(method), request, inherits=True)
        place = warm.place_of(request)
        waiting = warm.take(method, place)
        if waiting is None:
            session = ProcessSession(multiprocessing.get_context(method), request, inherits=False)
        else:
            place, session = waiting
            session.hire(request)
        session.keep_with(lambda idle: warm.keep(method, place, idle))
        return session

    def release(self) -> None:
        """End idle workers that wait for another run."""
        from amorsize_local import warm

        warm.release()

    def fallback_costs(self) -> BackendCosts:
        """Of the order seen for these workers (docs/costs.md)."""
        startup, each, shutdown = _FALLBACKS[self.start_method]
        if self.start_method == "fork":
            each += FORK_BYTE_S * rss_bytes()
        inherited = declared(0.0, "inherited by the workers")
        return BackendCosts(
            startup_s=fallback(startup),
            startup_worker_s=fallback(each),
            shutdown_s=fallback(shutdown),
            dispatch_s=fallback(40e-6),
            latency_s=fallback(100e-6),
            slot_s=fallback(60e-6),
            byte_in_s=inherited if self.start_method == "fork" else fallback(1e-9),
            # Through memory that both ends share: a tenth of it at 1 MB, twice as much at 50 MB.
            byte_out_s=fallback(7e-10),
            slowdown=declared(1.0),
            waking_s=fallback(10e-6),
            **HOST_FALLBACK,
        )

    def no_cheaper_than(self) -> Backend | None:
        """Fresh interpreters cannot start faster than forks of this one."""
        fork = self.start_method != "fork" and "fork" in start_methods()
        return ProcessBackend("fork") if fork else None

    def arguments(self, plan: Any) -> PoolArguments:
        """The numbers for ``multiprocessing.Pool`` and its ``map``."""
        from amorsize_local.arguments import PoolArguments

        return PoolArguments(plan.workers, plan.fixed_chunk_size, start_method=self.start_method)


def _waiting(method: str) -> int:
    """Idle workers. What keeps them is not loaded for this question: where it is not, none wait."""
    if "amorsize_local.warm" not in sys.modules:
        return 0
    from amorsize_local import warm  # which another thread may not have loaded in full yet

    return warm.waiting(method)


def _log4(value: float) -> int:
    return math.ceil(math.log(max(value, 1.0), 4))
