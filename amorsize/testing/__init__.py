"""The conformance kit: proof that a backend keeps the contract of :mod:`amorsize.backend`.

In a test module of yours::

    import pytest
    from amorsize.testing import BackendContract

    class TestMyBackend(BackendContract):
        @pytest.fixture
        def backend(self):
            return MyBackend()

On the command line, without pytest: ``amorsize check-backend NAME``. In a program:
:func:`check_backend` for a name, :func:`run_contract` for a backend object.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from amorsize.on_demand import loader

if TYPE_CHECKING:
    from amorsize.testing.check import Row, check_backend, run_contract
    from amorsize.testing.contract import BackendContract

_HOMES = {
    "BackendContract": "contract",
    "Row": "check",
    "check_backend": "check",
    "run_contract": "check",
}
_CHECKS = (
    "contract",
    "costing",
    "driving",
    "facts",
    "failures",
    "faults",
    "lifetimes",
    "results",
    "streams",
    "travel",
)

__all__ = ["BackendContract", "Row", "check_backend", "run_contract"]


def _explain_failures() -> None:
    """Let pytest show the values in the kit's assertions: it only rewrites modules that it is
    told of before they are imported.
    """
    pytest = sys.modules.get("pytest")
    if pytest is not None:
        names = [f"{__name__}.{module}" for module in _CHECKS]
        pytest.register_assert_rewrite(*(name for name in names if name not in sys.modules))


_explain_failures()


_load = loader(__name__, {name: f"{__name__}.{module}" for name, module in _HOMES.items()})

if not TYPE_CHECKING:  # checkers would take any name for one of this module

    def __getattr__(name: str) -> Any:
        """The kit is loaded on demand: it is no part of planning."""
        return _load(name)
