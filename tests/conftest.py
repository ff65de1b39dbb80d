"""Shared by all tests: a private cache of costs; real engines, one at a time."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session", autouse=True)
def _private_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests neither read nor write the user's stored costs."""
    patch = pytest.MonkeyPatch()
    patch.setenv("AMORSIZE_CACHE_DIR", str(tmp_path_factory.mktemp("amorsize-cache")))
    yield
    patch.undo()


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    distributed = pytest.importorskip("distributed", reason="Dask is not installed")
    environment = dict(os.environ)  # a nanny leaves its workers' limits in the caller's
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=50
    )
    with cluster, distributed.Client(cluster) as connected:
        yield connected
    os.environ.clear()
    os.environ.update(environment)


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield ray
    ray.shutdown()


@pytest.fixture
def calls(tmp_path: Path) -> CallLog:
    """Counts calls across processes."""
    return CallLog(tmp_path / "calls")


class CallLog:
    """A file to which each call appends one line; appending is atomic between processes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, item: object) -> object:
        with self.path.open("a") as file:
            file.write(f"{item}\n")
        return item

    @property
    def items(self) -> list[int]:
        """The items of all calls, sorted."""
        return sorted(int(line) for line in self.path.read_text().splitlines())
