"""The contract over Ray, on a local cluster of real processes."""

from __future__ import annotations

from typing import Any

import pytest

from amorsize.backend import Backend
from amorsize.plugins import registry
from amorsize.testing import BackendContract


class TestRay(BackendContract):
    engine_modules = ("ray",)

    @pytest.fixture
    def backend(self, ray: Any) -> Backend:
        return registry().resolve(ray)
