"""Ray as a backend. Importing this imports no engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amorsize.backend import Backend
from amorsize.hookspecs import hookimpl


@hookimpl
def amorsize_backends() -> Sequence[Backend]:
    """Ray on the session that is up, or on a local one of its own."""
    from amorsize_ray.backend import RayBackend

    return [RayBackend()]


@hookimpl
def amorsize_recognise(engine: Any) -> Backend | None:
    """The module ``ray`` itself, or the context that ``ray.init`` returns."""
    home = getattr(engine, "__name__", "") or type(engine).__module__
    if home.partition(".")[0] != "ray":
        return None
    from amorsize_ray.backend import RayBackend

    return RayBackend()
