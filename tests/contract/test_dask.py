"""The contract over Dask, on a local cluster of real processes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from amorsize.backend import Backend
from amorsize.plugins import registry
from amorsize.testing import BackendContract

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50
    )
    with cluster, distributed.Client(cluster) as client:
        yield client


class TestDask(BackendContract):
    engine_modules = ("dask", "distributed")

    @pytest.fixture
    def backend(self, client: Any) -> Backend:
        return registry().resolve(client)
