"""Workers that join a cluster in the middle of a run are used."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import amorsize

distributed = pytest.importorskip("distributed")


class Gated:
    """Waits in workers for a file before later items end: until then the run cannot be over."""

    def __init__(self, gate: str) -> None:
        self.gate, self.home = gate, os.getpid()

    def __call__(self, item: int) -> int:
        import time

        until = time.monotonic() + (30 if item >= 50 and os.getpid() != self.home else 0)
        while not os.path.exists(self.gate) and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(0.02)
        return os.getpid()


def test_a_dask_worker_that_joins_takes_chunks(tmp_path: Path) -> None:
    gate = tmp_path / "joined"
    settings: dict[str, Any] = {"n_workers": 1, "threads_per_worker": 1}
    settings |= {"dashboard_address": ":0", "silence_logs": 50}
    with distributed.LocalCluster(**settings) as cluster, distributed.Client(cluster) as client:
        client.wait_for_workers(1)
        plan = amorsize.plan(Gated(str(gate)), range(200), backend=client, workers=1, chunk_size=2)
        stream = plan.stream(ordered=False)
        first = next(iter(stream))
        cluster.scale(2)
        client.wait_for_workers(2, timeout=30)
        gate.touch()
        workers = {first, *stream} - {os.getpid()}
    assert len(workers) == 2
