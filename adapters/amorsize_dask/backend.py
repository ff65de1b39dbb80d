"""What Dask is to amorsize: found without importing it, asked for its size when it is up."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from amorsize import backend as contract
from amorsize.backend import Availability, BackendCosts, Capacity, fallback
from amorsize.probes import Limits


class DaskBackend(contract.Backend):
    """Dask on a client, on the current client, or on a local cluster of its own.

    Args:
        client: the client to use; by default the current one of this process, if any.
    """

    name = "dask"
    traits = contract.Traits(remote=True, survives_worker_death=True, stores_inputs=True, rank=3)
    options: Mapping[str, str] = {"wait_s": "seconds to wait for a worker if there is none (30)"}  # type: ignore[misc]

    def __init__(self, client: Any = None) -> None:
        self._client = client

    @classmethod
    def of(cls, engine: Any) -> DaskBackend | None:
        """A backend for a client or a cluster object; ``None`` for anything else of Dask."""
        if hasattr(engine, "get_client") and hasattr(engine, "scheduler_address"):
            engine = engine.get_client()
        return cls(engine) if hasattr(engine, "scheduler_info") else None

    def client(self) -> Any:
        """The client in use if one is connected, else ``None``. A current one that is asynchronous
        is none in any thread: its loop may be that of the caller, who waits. In a task that is a
        coroutine none is: it runs on the loop of its worker's.
        """
        client = self._client
        with suppress(KeyError, ValueError, AttributeError):  # none, or it is half imported
            client = client or sys.modules["distributed"].default_client()
        tied = getattr(client, "asynchronous", True)  # here
        tied = tied or (self._client is None and client._asynchronous)
        return client if getattr(client, "status", "") == "running" and not tied else None

    def availability(self) -> Availability:
        """Installed, and if a client was given, connected."""
        if not contract.is_installed("distributed"):
            return Availability(False, "distributed is missing", 'pip install "amorsize[dask]"')
        if (client := self.client()) is not None:
            return Availability(True, f"client of {client.scheduler.address}", running=True)
        if self._client is not None:
            reason = f"the client is not connected (status {self._client.status}), or asynchronous"
            return Availability(False, reason, "connect a new Client and pass that")
        return Availability(True, "no client: a local cluster is started for each run")

    def capacity(self, limits: Limits) -> Capacity:
        """All threads of all workers of the cluster, and the processes they live in; this host's
        cores if none is up.
        """
        if (client := self.client()) is None:
            return Capacity(limits.workers, limits.cores)
        workers = client.scheduler_info(n_workers=-1)["workers"]
        threads = max(1, sum(worker["nthreads"] for worker in workers.values()))
        memory = [w["memory_limit"] // w["nthreads"] for w in workers.values() if w["memory_limit"]]
        this_host = (sys.modules["distributed"].utils.get_ip(), "127.0.0.1")
        here = sum(w["nthreads"] for w in workers.values() if w["host"] in this_host)
        cores = threads - max(0.0, here - limits.cores)  # those of this host share its cores
        # Workers within one process have addresses like inproc://HOST/PROCESS/NUMBER.
        homes = max(1, len({(*address.split("/")[:4],) for address in workers}))
        return Capacity(threads, cores, min(memory, default=0) or None, interpreters=homes)

    def configuration(self) -> str:
        """Costs depend on Dask's version, and on the cluster if one is up: another address is
        another network.
        """
        release = contract.installed_version("distributed")
        if (client := self.client()) is None:
            return f"{release}-own"
        threads, address = client.nthreads(), client.scheduler.address
        return f"{release}-{address}-{len(threads)}x{sum(threads.values())}"

    def open(self, request: contract.OpenRequest) -> contract.Session:
        """Attach to the client, inside a task to that of its worker; or start a local cluster
        that ends with the session.
        """
        from amorsize_dask.session import DaskSession

        return DaskSession(self.client(), request)

    def fallback_costs(self) -> BackendCosts:
        """Of the order seen for a local cluster of processes (docs/costs.md): start-up, each
        worker's, shut-down; dispatch, latency, slot of a chunk; a byte in and out, in seconds;
        slowdown, because event loop and profiler share the worker's GIL.
        """
        return BackendCosts(*map(fallback, (0.4, 0.2, 0.2, 600e-6, 0.011, 0.003, 3e-9, 2e-9, 1.1)))

    def arguments(self, plan: Any) -> Any:
        """The numbers for ``dask.bag`` and for batches of your own: a ``DaskArguments``."""
        from amorsize_dask.arguments import DaskArguments

        size = max(1, plan.fixed_chunk_size)
        partitions = plan.workers if plan.items is None else -(-plan.items // size)
        return DaskArguments(max(1, partitions), size, plan.workers)
