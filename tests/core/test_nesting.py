"""Functions that are parallel themselves."""

from __future__ import annotations

import multiprocessing
import os
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


def test_a_forked_worker_starts_a_fork_server_of_its_own() -> None:
    """Its parent's is none of its children, and multiprocessing takes it for one."""
    how: dict[str, Any] = {"backend": ProcessBackend("forkserver"), "workers": 2}

    def outer(x: int) -> list[int]:
        return amorsize.map(succ, range(5), **how)

    assert amorsize.map(succ, range(5), **how) == [1, 2, 3, 4, 5]  # the caller's is up
    fork = ProcessBackend("fork")
    assert amorsize.map(outer, range(4), backend=fork, workers=2) == [[1, 2, 3, 4, 5]] * 4


def test_errors_of_an_inner_map_arrive_as_they_are() -> None:
    def outer(x: int) -> None:
        if x == 1:
            amorsize.map(succ, range(5), backend="nowhere")
        if x == 2:
            raise BackendUnavailable("multiprocessing", "no room", "use fewer workers")

    results = amorsize.map(
        outer, range(3), backend="multiprocessing", workers=2, chunk_size=1, on_error="return"
    )
    errors = [result.exception for result in results[1:]]
    assert [type(error) for error in errors] == [BackendNotFound, BackendUnavailable]
    assert errors[1].remedy == "use fewer workers"
