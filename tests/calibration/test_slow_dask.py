"""The same adapter on a Dask cluster whose messages are late: it is seen as slow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import amorsize
from amorsize import cost_store, pricing
from amorsize.plugins import registry

pytestmark = pytest.mark.measures

pytest.importorskip("distributed")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def slow_dask(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The benchmark's module, which is no part of the distribution."""
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.setenv("AMORSIZE_CACHE_DIR", str(tmp_path))
    pricing.forget()
    from benchmarks import slow_dask

    return slow_dask


def believed(slow_dask: Any, delay_s: float) -> dict[str, Any]:
    """A calibration that passed its checks: other programs may spoil one."""
    for _ in range(3):
        row: dict[str, Any] = slow_dask.measured(delay_s)
        if row["origin"] == "measured":
            return row
    raise AssertionError(row["note"])


def test_a_delay_of_each_message_is_seen_and_the_chunks_grow(slow_dask: Any) -> None:
    usual, slow = believed(slow_dask, 0.0), believed(slow_dask, slow_dask.DELAY_S)
    assert slow["latency_s"] > usual["latency_s"] + slow_dask.DELAY_S
    assert slow["smallest_chunk"] > usual["smallest_chunk"]


def test_runs_contradict_costs_of_a_cluster_that_has_become_slow(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AMORSIZE_CACHE_DIR", str(tmp_path))
    pricing.forget()
    backend = registry().resolve(client)
    pricing.measure(backend, workers=2)
    for _ in range(4):
        amorsize.plan(abs, range(400), backend=client, chunk_size=8).run()
    stored = cost_store.load(backend, 2)
    assert stored is not None
    assert stored.costs is not None

    costs = stored.costs  # it was ten times as fast when this was measured
    faster = {n: costs.figures()[n] for n in ("attach_s", "dispatch_s", "latency_s", "slot_s")}
    was = costs._replace(**{n: f._replace(value=f.value / 10) for n, f in faster.items()})
    cost_store.save(backend, 2, cost_store.Stored(was))
    pricing.forget()
    for _ in range(cost_store.MOST_CONTRADICTIONS):
        assert cost_store.load(backend, 2) is not None
        amorsize.plan(abs, range(400), backend=client, chunk_size=8).run()
    assert cost_store.load(backend, 2) is None
    pricing.forget()


def test_costs_of_one_cluster_are_not_taken_for_another(slow_dask: Any) -> None:
    from distributed import Client, LocalCluster

    settings: dict[str, Any] = {"n_workers": 1, "threads_per_worker": 1, "processes": False}
    settings |= {"dashboard_address": ":0", "silence_logs": 50}
    with (
        LocalCluster(**settings) as one,
        LocalCluster(**settings) as other,
        Client(one) as first,
        Client(other) as second,
    ):
        names = {registry().resolve(client).configuration() for client in (first, second)}
    assert len(names) == 2
