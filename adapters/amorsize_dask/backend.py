"""What Dask is to amorsize: found without importing it, asked for its size when it is up."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from amorsize.backend import (
    Availability,
    Backend,
    BackendCosts,
    Capacity,
    OpenRequest,
    Session,
    Traits,
    fallback,
)
from amorsize.probes import Limits
from amorsize_dask.arguments import DaskArguments

REMEDY = 'pip install "amorsize[dask]"'


class DaskBackend(Backend):
    """Dask on a client, on the current client, or on a local cluster of its own.

    Args:
        client: the client to use; by default the current one of this process, if any.
    """

    name = "dask"
    traits = Traits(remote=True, survives_worker_death=True, rank=3)
    options: Mapping[str, str] = {  # type: ignore[misc]
        "wait_s": "seconds to wait for the first worker (default 30)",
        "threads_per_worker": "threads of each worker of a cluster started here (default 1)",
    }

    def __init__(self, client: Any = None) -> None:
        self._client = client

    @classmethod
    def of(cls, engine: Any) -> DaskBackend | None:
        """A backend for a client or a cluster object; ``None`` for anything else of Dask."""
        if hasattr(engine, "scheduler_info") and hasattr(engine, "submit"):
            return cls(engine)
        if hasattr(engine, "get_client") and hasattr(engine, "scheduler_address"):
            return cls(engine.get_client())
        return None

    def client(self) -> Any:
        """The client in use if one is connected, else ``None``."""
        client = self._client
        if client is None and (distributed := sys.modules.get("distributed")) is not None:
            try:
                client = distributed.default_client()
            except (ValueError, AttributeError):  # none, or distributed is half imported
                return None
        return client if getattr(client, "status", "") == "running" else None

    def availability(self) -> Availability:
        """Installed, and if a client was given, connected."""
        if sys.modules.get("distributed") is None and find_spec("distributed") is None:
            return Availability(False, "Dask's distributed scheduler is not installed", REMEDY)
        client = self.client()
        if client is not None:
            return Availability(True, f"client of {_address(client)}", running=True)
        if self._client is not None:
            status = getattr(self._client, "status", "unknown")
            remedy = "connect a new Client and pass that"
            return Availability(False, f"the client is not connected (status {status})", remedy)
        return Availability(True, "no client: a local cluster is started for each run")

    def capacity(self, limits: Limits) -> Capacity:
        """All threads of all workers of the cluster; this host's cores if none is up."""
        client = self.client()
        if client is None:
            return Capacity(limits.workers, limits.cores)
        workers = list(client.scheduler_info(n_workers=-1)["workers"].values())
        threads = sum(worker["nthreads"] for worker in workers)
        memory = [w["memory_limit"] // w["nthreads"] for w in workers if w.get("memory_limit")]
        cores = float(max(1, threads))
        return Capacity(max(1, threads), cores, min(memory, default=0) or None)

    def configuration(self) -> str:
        """Costs depend on Dask's version, and on the cluster if one is up."""
        from importlib.metadata import PackageNotFoundError, version

        try:
            release = version("distributed")
        except PackageNotFoundError:
            release = "unknown"
        client = self.client()
        if client is None:
            return f"{release}-own"
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        threads = sum(worker["nthreads"] for worker in workers)
        protocol = _address(client).partition(":")[0]
        return f"{release}-{protocol}-{len(workers)}x{threads}"

    def open(self, request: OpenRequest) -> Session:
        """Attach to the client, or start a local cluster that ends with the session."""
        from amorsize_dask.session import DaskSession

        return DaskSession(self.client(), request)

    def fallback_costs(self) -> BackendCosts:
        """Of the order seen for a local cluster of processes (docs/costs.md)."""
        return BackendCosts(
            startup_s=fallback(0.4),
            startup_worker_s=fallback(0.2),
            shutdown_s=fallback(0.2),
            dispatch_s=fallback(600e-6),
            latency_s=fallback(0.011),
            slot_s=fallback(0.003),
            byte_in_s=fallback(3e-9),
            byte_out_s=fallback(2e-9),
            slowdown=fallback(1.1, "event loop and profiler share the worker's GIL"),
        )

    def arguments(self, plan: Any) -> DaskArguments:
        """The numbers for ``dask.bag`` and for batches of your own."""
        size = max(1, plan.fixed_chunk_size)
        partitions = plan.workers if plan.items is None else math.ceil(plan.items / size)
        return DaskArguments(max(1, partitions), size, plan.workers)


def _address(client: Any) -> str:
    scheduler = getattr(client, "scheduler", None)
    return str(getattr(scheduler, "address", "unknown"))
