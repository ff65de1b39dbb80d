"""The contract over the threads backend."""

from __future__ import annotations

import pytest

from amorsize.backend import Backend
from amorsize.plugins import registry
from amorsize.testing import BackendContract


class TestThreads(BackendContract):
    engine_modules = ("multiprocessing.pool", "concurrent.futures.process")

    @pytest.fixture
    def backend(self) -> Backend:
        return registry().get("threads")
