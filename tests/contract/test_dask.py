"""The contract over Dask, on a local cluster of real processes."""

from __future__ import annotations

from typing import Any

import pytest

from amorsize.backend import Backend
from amorsize.plugins import registry
from amorsize.testing import BackendContract


class TestDask(BackendContract):
    engine_modules = ("dask", "distributed")

    @pytest.fixture
    def backend(self, client: Any) -> Backend:
        return registry().resolve(client)
