"""What this package offers as a plugin of amorsize."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from amorsize import hookimpl
from amorsize.backend import Backend


@hookimpl
def amorsize_backends() -> Sequence[Backend]:
    """The three backends that need nothing installed."""
    from amorsize_local.processes import ProcessBackend
    from amorsize_local.serial import SerialBackend
    from amorsize_local.threads import ThreadBackend

    return [SerialBackend(), ThreadBackend(), ProcessBackend()]


@hookimpl(trylast=True)  # whoever knows a special kind of executor is asked first
def amorsize_recognise(engine: Any) -> Backend | None:
    """A backend on an executor or pool that is up and stays up."""
    futures, pools = sys.modules.get("concurrent.futures"), sys.modules.get("multiprocessing.pool")
    if futures is not None and isinstance(engine, futures.Executor):
        from amorsize_local.live import LiveExecutor

        return LiveExecutor(engine)
    if pools is not None and isinstance(engine, pools.Pool):
        from amorsize_local.live import LivePool

        return LivePool(engine)
    return None
