"""The contract over Ray, on a local session of real processes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from amorsize.backend import Backend
from amorsize.plugins import registry
from amorsize.testing import BackendContract

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module")
def session() -> Iterator[Any]:
    yield ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    ray.shutdown()


class TestRay(BackendContract):
    engine_modules = ("ray",)

    @pytest.fixture
    def backend(self, session: Any) -> Backend:
        return registry().resolve(session)
