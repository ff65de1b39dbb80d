"""Dask workers with several threads: they share an interpreter, and plans know it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

import amorsize
from amorsize.model import GIL
from amorsize.plugins import registry
from amorsize.probes import limits

distributed = pytest.importorskip("distributed", reason="Dask is not installed")
pytestmark = pytest.mark.usefixtures("store")

QUIET = {"dashboard_address": ":0", "silence_logs": 50}


def python(item: int) -> int:
    """Hold the lock."""
    return sum(number * number for number in range(item, item + 20_000))


def waits(_item: int) -> None:
    """Let go of it."""
    time.sleep(0.002)


@pytest.fixture(scope="module")
def threads() -> Iterator[Any]:
    """A client of one worker process with two threads."""
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=2, **QUIET) as cluster,
        distributed.Client(cluster) as connected,
    ):
        yield connected


def test_python_code_is_predicted_to_take_turns(threads: Any) -> None:
    # Other programs hide in some samples that the lock is held.
    plans = [amorsize.plan(python, range(3_000), backend=threads) for _ in range(3)]
    plan = max(plans, key=lambda plan: plan.profile.gil_share)
    assert (plan.workers, plan.interpreters) == (2, 1)
    assert plan.predicted is not None
    assert plan.predicted_serial is not None
    assert plan.predicted > 0.95 * plan.predicted_serial * plan.profile.gil_share
    assert GIL in {term.name for term in plan.terms}
    assert "the workers share 1 interpreter" in plan.explain()
    assert plan.to_dict()["interpreters"] == 1


def test_what_releases_the_lock_is_not(threads: Any) -> None:
    plan = amorsize.plan(waits, range(1_000), backend=threads)
    assert plan.predicted is not None
    assert plan.predicted_serial is not None
    assert plan.predicted < 0.8 * plan.predicted_serial
    assert GIL not in {term.name for term in plan.terms}


def test_a_run_without_a_sample_agrees_with_what_it_predicts(threads: Any) -> None:
    """The first items tell what all take, with what they wait for each other."""
    expected = [python(item) for item in range(300)]
    assert amorsize.dask_map(python, range(300), threads) == expected


def test_workers_within_this_process_share_its_interpreter() -> None:
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=2, processes=False, **QUIET
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        capacity = registry().resolve(client).capacity(limits())
    assert (capacity.workers, capacity.interpreters) == (4, 1)
    assert capacity.cores <= limits().cores
