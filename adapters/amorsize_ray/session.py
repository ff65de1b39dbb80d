"""A run on Ray: one task a chunk, function and results as opaque objects."""

from __future__ import annotations

from collections.abc import Callable, Collection
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from functools import lru_cache, partial
from typing import Any

import ray
from ray import exceptions

from amorsize import backend as contract
from amorsize_ray.backend import cpus_now
from amorsize_ray.start import hurry, local_session

_EMBED_BYTES = 10_000
"""Functions up to this size travel inside each task; larger ones lie in the object store and
are fetched once by each worker."""
LOSSES = (
    exceptions.WorkerCrashedError, exceptions.NodeDiedError, exceptions.OutOfMemoryError,
    exceptions.LocalRayletDiedError, exceptions.ObjectLostError, exceptions.TaskCancelledError,
)  # fmt: skip
"""Errors that mean that a chunk's worker, node or result vanished."""

# Here and in workers: a reference pickled otherwise forgets its owner, and nobody ever gets it.
contract.sent_as_by(ray.cloudpickle.CloudPickler, ray.ObjectRef)
_fetched: dict[str, Callable[[Any], Any]] = {}
"""In a worker: the latest function from the object store, by its digest."""


def run_embedded(*call: Any) -> contract.PackedOutcome | None:
    """Run a chunk in a worker with a function that came with it. Ray's handler of SIGTERM would
    raise ``SystemExit`` in the item that runs, and it would count as the item's own. Children that
    an item forks must not look like the worker, if that dies.
    """
    if not call:
        return None  # see prepare()
    contract.kept_from_children("/sockets/raylet")
    with contract.deadly_sigterm("ray."):
        return contract.run_packed(*call)


def run_shipped(digest: str, box: list[Any], *chunk: Any) -> contract.PackedOutcome | None:
    """Run a chunk in a worker with a function from the object store. The reference is boxed, so
    that Ray does not unpack the function for each task.
    """
    if digest not in _fetched:
        _fetched.clear()
        _fetched[digest] = ray.get(box[0]).load()
    return run_embedded(_fetched[digest], *chunk)


_remote = lru_cache(ray.remote)
"""A function as a task of Ray's; kept, because Ray sends each new one to all workers."""
_MOST_PREPARED = 16
"""Workers that are prepared at most: of many, chunks that are on their way prepare the others."""
_END_S = 0.1
"""Seconds that chunks get to end, or to begin, before they are cancelled."""


@lru_cache(maxsize=1)
def prepare(_address: str, num_cpus: float, slots: int) -> None:
    """Give the workers of a session something to do that has them import this module, once. To Ray
    it is the same task as a chunk with a small function, which so goes to the same workers.
    """
    task = _remote(run_embedded).options(num_cpus=num_cpus, max_retries=0)
    for _ in range(min(slots, _MOST_PREPARED)):
        task.remote()


class RaySession(contract.RelaySession):
    """Chunks as Ray tasks without retries of Ray's own: the runner decides what runs again. They go
    to the session that is up; a local one that is started for them ends at ``close``.

    Args:
        request: what to run.
        num_cpus: logical CPUs that each chunk reserves.
    """

    def __init__(self, request: contract.OpenRequest, num_cpus: float) -> None:
        super().__init__("ray")
        self.workers, self._request = request.workers, request
        payload = request.payload  # its error comes before a start of seconds
        with ExitStack() as stack:
            cpus = max(1, round(request.workers * num_cpus))
            stack.enter_context(local_session(ray.is_initialized, cpus))
            _check_room(num_cpus)
            self._asked, self._num_cpus, self._had = request.workers, num_cpus, _slots(num_cpus)
            small = payload.nbytes <= _EMBED_BYTES
            task = _remote(run_embedded if small else run_shipped)
            self._task = task.options(num_cpus=num_cpus, max_retries=0)
            self._function: Any = (payload,) if small else (payload.digest, [ray.put(payload)])
            self._stack = stack.pop_all()

    def submit(self, chunk: contract.Chunk) -> Future[Any]:
        """Submit the chunk as a task."""
        packed = chunk.pack()
        inputs = ray.put(packed) if packed.nbytes >= self._request.store_bytes else packed
        reference = self._task.remote(*self._function, inputs, chunk.spans, chunk.stop_on_error)
        future = self.track(reference)
        reference.future().add_done_callback(partial(self._finish, future))
        return future

    def _finish(self, future: Future[Any], done: Future[Any]) -> None:
        """Pass a task's end on; runs in a thread of Ray's."""
        error = done.exception()
        if error is None:
            self.settle(future, outcome=done.result())
        elif isinstance(error, LOSSES):
            starved = isinstance(error, exceptions.OutOfMemoryError)
            reason = str(error).partition("\n")[0] or type(error).__name__
            self.settle(future, error=contract.WorkerLost(reason, out_of_memory=starved))
        else:
            self.settle(future, error=getattr(error, "cause", None) or error)

    def wait(self, futures: Collection[Future[Any]], timeout_s: float | None) -> set[Future[Any]]:
        """As usual, but through Ray inside a Ray task, which then lends its CPUs to the tasks it
        waits for.
        """
        inside = ray.is_initialized() and ray.get_runtime_context().worker.mode == ray.WORKER_MODE
        pending = [self.handles.get(future) for future in futures]
        if inside and pending and None not in pending:
            ray.wait(pending, timeout=timeout_s, fetch_local=False)
        return super().wait(futures, timeout_s)

    def live_workers(self) -> int:
        """As many as were asked for, and those that nodes which have joined since brought."""
        return self._asked + max(0, _slots(self._num_cpus) - self._had)

    def vanished(self) -> contract.BackendUnavailable | None:
        """Whether somebody has shut Ray down."""
        if ray.is_initialized():
            return None
        return contract.BackendUnavailable("ray", "it was shut down", "call ray.init(...) again")

    def close(self, *, cancel: bool) -> None:
        """Drop what is queued, kill what runs, and end the session if it was started here."""
        refs, self.handles, self._function = list(self.handles.values()), {}, ()
        if cancel:
            hurry.set()
            with suppress(Exception):  # nodes may be gone
                self._cancel(refs)
        self._stack.close()

    def _cancel(self, refs: list[Any]) -> None:
        """Cancel chunks, given in the order in which they were submitted. Ray aborts the caller's
        process if a task that is cancelled is just being handed to its worker, or just ending
        (``it != submissible_tasks_.end()``): so short ones get the time to end, those that are
        not next are dropped from the end on, and only then what has had the time to begin.
        """
        for first in (2 * self.workers, 0):
            if refs and ray.is_initialized():
                _, refs = ray.wait(refs, num_returns=len(refs), timeout=_END_S, fetch_local=False)
                for reference in reversed(refs[first:]):
                    ray.cancel(reference, force=True)
            refs = refs[:first]


def _slots(num_cpus: float) -> int:
    return int(cpus_now() / num_cpus)


def _check_room(num_cpus: float) -> None:
    """Refuse a reservation that no node can ever grant: its tasks would wait for ever."""
    nodes = [node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]]
    if max(nodes, default=0.0) < num_cpus:
        reason = f"a chunk reserves {num_cpus:g} CPUs, which no node has (CPUs: {nodes})"
        raise contract.BackendUnavailable("ray", reason, "lower options={'num_cpus': ...}")
