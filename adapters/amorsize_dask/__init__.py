"""Dask (distributed) as a backend. Importing this imports no engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amorsize import hookimpl
from amorsize.backend import Backend


@hookimpl
def amorsize_backends() -> Sequence[Backend]:
    """Dask on the current client, or on a local cluster of its own."""
    from amorsize_dask.backend import DaskBackend

    return [DaskBackend()]


@hookimpl
def amorsize_recognise(engine: Any) -> Backend | None:
    """A backend bound to a ``distributed.Client`` or to a cluster object."""
    if type(engine).__module__.partition(".")[0] != "distributed":
        return None
    from amorsize_dask.backend import DaskBackend

    return DaskBackend.of(engine)
