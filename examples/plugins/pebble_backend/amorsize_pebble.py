"""Pebble as a backend of amorsize: an engine that is not an Executor.

Pebble's pool schedules calls, replaces a worker that dies and tells which call it took along,
and can end a call that runs. So this backend keeps a promise that an Executor cannot: a killed
worker costs its chunk, not the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

import amorsize
from amorsize.backend import (
    Availability,
    Backend,
    Chunk,
    OpenRequest,
    RelaySession,
    Session,
    Shipment,
    Traits,
    WorkerLost,
    installed_version,
    is_installed,
    run_shipped,
)


class PebbleSession(RelaySession):
    """One pool of Pebble for one run."""

    def __init__(self, request: OpenRequest) -> None:
        super().__init__("pebble")
        from pebble import ProcessExpired, ProcessPool

        self.workers = request.workers
        self.cores = request.cores_per_worker
        self.shipment = Shipment(request.payload)  # the function, once to each worker
        self.expired = ProcessExpired
        self.pool = ProcessPool(max_workers=request.workers)

    def submit(self, chunk: Chunk) -> Future[Any]:
        """Schedule a chunk; its end is told in a thread of Pebble's."""
        call = (self.cores, chunk.pack(), chunk.spans, chunk.stop_on_error)
        job = self.pool.schedule(run_shipped, args=(self.shipment.function, *call))
        future = self.track(job)
        job.add_done_callback(partial(self.ended, future))
        return future

    def ended(self, future: Future[Any], job: Any) -> None:
        """Pass on what became of a chunk."""
        if job.cancelled():
            return
        error = job.exception()
        if isinstance(error, self.expired):
            error = WorkerLost(f"exit code {error.exitcode}")
        self.settle(future, outcome=None if error else job.result(), error=error)

    def drop(self, handle: Any) -> None:
        """Nobody waits for this chunk any more: Pebble ends it even if it runs."""
        handle.cancel()

    def close(self, *, cancel: bool) -> None:
        """End the workers, at once or when they are done."""
        if cancel:
            self.pool.stop()
        else:
            self.pool.close()
        self.pool.join()
        self.shipment.close()


class PebbleBackend(Backend):
    """Processes of Pebble, started for each run and ended with it."""

    name = "pebble"
    traits = Traits(survives_worker_death=True)

    def availability(self) -> Availability:
        """Usable if installed; nothing is imported to find out."""
        if is_installed("pebble"):
            return Availability(True, "a pool is started for each run")
        return Availability(False, "Pebble is not installed", "pip install pebble")

    def open(self, request: OpenRequest) -> Session:
        """Start a pool."""
        return PebbleSession(request)

    def configuration(self) -> str:
        """What the costs depend on: another version of Pebble is measured anew."""
        return installed_version("pebble")


@amorsize.hookimpl
def amorsize_backends() -> Sequence[Backend]:
    """Called by amorsize, which found this module by the entry point in pyproject.toml."""
    return [PebbleBackend()]
