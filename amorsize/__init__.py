"""amorsize plans ``fn`` over ``data`` once and runs it anywhere.

>>> import amorsize
>>> amorsize.map(abs, [-1, 2, -3])
[1, 2, 3]

Public names are loaded on first use: importing amorsize costs next to nothing and loads no
engine. Users need this module; authors of backends also :mod:`amorsize.backend` and
:mod:`amorsize.testing`. Everything else is private.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from amorsize.api import dask_map, imap, map, plan, ray_map
    from amorsize.backend import Backend, ExecutorBackend
    from amorsize.errors import (
        AmorsizeError,
        BackendNotFound,
        BackendUnavailable,
        InvalidArgument,
        PlanConsumed,
        PlanInfeasible,
        SerializationError,
        WorkerDied,
    )
    from amorsize.hookspecs import hookimpl
    from amorsize.plans import Plan
    from amorsize.report import RunReport

_HOMES = {
    "api": ("dask_map", "imap", "map", "plan", "ray_map"),
    "backend": ("Backend", "ExecutorBackend"),
    "errors": (
        "AmorsizeError",
        "BackendNotFound",
        "BackendUnavailable",
        "InvalidArgument",
        "PlanConsumed",
        "PlanInfeasible",
        "SerializationError",
        "WorkerDied",
    ),
    "hookspecs": ("hookimpl",),
    "plans": ("Plan",),
    "report": ("RunReport",),
}
_MODULE_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "AmorsizeError",
    "Backend",
    "BackendNotFound",
    "BackendUnavailable",
    "ExecutorBackend",
    "InvalidArgument",
    "Plan",
    "PlanConsumed",
    "PlanInfeasible",
    "RunReport",
    "SerializationError",
    "WorkerDied",
    "__version__",
    "dask_map",
    "hookimpl",
    "imap",
    "map",
    "plan",
    "ray_map",
]


def __getattr__(name: str) -> Any:
    try:
        module = _MODULE_OF[name]
    except KeyError:
        raise AttributeError(f"module 'amorsize' has no attribute {name!r}") from None
    value = getattr(importlib.import_module(f"amorsize.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
