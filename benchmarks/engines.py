"""Dask and Ray: start one for a suite, connect to it from a measured process."""

from __future__ import annotations

import contextlib
import importlib
import os
import time
from collections.abc import Iterator

from benchmarks.harness import ROOT
from benchmarks.load import wait_for_quiet

WORKERS = 2
_PATIENCE_S = 5.0
"""Most seconds to wait until an engine has done what a new connection makes it do."""


def _nap(seconds: float) -> int:
    importlib.import_module("benchmarks.functions")
    time.sleep(seconds)
    return os.getpid()


@contextlib.contextmanager
def running(engine: str) -> Iterator[str]:
    """An engine with two workers on this host; yields its address, stops it at the end."""
    # The workers import the workloads' functions, and amorsize from this checkout.
    os.environ["PYTHONPATH"] = f"{ROOT}{os.pathsep}{ROOT / 'adapters'}"
    with contextlib.ExitStack() as stack:
        if engine == "dask":
            from distributed import LocalCluster

            cluster = stack.enter_context(
                LocalCluster(n_workers=WORKERS, threads_per_worker=1, dashboard_address=None)
            )
            yield str(cluster.scheduler_address)
        else:
            import ray

            stack.callback(ray.shutdown)
            _init_ray(num_cpus=WORKERS, include_dashboard=False)
            yield str(ray.get_runtime_context().gcs_address)


@contextlib.contextmanager
def connected(engine: str, address: str | None) -> Iterator[None]:
    """A connection of this process to the engine at an address, to one of its own without; all
    workers are up, and nothing starts any more: Ray starts a third one for two, which would take
    a core for the first tenths of a second. Without engine nothing happens.
    """
    with contextlib.ExitStack() as stack:
        if engine and not address:
            address = stack.enter_context(running(engine))
        if engine == "dask":
            from distributed import Client

            client = stack.enter_context(Client(address))
            client.wait_for_workers(WORKERS)
            client.gather(client.map(_nap, [0.1] * WORKERS, pure=False))
        elif engine == "ray":
            _connect_ray(str(address), stack)
        if engine:
            wait_for_quiet(_PATIENCE_S)
        yield


def _init_ray(**settings: object) -> None:
    import ray

    ray.init(log_to_driver=False, configure_logging=False, **settings)


def _connect_ray(address: str, stack: contextlib.ExitStack) -> None:
    """Connect, unless this process started it; each process gets workers of its own, and they
    have to be up.
    """
    import ray

    if not ray.is_initialized():
        stack.callback(ray.shutdown)
        _init_ray(address=address)
    nap, seen = ray.remote(_nap), set[int]()
    deadline = time.monotonic() + 15
    while len(seen) < WORKERS and time.monotonic() < deadline:
        seen |= set(ray.get([nap.remote(0.1) for _ in range(WORKERS)]))
