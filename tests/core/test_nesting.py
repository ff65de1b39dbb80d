"""Functions that are parallel themselves."""

from __future__ import annotations

import multiprocessing
import os
import time
from typing import Any

import amorsize
from amorsize.errors import BackendNotFound, BackendUnavailable
from amorsize.probes import limits
from amorsize_local.processes import ProcessBackend


def succ(x: int) -> int:
    return x + 1


def test_a_worker_sees_its_share_not_the_host() -> None:
    cores = limits().cores
    shares = amorsize.map(
        lambda x: (sum(range(50_000)), limits().cores)[1],
        range(200),
        backend="multiprocessing",
        workers=4,
    )
    assert min(shares) <= max(cores / 4, 1.0)
    assert "AMORSIZE_WORKER_SHARE" not in os.environ


def test_maps_and_pools_work_inside_workers() -> None:
    def outer(x: int) -> tuple[list[int], list[int]]:
        with multiprocessing.get_context("fork").Pool(1) as pool:
            by_pool = pool.map(succ, range(3))
        return amorsize.map(succ, range(5), backend="multiprocessing"), by_pool

    results = amorsize.map(outer, range(3), backend="multiprocessing", workers=2)
    assert results == [([1, 2, 3, 4, 5], [1, 2, 3])] * 3


def late_succ(x: int) -> int:
    time.sleep(0.003)
    return x + 1


def test_a_forked_worker_starts_a_fork_server_of_its_own() -> None:
    """Its parent's is none of its children, and multiprocessing takes it for one."""
    how: dict[str, Any] = {"backend": ProcessBackend("forkserver"), "workers": 2}

    def outer(x: int) -> list[int]:
        return amorsize.map(late_succ, range(20), **how)

    expected = list(range(1, 21))
    assert amorsize.map(late_succ, range(20), **how) == expected  # the caller's is up
    fork = ProcessBackend("fork")
    assert amorsize.map(outer, range(6), backend=fork, workers=2) == [expected] * 6


def test_errors_of_an_inner_map_arrive_as_they_are() -> None:
    home = os.getpid()

    def outer(x: int) -> None:
        time.sleep(0.002)
        if os.getpid() != home and x % 2:
            amorsize.map(succ, range(5), backend="nowhere")
        if os.getpid() != home:
            raise BackendUnavailable("multiprocessing", "no room", "use fewer workers")

    results: list[Any] = amorsize.map(
        outer, range(60), backend="multiprocessing", on_error="return"
    )
    errors = [result.exception for result in results if result is not None]
    assert {type(error) for error in errors} == {BackendNotFound, BackendUnavailable}
    assert {getattr(error, "remedy", "") for error in errors} == {"", "use fewer workers"}


def test_a_daemonic_process_may_run_maps_on_processes() -> None:
    """Workers of Dask are daemonic, and multiprocessing lets such a process start none."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        done = pool.map(_on_processes, ["fork", "spawn"])
    assert done == [[1, 2, 3, 4, 5]] * 2


def _on_processes(method: str) -> list[int]:
    backend = ProcessBackend(method)
    try:
        return amorsize.map(_elsewhere, range(5), backend=backend, workers=2, timeout=60)
    finally:
        backend.release()


def _elsewhere(x: int) -> int:
    assert multiprocessing.parent_process() is not None
    return x + 1
