"""Which share of the host belongs to this process when it is itself somebody's worker."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from types import ModuleType

from amorsize.probes.facts import Fact
from amorsize.probes.parse import positive, positive_float

SHARE_VARIABLE = "AMORSIZE_WORKER_SHARE"
"""Set by amorsize in its workers: the cores, possibly fractional, one worker may use."""


def nested_share(
    environ: Mapping[str, str] | None = None, modules: Mapping[str, ModuleType] | None = None
) -> tuple[Fact, ...]:
    """Return the share of this worker in cores, one fact for each framework it works for.

    Empty when the process is nobody's worker. Only looks at variables and at modules that
    are loaded already: a process that has not imported Ray is not a Ray worker. Takes a few
    microseconds, as the answer can differ from one thread to the next and is not cached.
    """
    environ = os.environ if environ is None else environ
    modules = sys.modules if modules is None else modules
    found: list[Fact] = []
    share = positive_float(environ.get(SHARE_VARIABLE))
    if share is not None:
        found.append(Fact("amorsize-share", share, "cores", f"${SHARE_VARIABLE}"))
    for ask in _FRAMEWORKS:
        try:
            fact = ask(environ, modules)
        except Exception:  # a framework half set up, or changed inside: it tells nothing
            continue
        if fact is not None:
            found.append(fact)
    return tuple(found)


def _worker_process(environ: Mapping[str, str], modules: Mapping[str, ModuleType]) -> Fact | None:
    """loky, joblib and plain pools: all of them are children of multiprocessing."""
    module = modules.get("multiprocessing.process")
    if module is None:
        return None
    process = module.current_process()
    if str(process.name).startswith("LokyProcess"):
        # joblib divides the cores among its workers and tells them so by this variable.
        threads = positive(environ.get("OMP_NUM_THREADS"))
        source = "$OMP_NUM_THREADS in a loky worker" if threads else "loky worker"
        return Fact("loky-share", threads or 1, "cores", source)
    if environ.get("JOBLIB_SPAWNED_PROCESS") and module.parent_process() is not None:
        return Fact("joblib-share", 1, "cores", "$JOBLIB_SPAWNED_PROCESS")
    if process.daemon and SHARE_VARIABLE not in environ:
        note = "a daemonic process is one of a pool, and may not start processes"
        return Fact("pool-share", 1, "cores", "multiprocessing.current_process().daemon", note)
    return None


def _dask(environ: Mapping[str, str], modules: Mapping[str, ModuleType]) -> Fact | None:
    """A Dask task holds one of its worker's threads; the others run other tasks."""
    module = modules.get("distributed.worker")
    if module is None:
        return None
    try:
        worker = module.get_worker()
    except ValueError:  # not inside a task
        return None
    note = f"one of the {worker.state.nthreads} threads of the worker"
    return Fact("dask-share", 1, "cores", "distributed.get_worker()", note)


def _ray(environ: Mapping[str, str], modules: Mapping[str, ModuleType]) -> Fact | None:
    """A Ray task or actor has the CPUs it asked for."""
    ray, worker = modules.get("ray"), modules.get("ray._private.worker")
    if ray is None or worker is None or worker.global_worker.mode != worker.WORKER_MODE:
        return None
    granted = float(ray.get_runtime_context().get_assigned_resources().get("CPU", 0.0))
    if granted > 0:
        return Fact("ray-share", granted, "cores", "ray.get_runtime_context()")
    note = "an actor without num_cpus is granted none; one is assumed, as Ray does itself"
    return Fact("ray-share", 1, "cores", "ray worker", note)


_Ask = Callable[[Mapping[str, str], Mapping[str, ModuleType]], Fact | None]
# Dask workers are daemonic processes too: of equal shares the first listed binds.
_FRAMEWORKS: tuple[_Ask, ...] = (_dask, _ray, _worker_process)
