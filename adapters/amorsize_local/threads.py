"""Threads of this process, for functions that wait or release the interpreter lock."""

from __future__ import annotations

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
)
from amorsize.probes import Limits
from amorsize_local.team import TeamSession


class ThreadBackend(Backend):
    """Threads that end with the session."""

    name = "threads"
    traits = Traits(shares_memory=True, shares_gil=True, shares_chunks=True, rank=1)

    def availability(self) -> Availability:
        """Always usable."""
        return Availability(True)

    def open(self, request: OpenRequest) -> Session:
        """A session whose threads end with it."""
        return TeamSession(self.name, request)

    def capacity(self, limits: Limits) -> Capacity:
        """One thread a core for work that computes; more for work that waits."""
        return Capacity(limits.workers, limits.cores, elastic=True, interpreters=1)

    def fallback_costs(self) -> BackendCosts:
        """Of the order seen for ``ThreadPoolExecutor`` (docs/costs.md)."""
        shared = declared(0.0, "shared memory")
        return BackendCosts(
            startup_s=fallback(0.0005),
            startup_worker_s=fallback(0.0001),
            shutdown_s=fallback(0.0001),
            dispatch_s=fallback(20e-6),
            latency_s=fallback(50e-6),
            slot_s=fallback(20e-6),
            byte_in_s=shared,
            byte_out_s=shared,
            slowdown=declared(1.0),
            handover_s=fallback(20e-6),
            waking_s=fallback(10e-6),
            **HOST_FALLBACK,
        )

    def configuration(self) -> str:
        """Costs that were measured of fewer threads, or of chunks not shared, are others."""
        return "shared chunks, four started"
