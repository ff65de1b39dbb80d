"""Functions that are parallel themselves."""

from __future__ import annotations

import multiprocessing
import os

import amorsize
from amorsize.probes import limits


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
