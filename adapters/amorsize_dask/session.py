"""A run on a Dask cluster: one task a chunk, one opaque object a result."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager, suppress
from typing import Any

import distributed

from amorsize.backend import (
    BackendUnavailable,
    Chunk,
    ExecutorSession,
    OpenRequest,
    Traits,
    run_packed,
)

_EMBED_BYTES = 10_000
"""Functions up to this size travel inside each task; larger ones are scattered to the workers
once. Workers load either just once."""
_SCATTER_BYTES = 1_000_000
"""Inputs above this size go to a worker directly instead of through the scheduler."""
_POLL_S = 1.0
LOSSES: tuple[type[BaseException], ...] = (
    distributed.KilledWorker,
    distributed.CancelledError,
    distributed.comm.CommClosedError,
    # of releases that tell tasks without a worker apart
    getattr(distributed.scheduler, "NoWorkerError", distributed.KilledWorker),
)
"""Errors that mean that a chunk's worker, or its data on it, vanished."""


class DaskSession(ExecutorSession):
    """Chunks as impure tasks of a client, bridged to futures by Dask's own executor.

    Args:
        client: a connected client, or ``None`` to start a local cluster.
        request: what to run.
    """

    def __init__(self, client: Any, request: OpenRequest) -> None:
        self._client: Any = None
        self._ship: Any = None
        super().__init__("dask", Traits(remote=True), request, self._opened(client, request))

    @contextmanager
    def _opened(self, client: Any, request: OpenRequest) -> Iterator[Executor]:
        with _cluster(client, request) as self._client:
            self.workers = _wait_for_workers(self._client, float(request.options.get("wait_s", 30)))
            with _outside_the_workers_slots():
                executor = self._client.get_executor(pure=False, retries=0)
                try:
                    yield executor
                finally:
                    executor.shutdown(wait=False)  # cancels what is not finished
                    self._ship = None

    def _submit(self, chunk: Chunk) -> Future[Any]:
        packed: Any = chunk.pack()
        if packed.nbytes > _SCATTER_BYTES:
            packed = self._client.scatter(packed, hash=False)
        future: Future[Any] = self._executor.submit(
            run_packed, self._function_to_ship(), packed, chunk.spans, chunk.stop_on_error
        )
        return future

    def _function_to_ship(self) -> Any:
        """The function, or a handle to its copies on the workers. A handle whose copies died
        with their workers is made anew.
        """
        if self._request.payload.nbytes <= _EMBED_BYTES:
            return self._request.payload
        if self._ship is None or self._ship.status != "finished":
            self._ship = self._client.scatter(self._request.payload, broadcast=True, hash=False)
        return self._ship

    def is_loss(self, error: BaseException) -> bool:
        """Dask gives up on a task whose workers died, and cancels those it cannot finish."""
        return isinstance(error, LOSSES)


@contextmanager
def _cluster(client: Any, request: OpenRequest) -> Iterator[Any]:
    """The client given, or one of a local cluster that ends with the block."""
    if client is not None:
        yield client
        return
    threads = int(request.options.get("threads_per_worker", 1))
    environment = dict(os.environ)  # a nanny leaves its workers' limits in the caller's
    cluster = distributed.LocalCluster(
        n_workers=request.workers,
        threads_per_worker=threads,
        dashboard_address=":0",
        silence_logs=50,
        # A task that kills its worker is for the runner to judge, which bisects its chunk.
        scheduler_kwargs={"allowed_failures": 0},
    )
    try:
        with distributed.Client(cluster, set_as_default=False) as own:
            yield own
    finally:
        cluster.close()
        os.environ.clear()
        os.environ.update(environment)


def _wait_for_workers(client: Any, timeout_s: float) -> int:
    """Number of worker threads, as soon as there are any."""
    deadline = time.monotonic() + timeout_s
    while True:
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        threads = sum(worker["nthreads"] for worker in workers)
        if threads:
            return int(threads)
        left = deadline - time.monotonic()
        if left <= 0:
            raise BackendUnavailable(
                "dask",
                f"no worker joined the cluster within {timeout_s:.0f} s",
                "start workers, or wait longer with options={'wait_s': ...}",
            )
        with suppress(TimeoutError, distributed.TimeoutError):
            client.wait_for_workers(1, timeout=min(left, _POLL_S))


@contextmanager
def _outside_the_workers_slots() -> Iterator[None]:
    """Inside a task of the cluster, give up its slot while waiting for tasks of one's own: with
    one thread a worker they would otherwise wait for each other for ever.
    """
    try:
        distributed.secede()
    except (ValueError, KeyError, AttributeError):  # not inside a task
        yield
        return
    try:
        yield
    finally:
        distributed.rejoin()
