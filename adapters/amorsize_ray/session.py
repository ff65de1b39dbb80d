"""A run on Ray: one task a chunk, function and results as opaque objects."""

from __future__ import annotations

from concurrent.futures import Future
from contextlib import suppress
from typing import Any

import ray
from ray import exceptions

from amorsize.backend import (
    BackendUnavailable,
    Chunk,
    OpenRequest,
    Session,
    WorkerLost,
    run_packed,
)

LOSSES = (
    exceptions.WorkerCrashedError,
    exceptions.NodeDiedError,
    exceptions.OutOfMemoryError,
    exceptions.LocalRayletDiedError,
    exceptions.ObjectLostError,
    exceptions.TaskCancelledError,
)
"""Errors that mean that a chunk's worker, node or result vanished."""


class RaySession(Session):
    """Chunks as Ray tasks without retries of Ray's own: the runner decides what runs again.

    Args:
        request: what to run.
        num_cpus: logical CPUs that each chunk reserves.
        attach: use the session that is up; otherwise start a local one and end it at ``close``.
    """

    def __init__(self, request: OpenRequest, num_cpus: float, *, attach: bool) -> None:
        self._own = not attach
        if self._own:
            self._start(request.workers, num_cpus)
        self.workers = request.workers
        try:
            self._task = ray.remote(num_cpus=num_cpus, max_retries=0)(run_packed)
            self._function = ray.put(request.payload)
        except BaseException:
            self.close(cancel=True)
            raise
        self._references: dict[Future[Any], Any] = {}

    @staticmethod
    def _start(workers: int, num_cpus: float) -> None:
        try:
            ray.init(
                num_cpus=max(1, round(workers * num_cpus)),
                include_dashboard=False,
                log_to_driver=False,
                logging_level="error",
            )
        except Exception as error:
            remedy = "start Ray yourself with ray.init(...) to see why, or use another backend"
            raise BackendUnavailable("ray", f"it did not start: {error}", remedy) from error

    def submit(self, chunk: Chunk) -> Future[Any]:
        """Submit the chunk as a task."""
        reference = self._task.remote(
            self._function, chunk.pack(), chunk.spans, chunk.stop_on_error
        )
        outer: Future[Any] = Future()
        self._references[outer] = reference
        reference.future().add_done_callback(lambda inner: self._finish(inner, outer))
        return outer

    def _finish(self, inner: Future[Any], outer: Future[Any]) -> None:
        """Pass a task's end on; runs in a thread of Ray's."""
        self._references.pop(outer, None)
        if not outer.set_running_or_notify_cancel():
            return
        error = inner.exception()
        if error is None:
            outer.set_result(inner.result())
        elif isinstance(error, LOSSES):
            outer.set_exception(WorkerLost(str(error).partition("\n")[0] or type(error).__name__))
        else:
            outer.set_exception(getattr(error, "cause", None) or error)

    def close(self, *, cancel: bool) -> None:
        """Drop what is queued, kill what runs, and end the session if it was started here."""
        references = list(getattr(self, "_references", {}).values())
        if cancel:
            for reference in references:
                with suppress(Exception):  # it may have finished, or its node be gone
                    ray.cancel(reference, force=True)
        self._references = {}
        self._function = None
        if self._own:
            ray.shutdown()
