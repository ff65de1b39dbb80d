"""Large items and results on Dask: they travel as they are, and past the scheduler if possible."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

import amorsize

pytest.importorskip("distributed", reason="Dask is not installed")
np = pytest.importorskip("numpy")

SIZE = 500_000
"""Numbers of an array: 4 MB."""
COUNT = 12


def grown(array: Any) -> Any:
    """Changes its item, which is a worker's own, and gives it back."""
    array += 1
    return array


def gathers(client: Any) -> int:
    """Results that the scheduler has fetched from workers and passed on."""
    events = client.get_events("all")
    return sum(event["count"] for _, event in events if event.get("action") == "gather")


def test_large_results_are_those_of_the_loop_and_pass_the_scheduler_by(client: Any) -> None:
    before = gathers(client)
    results = amorsize.dask_map(lambda n: np.full(SIZE, float(n)), range(COUNT), client)
    assert gathers(client) - before < COUNT
    for number, array in enumerate(results):
        assert array.flags.writeable
        assert array.flags.aligned
        assert array.shape == (SIZE,)
        assert (array == number).all()
    results[0] += 1
    assert (results[1] == 1).all()


def test_a_client_told_to_ask_the_scheduler_does(client: Any) -> None:
    from distributed import Client

    with Client(client.scheduler.address, set_as_default=False, direct_to_workers=False) as told:
        before = gathers(client)
        results = amorsize.dask_map(lambda n: np.full(SIZE, float(n)), range(COUNT), told)
        assert gathers(client) - before >= COUNT
    assert [float(array[0]) for array in results] == [float(n) for n in range(COUNT)]


def test_workers_have_large_items_for_themselves(client: Any) -> None:
    items = [np.full(3 * SIZE, float(n)) for n in range(COUNT)]  # 12 MB: these lie in the store
    results = amorsize.dask_map(grown, items, client)
    assert [float(array[-1]) for array in results] == [n + 1.0 for n in range(COUNT)]
    assert [float(array[-1]) for array in items] == [float(n) for n in range(COUNT)]


def test_large_items_lost_with_their_worker_are_sent_again(client: Any, tmp_path: Path) -> None:
    marker, here = tmp_path / "died", os.getpid()

    def die_once(array: Any) -> float:
        if array[0] == 5 and os.getpid() != here and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return float(array[0])

    items = [np.full(3 * SIZE, float(n)) for n in range(COUNT)]
    assert amorsize.dask_map(die_once, items, client) == [float(n) for n in range(COUNT)]
