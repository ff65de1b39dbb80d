"""amorsize behind joblib: scikit-learn's ``n_jobs`` runs on amorsize's plans.

    import amorsize_joblib  # registers the backend "amorsize" with joblib

    with joblib.parallel_config(backend="amorsize"):
        cross_val_score(model, X, y)

This imports joblib; it is no plugin of amorsize, and nothing of amorsize imports it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import joblib
from joblib.parallel import FallbackToBackend, ParallelBackendBase, ThreadingBackend

import amorsize
from amorsize.probes import limits


def call(task: Callable[[], Any]) -> Any:
    """The function of every plan: run one of joblib's tasks."""
    return task()


class Job:
    """One task of a call, from ``submit`` to its result."""

    def __init__(self, task: Callable[[], Any], done: Callable[[Any], Any] | None) -> None:
        self.task, self.done = task, done


class Inner(ThreadingBackend):  # type: ignore[misc]
    """For calls inside a task. All tasks share one, and a sampled task has used it already:
    what travels with the others is a fresh one.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.nesting_level,)


class AmorsizeBackend(ParallelBackendBase):  # type: ignore[misc]
    """Takes all tasks of a call, plans them once, and runs the plan when results are asked for.

    Args:
        engine: where to run, as ``amorsize.plan(..., backend=engine)``; by default amorsize
            chooses, the plain loop included.
        chunk_size: tasks per chunk, chosen by default.
        options: options of a named engine.
    """

    supports_return_generator = True
    supports_timeout = False
    supports_sharedmem = False
    uses_threads = False
    default_n_jobs = -1

    def __init__(
        self,
        engine: Any = "auto",
        chunk_size: int | None = None,
        options: Mapping[str, Any] | None = None,
        nesting_level: int | None = None,
        inner_max_num_threads: int | None = None,
    ) -> None:
        super().__init__(nesting_level, inner_max_num_threads)
        self._how = {"backend": engine, "chunk_size": chunk_size, "options": options}
        self._owner: Any = None
        self._workers: int | None = None
        self._jobs: list[Job] = []
        self._stream: Iterator[Any] | None = None

    def get_nested_backend(self) -> tuple[ParallelBackendBase, int | None]:
        """What a call inside a task uses: threads, and one level further down the loop."""
        backend, n_jobs = super().get_nested_backend()
        if type(backend) is ThreadingBackend:
            backend = Inner(nesting_level=backend.nesting_level)
        return backend, n_jobs

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Workers that ``n_jobs`` means: -1 all usable cores, -2 one less, ..."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None:
            return 1
        return n_jobs if n_jobs > 0 else max(1, limits().workers + 1 + n_jobs)

    def configure(self, n_jobs: int = 1, parallel: Any = None, **_: Any) -> int:
        """Prepare for a call: all its tasks are wanted at once, because a plan is for all. All
        calls of a context are given one backend, although they may go on at once, as generators.
        """
        if parallel is not None and self._owner not in (None, parallel):
            engine, chunk_size, options = self._how.values()
            how = self.nesting_level, self.inner_max_num_threads
            raise FallbackToBackend(type(self)(engine, chunk_size, options, *how))
        self.parallel = self._owner = parallel
        self._workers = None if n_jobs == -1 else self.effective_n_jobs(n_jobs)
        if parallel is not None:
            parallel.pre_dispatch = "all"
            parallel.return_ordered = True  # as good as any other order
        return self.effective_n_jobs(n_jobs)

    def start_call(self) -> None:
        """A new call: no tasks yet."""
        self.abort_everything()

    def submit(self, func: Callable[[], Any], callback: Any = None) -> Job:
        """Note a task."""
        self._jobs.append(job := Job(func, callback))
        return job

    def retrieve_result(self, out: Job, timeout: float | None = None) -> Any:
        """The result of the next task in order; the first call plans and starts the run."""
        if self._stream is None:
            tasks = [job.task for job in self._jobs]
            self._jobs = []
            self._stream = amorsize.imap(call, tasks, workers=self._workers, **self._how)
        result = next(self._stream)
        if out.done is not None:
            out.done(out)
        return result

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """End the run and forget what has not run."""
        stream, self._stream, self._jobs = self._stream, None, []
        if stream is not None:
            stream.close()  # type: ignore[attr-defined]

    def stop_call(self) -> None:
        """The call is over."""
        self.abort_everything()

    def terminate(self) -> None:
        """Nothing outlives a call."""
        self.abort_everything()

    def __reduce__(self) -> tuple[Any, ...]:
        """Travels with nested tasks, without what runs here."""
        return type(self), ()


joblib.register_parallel_backend("amorsize", AmorsizeBackend)
