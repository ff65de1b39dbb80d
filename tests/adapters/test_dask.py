"""Dask, for real: a cluster of two processes started here."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

import amorsize
from amorsize.plugins import registry

pytest.importorskip("distributed", reason="Dask is not installed")


def work(x: int) -> int:
    return sum(range(5_000)) * 0 + x * x


EXPECTED = [work(x) for x in range(300)]


def test_a_running_client_is_used_and_costs_no_start(client: Any) -> None:
    plan = amorsize.plan(work, range(300), backend="dask")
    assert plan.run() == EXPECTED
    assert plan.workers == 2
    assert all(term.name not in ("start-up", "shut-down") for term in plan.terms)
    assert client.status == "running"


def test_capacity_is_the_clusters(client: Any) -> None:
    from amorsize.probes import limits

    client.wait_for_workers(2)
    capacity = registry().get("dask").capacity(limits())
    assert capacity.workers == 2
    assert capacity.memory_per_worker_bytes


def test_client_and_cluster_objects_are_recognised(client: Any) -> None:
    assert amorsize.dask_map(work, range(300), client) == EXPECTED
    plan = amorsize.plan(work, range(300))
    assert plan.run(backend=client.cluster) == EXPECTED


def test_large_functions_and_inputs_arrive(client: Any) -> None:
    table = bytes(3_000_000)
    assert amorsize.map(lambda x: len(table) + x, range(50), backend="dask") == [
        3_000_000 + x for x in range(50)
    ]
    assert amorsize.map(len, [table] * 6, backend="dask") == [3_000_000] * 6


def test_each_item_runs_once(client: Any, calls: Any) -> None:
    assert amorsize.map(calls, range(200), backend="dask") == list(range(200))
    assert calls.items == list(range(200))
    assert amorsize.map(lambda x: x, (x for x in range(50)), backend="dask") == list(range(50))


def test_error_and_index(client: Any) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        amorsize.map(lambda x: 1 / (x - 137), range(300), backend="dask")
    assert any("item 137" in note for note in caught.value.__notes__)


def test_a_worker_killed_once_costs_nothing(client: Any, tmp_path: Any) -> None:
    marker, here = tmp_path / "died", os.getpid()

    def die_once(x: int) -> int:
        if x == 61 and os.getpid() != here and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    assert amorsize.map(die_once, range(100), backend="dask") == list(range(100))


def test_arguments_by_hand(client: Any) -> None:
    import dask.bag

    arguments = amorsize.plan(work, range(300)).arguments("dask")
    bag = dask.bag.from_sequence(range(300), **arguments)
    assert bag.npartitions == arguments.npartitions
    assert bag.map(work).compute(scheduler=client) == EXPECTED
    futures = client.map(
        lambda batch: [work(x) for x in batch], list(arguments.batches(range(300))), pure=False
    )
    assert [y for batch in client.gather(futures) for y in batch] == EXPECTED
