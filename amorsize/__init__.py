"""amorsize plans ``fn`` over ``data`` once and runs it anywhere.

>>> import amorsize
>>> amorsize.map(abs, [-1, 2, -3])
[1, 2, 3]

Importing amorsize loads no engine, and no plugin but its own. Users need this module; authors of
backends also :mod:`amorsize.backend` and :mod:`amorsize.testing`. Everything else is private.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from amorsize.on_demand import loader


def _is_wanted() -> bool:
    """Whether a program wants to plan. Where a module of an adapter came first, it was in a worker,
    in which a chunk had named it: what planning needs would be most of the worker's start.
    """
    return not any(name.startswith("amorsize_") for name in sys.modules)


_plans = _is_wanted()
if TYPE_CHECKING or _plans:
    from amorsize.api import dask_map, imap, map, plan, ray_map
    from amorsize.backend import Backend
    from amorsize.errors import (
        AmorsizeError,
        BackendNotFound,
        BackendUnavailable,
        DeadlineExceeded,
        FunctionNotLoaded,
        InvalidArgument,
        ItemError,
        ItemNotLoaded,
        ItemTimeout,
        JournalRefused,
        NotCallable,
        NotIterable,
        PlanConsumed,
        PlanInfeasible,
        ResultNotLoaded,
        SerializationError,
        TranslationUnsupported,
        UnpicklableFunction,
        UnpicklableItem,
        UnpicklableResult,
        WorkerDied,
        WorkersKeepDying,
    )
    from amorsize.marking import hookimpl
    from amorsize.plans import Plan
    from amorsize.streaming import Stream

if TYPE_CHECKING:
    from amorsize import events as events
    from amorsize.backend import ExecutorBackend
    from amorsize.executor import Executor
    from amorsize.report import RunReport
    from amorsize.seeds import Seed, rng

__version__ = "0.1.0"

__all__ = [
    "AmorsizeError",
    "Backend",
    "BackendNotFound",
    "BackendUnavailable",
    "DeadlineExceeded",
    "Executor",
    "ExecutorBackend",
    "FunctionNotLoaded",
    "InvalidArgument",
    "ItemError",
    "ItemNotLoaded",
    "ItemTimeout",
    "JournalRefused",
    "NotCallable",
    "NotIterable",
    "Plan",
    "PlanConsumed",
    "PlanInfeasible",
    "ResultNotLoaded",
    "RunReport",
    "Seed",
    "SerializationError",
    "Stream",
    "TranslationUnsupported",
    "UnpicklableFunction",
    "UnpicklableItem",
    "UnpicklableResult",
    "WorkerDied",
    "WorkersKeepDying",
    "__version__",
    "dask_map",
    "hookimpl",
    "imap",
    "map",
    "plan",
    "ray_map",
    "rng",
]


_HOMES = {
    "Backend": "backend",
    "Executor": "executor",
    "ExecutorBackend": "backend",
    "Plan": "plans",
    "RunReport": "report",
    "Seed": "seeds",
    "Stream": "streaming",
    "dask_map": "api",
    "hookimpl": "marking",
    "imap": "api",
    "map": "api",
    "plan": "api",
    "ray_map": "api",
    "rng": "seeds",
}
"""Modules of what is loaded on first use; all other names are errors."""
_load = loader(
    __name__,
    {name: f"{__name__}.{_HOMES.get(name, 'errors')}" for name in __all__}
    | {"events": f"{__name__}.events"},
)

if not TYPE_CHECKING:  # checkers would take any name for one of this module

    def __getattr__(name: str) -> Any:
        """What few programs need is loaded on first use, to keep the import cheap."""
        return _load(name)


if _plans:  # plugins import this module: not before it is all there
    from amorsize.plugins import look_ahead as _look_ahead

    _look_ahead()
