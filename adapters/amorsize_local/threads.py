"""Threads of this process, for functions that wait or release the interpreter lock."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from amorsize.backend import BackendCosts, Capacity, ExecutorBackend, Traits, declared, fallback
from amorsize.probes import Limits

if TYPE_CHECKING:
    from concurrent.futures import Executor


class ThreadBackend(ExecutorBackend):
    """Threads that end with the session."""

    name = "threads"
    traits = Traits(shares_memory=True, shares_gil=True, rank=1)

    def executor(self, workers: int) -> AbstractContextManager[Executor]:
        """A pool of threads that ends with the session."""
        from amorsize_local.daemons import DaemonThreads

        return DaemonThreads(workers)

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
        )
