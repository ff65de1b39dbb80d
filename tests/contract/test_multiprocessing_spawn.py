"""The contract over processes started by spawn."""

from __future__ import annotations

import pytest

from amorsize.backend import Backend
from amorsize.testing import BackendContract
from amorsize_local.processes import ProcessBackend


class TestMultiprocessingSpawn(BackendContract):
    engine_modules = ("multiprocessing.pool", "concurrent.futures.process")

    @pytest.fixture
    def backend(self) -> Backend:
        return ProcessBackend("spawn")
