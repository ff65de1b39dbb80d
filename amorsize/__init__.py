"""amorsize plans ``fn`` over ``data`` once and runs it anywhere.

>>> import amorsize
>>> amorsize.map(abs, [-1, 2, -3])
[1, 2, 3]

Importing amorsize loads no engine and no plugin. Users need this module; authors of backends
also :mod:`amorsize.backend` and :mod:`amorsize.testing`. Everything else is private.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from amorsize.api import dask_map, imap, map, plan, ray_map
from amorsize.backend import Backend
from amorsize.errors import (
    AmorsizeError,
    BackendNotFound,
    BackendUnavailable,
    DeadlineExceeded,
    InvalidArgument,
    ItemError,
    ItemTimeout,
    JournalRefused,
    PlanConsumed,
    PlanInfeasible,
    SerializationError,
    WorkerDied,
    WorkersKeepDying,
)
from amorsize.plans import Plan

if TYPE_CHECKING:
    from amorsize.backend import ExecutorBackend
    from amorsize.executor import Executor
    from amorsize.marking import hookimpl
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
    "InvalidArgument",
    "ItemError",
    "ItemTimeout",
    "JournalRefused",
    "Plan",
    "PlanConsumed",
    "PlanInfeasible",
    "RunReport",
    "Seed",
    "SerializationError",
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


def __getattr__(name: str) -> Any:
    """What few programs need is loaded on first use, to keep the import cheap."""
    if name == "hookimpl":
        from amorsize.marking import hookimpl

        return hookimpl
    if name == "ExecutorBackend":
        from amorsize.backend import ExecutorBackend

        return ExecutorBackend
    if name == "Executor":
        from amorsize.executor import Executor

        return Executor
    if name == "RunReport":
        from amorsize.report import RunReport

        return RunReport
    if name in ("Seed", "rng"):
        from amorsize import seeds

        return getattr(seeds, name)
    raise AttributeError(f"module 'amorsize' has no attribute {name!r}")
