"""The contestants: how a user would run a function over data with each library, by its defaults.

Pools are made inside the call and closed in it: the times are those of a script that has one
loop to run. Libraries are imported before the clock starts.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

Call = Callable[[Any], Any]
Data = Iterable[Any]
Facts = dict[str, Any]
Told = Facts | Callable[[], Facts]
"""What a contestant tells of its run; asked for after the clock has stopped if it is a function."""


@dataclass(frozen=True)
class Contestant:
    """One way to run a function over data."""

    name: str
    """Its name in tables."""
    run: Callable[..., tuple[list[Any], Told]]
    """Takes function, data and options; returns the results and what is known of the run."""
    modules: tuple[str, ...] = ()
    """What its user imports."""
    cluster: str = ""
    """The engine that must be up: ``dask`` or ``ray``."""
    default: bool = True
    """Whether the suite includes it as a peer."""
    unsuited: dict[str, str] = field(default_factory=dict)
    """Workloads that it is not tried on, with the reason."""

    def load(self) -> None:
        """Import what it needs."""
        for module in self.modules:
            importlib.import_module(module)


def _loop(fn: Call, data: Data) -> tuple[list[Any], Facts]:
    return [fn(item) for item in data], {}


def _threads(fn: Call, data: Data, workers: int | None = None) -> tuple[list[Any], Facts]:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(fn, data)), {}


def _pool(
    fn: Call, data: Data, workers: int | None = None, chunk_size: int | None = None
) -> tuple[list[Any], Facts]:
    from multiprocessing import Pool

    with Pool(workers) as pool:
        return pool.map(fn, data, chunk_size), {}


def _executor(
    fn: Call, data: Data, workers: int | None = None, chunk_size: int = 1
) -> tuple[list[Any], Facts]:
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(workers) as pool:
        return list(pool.map(fn, data, chunksize=chunk_size)), {}


def _joblib(fn: Call, data: Data) -> tuple[list[Any], Facts]:
    from joblib import Parallel, delayed

    return Parallel(n_jobs=-1)(delayed(fn)(item) for item in data), {}


def _mpire(fn: Call, data: Data) -> tuple[list[Any], Facts]:
    from mpire import WorkerPool

    if isinstance(data, list) and isinstance(data[0], (tuple, list)):
        data = [(item,) for item in data]  # mpire would unpack it into arguments
    with WorkerPool() as pool:
        return pool.map(fn, data, concatenate_numpy_output=False), {}


def _amorsize(fn: Call, data: Data, **settings: Any) -> tuple[list[Any], Told]:
    """``amorsize.map``; of sequences in its two steps, to get at the plan, if there is one. Of
    iterators ``map`` looks ahead whether they are short, which a plan must not.
    """
    from amorsize.api import begun_or_planned

    if iter(data) is data:
        return _only_map(fn, data, **settings)
    asked = {"backend": "auto", "workers": None, "chunk_size": None, "options": None, **settings}
    made = begun_or_planned(fn, data, **asked, wishes={}, watched=False)
    if isinstance(made, list):
        return made, {"backend": "serial", "ran_on": "serial", "workers": 1, "moves": []}
    results = made.run()
    return results, partial(plan_facts, made)


def _only_map(fn: Call, data: Data, **settings: Any) -> tuple[list[Any], Told]:
    """``map``, ``dask_map`` and ``ray_map`` where no plan tells of the run, but its report does."""
    import amorsize
    from amorsize.events import RunFinished

    reports = []

    def keep(event: Any) -> None:
        if isinstance(event, RunFinished):
            reports.append(event.report)

    results = amorsize.map(fn, data, observers=[keep], **settings)
    return results, partial(report_facts, reports[0])


def plan_facts(plan: Any) -> Facts:
    """What the benchmark keeps of a plan that ran."""
    return report_facts(plan.report) | {
        "backend": plan.backend,
        "workers": plan.workers,
        "largest_chunk": plan.fixed_chunk_size,
        "reason": plan.reason,
        "sampled": plan.sampled,
        "sample_s": plan.profile.sample_s,
        "planned_s": plan.predicted,
    }


def report_facts(report: Any) -> Facts:
    """What the benchmark keeps of a run."""
    return {
        "predicted_s": report.predicted,
        "predicted_after_s": report.predicted_after_s,
        "actual_s": report.actual,
        "ran_on": report.backend,
        "backend": report.backend,
        "workers": report.workers,
        "moves": list(report.moves),
        "terms": {t.name: [t.predicted, t.actual] for t in report.terms},
    }


def _client_map(fn: Call, data: Data) -> tuple[list[Any], Facts]:
    from distributed import default_client

    client = default_client()
    return client.gather(client.map(fn, list(data), pure=False)), {}


def _dask_bag(fn: Call, data: Data) -> tuple[list[Any], Facts]:
    import dask.bag

    return list(dask.bag.from_sequence(data).map(fn).compute()), {}


def _ray_tasks(fn: Call, data: Data) -> tuple[list[Any], Facts]:
    import ray

    task = ray.remote(fn if hasattr(fn, "__name__") else lambda item: fn(item))
    return ray.get([task.remote(item) for item in data]), {}


def _ray_pool(fn: Call, data: Data) -> tuple[list[Any], Facts]:
    from ray.util.multiprocessing import Pool

    with Pool() as pool:
        return pool.map(fn, list(data)), {}


_OURS = ("amorsize", "amorsize.events")
"""What our contestants import: events only because the benchmark watches them."""

CONTESTANTS = {
    contestant.name: contestant
    for contestant in (
        Contestant("loop", _loop),
        Contestant("amorsize", _amorsize, _OURS),
        Contestant("ThreadPoolExecutor.map", _threads, ("concurrent.futures",)),
        Contestant("Pool.map", _pool, ("multiprocessing",)),
        Contestant(
            "ProcessPoolExecutor.map",
            _executor,
            ("concurrent.futures", "concurrent.futures.process"),
            unsuited={"issue2_lambda": "cannot pickle a lambda"},
        ),
        Contestant("joblib", _joblib, ("joblib",)),
        Contestant("mpire", _mpire, ("mpire",)),
        Contestant("dask_map", _only_map, (*_OURS, "distributed"), cluster="dask"),
        Contestant("Client.map", _client_map, ("distributed",), cluster="dask"),
        Contestant("dask.bag", _dask_bag, ("distributed", "dask.bag"), cluster="dask"),
        Contestant("ray_map", _only_map, (*_OURS, "ray"), cluster="ray"),
        Contestant("ray task per item", _ray_tasks, ("ray",), cluster="ray"),
        Contestant("ray Pool.map", _ray_pool, ("ray.util.multiprocessing",), cluster="ray"),
    )
}
"""All contestants by name."""

LOCAL_PEERS = tuple(
    name
    for name, contestant in CONTESTANTS.items()
    if not contestant.cluster and name not in ("loop", "amorsize")
)
"""The libraries of the local suite."""
