"""A run on Ray: one task a chunk, function and results as opaque objects."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import ray
from ray import exceptions

from amorsize.backend import (
    BackendUnavailable,
    Chunk,
    OpenRequest,
    Packed,
    PackedOutcome,
    Session,
    Span,
    WorkerLost,
    run_packed,
)
from amorsize.errors import AmorsizeError

_EMBED_BYTES = 10_000
"""Functions up to this size travel inside each task; larger ones lie in the object store and
are fetched once by each worker."""
_POLL_S = 1.0
"""Seconds between two looks at whether Ray is still there."""
_KEPT = 8
"""Fetched functions that a worker keeps."""
LOSSES = (
    exceptions.WorkerCrashedError,
    exceptions.NodeDiedError,
    exceptions.OutOfMemoryError,
    exceptions.LocalRayletDiedError,
    exceptions.ObjectLostError,
    exceptions.TaskCancelledError,
)
"""Errors that mean that a chunk's worker, node or result vanished."""

_fetched: dict[str, Callable[[Any], Any]] = {}


def run_shipped(
    digest: str, box: list[Any], items: Packed, at: tuple[Span, ...], stop_on_error: bool
) -> PackedOutcome:
    """Run a chunk in a worker with a function from the object store. The reference is boxed, so
    that Ray does not unpack the function for each task.
    """
    function = _fetched.get(digest)
    if function is None:
        function = ray.get(box[0]).load()
        _fetched[digest] = function
        while len(_fetched) > _KEPT:
            del _fetched[next(iter(_fetched))]
    return run_packed(function, items, at, stop_on_error)


class RaySession(Session):
    """Chunks as Ray tasks without retries of Ray's own: the runner decides what runs again.

    Args:
        request: what to run.
        num_cpus: logical CPUs that each chunk reserves.
        attach: use the session that is up; otherwise start a local one and end it at ``close``.
    """

    def __init__(self, request: OpenRequest, num_cpus: float, *, attach: bool) -> None:
        self.workers = request.workers
        self._references: dict[Future[Any], Any] = {}
        payload = request.payload  # an error of the function comes before a start of seconds
        with ExitStack() as stack:
            if not attach:
                stack.enter_context(_local_session(max(1, round(request.workers * num_cpus))))
            _check_room(num_cpus)
            options = {"num_cpus": num_cpus, "max_retries": 0}
            self._function: tuple[Any, ...]
            if payload.nbytes <= _EMBED_BYTES:
                self._task, self._function = ray.remote(**options)(run_packed), (payload,)
            else:
                self._task = ray.remote(**options)(run_shipped)
                self._function = (payload.digest, [ray.put(payload)])
            self._stack = stack.pop_all()

    def submit(self, chunk: Chunk) -> Future[Any]:
        """Submit the chunk as a task."""
        reference = self._task.remote(
            *self._function, chunk.pack(), chunk.spans, chunk.stop_on_error
        )
        outer: Future[Any] = Future()
        self._references[outer] = reference
        outer.add_done_callback(self._cancelled)
        reference.future().add_done_callback(lambda inner: self._finish(inner, outer))
        return outer

    def _finish(self, inner: Future[Any], outer: Future[Any]) -> None:
        """Pass a task's end on; runs in a thread of Ray's."""
        error = inner.exception()
        if error is None:
            self._settle(outer, outcome=inner.result())
        else:
            self._settle(outer, error=_in_our_words(error))

    def _settle(
        self, outer: Future[Any], *, outcome: Any = None, error: BaseException | None = None
    ) -> None:
        """Whoever comes first ends the future: the task, or the look at whether Ray is there."""
        if self._references.pop(outer, None) is None or not outer.set_running_or_notify_cancel():
            return
        if error is None:
            outer.set_result(outcome)
        else:
            outer.set_exception(error)

    def _cancelled(self, outer: Future[Any]) -> None:
        """A chunk that nobody waits for any more does not start, or is interrupted."""
        reference = self._references.get(outer)
        if outer.cancelled() and reference is not None:
            with suppress(Exception):  # it may have finished, or its node be gone
                ray.cancel(reference)

    def wait(self, futures: Collection[Future[Any]], timeout_s: float | None) -> set[Future[Any]]:
        """As usual, but through Ray inside a Ray task, which then lends its CPUs to the tasks it
        waits for; and a Ray that was shut down ends the waiting.
        """
        deadline = float("inf") if timeout_s is None else time.monotonic() + timeout_s
        while True:
            left = max(0.0, min(_POLL_S, deadline - time.monotonic()))
            if _inside_a_task():
                self._wait_in_ray(futures, left)
            done = super().wait(futures, left)
            if done or time.monotonic() >= deadline:
                return done
            if not ray.is_initialized():
                gone = BackendUnavailable("ray", "it was shut down", "call ray.init(...) again")
                for future in list(self._references):
                    self._settle(future, error=gone)

    def _wait_in_ray(self, futures: Collection[Future[Any]], timeout_s: float) -> None:
        if any(future.done() for future in futures):
            return
        references = [self._references.get(future) for future in futures]
        pending = [reference for reference in references if reference is not None]
        if pending:
            ray.wait(pending, timeout=timeout_s, fetch_local=False)

    def close(self, *, cancel: bool) -> None:
        """Drop what is queued, kill what runs, and end the session if it was started here."""
        references, self._references = list(self._references.values()), {}
        if cancel and ray.is_initialized():
            for reference in references:
                with suppress(Exception):  # it may have finished, or its node be gone
                    ray.cancel(reference, force=True)
        self._function = ()
        self._stack.close()


def _in_our_words(error: BaseException) -> BaseException:
    """What an error of a task means; an item's own error never comes this way."""
    cause: BaseException = getattr(error, "cause", None) or error
    first_line = str(error).partition("\n")[0]
    if isinstance(error, LOSSES):
        return WorkerLost(first_line or type(error).__name__)
    if isinstance(cause, AmorsizeError):
        return cause
    unavailable = BackendUnavailable(
        "ray",
        f"a task failed: {type(cause).__name__}: {str(cause) or first_line}",
        "amorsize, in this version, must be importable on every node",
    )
    unavailable.__cause__ = error
    return unavailable


def _check_room(num_cpus: float) -> None:
    """Refuse a reservation that no node can ever grant: its tasks would wait for ever."""
    nodes = [node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]]
    largest = max(nodes, default=0.0)
    if largest < num_cpus:
        reason = f"a chunk reserves {num_cpus:g} CPUs and the largest node has {largest:g}"
        raise BackendUnavailable("ray", reason, "lower options={'num_cpus': ...}")


def _inside_a_task() -> bool:
    worker = ray.get_runtime_context().worker if ray.is_initialized() else None
    return worker is not None and worker.mode == ray.WORKER_MODE


@contextmanager
def _local_session(cpus: int) -> Iterator[None]:
    """A Ray of this host's own that ends with the block and leaves the process as it was: its
    environment, its handler of SIGTERM, its levels of logging, and no files.
    """
    # Not below a long TMPDIR: paths of sockets are limited to about 100 bytes.
    folder = tempfile.mkdtemp(prefix="amorsize-", dir="/tmp" if os.path.isdir("/tmp") else None)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        stack.enter_context(_unchanged_process())
        stack.callback(ray.shutdown)
        try:
            with _quiet():
                ray.init(
                    address="local",  # never another one that happens to run on this host
                    num_cpus=cpus,
                    include_dashboard=False,
                    log_to_driver=False,
                    configure_logging=False,
                    _temp_dir=folder,
                )
        except Exception as error:
            remedy = "start Ray yourself with ray.init(...) to see why, or use another backend"
            raise BackendUnavailable("ray", f"it did not start: {error}", remedy) from error
        yield


@contextmanager
def _quiet() -> Iterator[None]:
    logger = logging.getLogger("ray")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


@contextmanager
def _unchanged_process() -> Iterator[None]:
    environment = dict(os.environ)
    in_main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM) if in_main else None
    try:
        yield
    finally:
        if handler is not None:
            signal.signal(signal.SIGTERM, handler)
        for name in set(os.environ) - set(environment):
            del os.environ[name]
        for name, value in environment.items():
            if os.environ.get(name) != value:
                os.environ[name] = value
