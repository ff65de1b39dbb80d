"""Backends of this host: the serial loop, threads and processes."""

from __future__ import annotations

from collections.abc import Sequence

from amorsize.backend import Backend
from amorsize.hookspecs import hookimpl


@hookimpl
def amorsize_backends() -> Sequence[Backend]:
    """The three backends that need nothing installed."""
    from amorsize_local.processes import ProcessBackend
    from amorsize_local.serial import SerialBackend
    from amorsize_local.threads import ThreadBackend

    return [SerialBackend(), ThreadBackend(), ProcessBackend()]
