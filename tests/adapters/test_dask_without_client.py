"""Dask without a client: a cluster of amorsize's own, and a client that is gone."""

from __future__ import annotations

import psutil
import pytest

import amorsize

pytest.importorskip("distributed", reason="Dask is not installed")


def work(x: int) -> int:
    return sum(range(5_000)) * 0 + x * x


EXPECTED = [work(x) for x in range(300)]


def test_own_cluster_pays_its_start_and_leaves_nothing() -> None:
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    plan = amorsize.plan(work, range(300), backend="dask")
    assert plan.predicted is not None
    assert plan.predicted > 0.1
    assert plan.run() == EXPECTED
    after = psutil.Process().children(recursive=True)
    left = [c.cmdline() for c in after if c.pid not in before]
    assert not [line for line in left if "resource_tracker" not in " ".join(line)]


def test_a_closed_client_is_refused_with_the_remedy() -> None:
    import distributed

    with (
        distributed.LocalCluster(
            n_workers=1, processes=False, dashboard_address=":0", silence_logs=50
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as closed,
    ):
        pass
    with pytest.raises(amorsize.BackendUnavailable, match="connect a new Client"):
        amorsize.map(work, range(10), backend=closed)
