"""A run on a Dask cluster: one task a chunk, one opaque object a result."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import distributed

from amorsize.backend import (
    BackendUnavailable,
    Chunk,
    OpenRequest,
    Session,
    WorkerLost,
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


class DaskSession(Session):
    """Chunks as impure tasks of a client, without retries of Dask's own.

    Args:
        client: a connected client, or ``None`` to start a local cluster.
        request: what to run.
    """

    def __init__(self, client: Any, request: OpenRequest) -> None:
        self._request = request
        self._shipped: Any = None
        self._flying: dict[Future[Any], Any] = {}
        wait_s = float(request.options.get("wait_s", 30))
        with ExitStack() as stack:
            self._client = stack.enter_context(_cluster(client, request))
            self.workers = _wait_for_workers(self._client, wait_s)
            stack.enter_context(_outside_the_workers_slots())
            self._stack = stack.pop_all()

    def submit(self, chunk: Chunk) -> Future[Any]:
        """Submit the chunk as a task; its outcome is fetched in the client's event loop."""
        packed: Any = chunk.pack()
        if packed.nbytes > _SCATTER_BYTES:
            packed = self._client.scatter(packed, hash=False)
        task = self._client.submit(
            run_packed,
            self._function(),
            packed,
            chunk.spans,
            chunk.stop_on_error,
            pure=False,
            retries=0,
        )
        outer: Future[Any] = Future()
        self._flying[outer] = task
        self._client.loop.add_callback(self._relay, task, outer)
        return outer

    async def _relay(self, task: Any, outer: Future[Any]) -> None:
        """Pass a task's end on, however it ends. Dask's own executor does not when a worker
        dies between finishing a task and handing over its result.
        """
        try:
            (outcome,) = await self._client.gather([task], asynchronous=True)
        except BaseException as error:
            loss = WorkerLost(f"{type(error).__name__}: {error}")
            self._settle(outer, error=loss if isinstance(error, LOSSES) else error)
        else:
            self._settle(outer, outcome=outcome)

    def _settle(
        self, outer: Future[Any], *, outcome: Any = None, error: BaseException | None = None
    ) -> None:
        if self._flying.pop(outer, None) is None or not outer.set_running_or_notify_cancel():
            return
        if error is None:
            outer.set_result(outcome)
        else:
            outer.set_exception(error)

    def wait(self, futures: Collection[Future[Any]], timeout_s: float | None) -> set[Future[Any]]:
        """As usual, but a client that is gone ends the waiting: its tasks are lost."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            left = _POLL_S if deadline is None else min(_POLL_S, deadline - time.monotonic())
            done = super().wait(futures, max(0.0, left))
            if done or (deadline is not None and time.monotonic() >= deadline):
                return done
            if self._client.status in ("closing", "closed"):
                for future in list(self._flying):
                    self._settle(future, error=WorkerLost("the client was closed"))

    def close(self, *, cancel: bool) -> None:
        """Cancel what is not finished; end the cluster if it was started here. Items that run
        finish in their workers: Dask cannot interrupt them.
        """
        tasks, self._flying = list(self._flying.values()), {}
        if tasks and self._client.status == "running":
            self._client.cancel(tasks)
        self._shipped = None
        self._stack.close()

    def _function(self) -> Any:
        """The function, or a handle to its copies on the workers. A handle whose copies died
        with their workers is made anew.
        """
        if self._request.payload.nbytes <= _EMBED_BYTES:
            return self._request.payload
        if self._shipped is None or self._shipped.status != "finished":
            self._shipped = self._client.scatter(self._request.payload, broadcast=True, hash=False)
        return self._shipped


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
