"""Ray as a backend. Importing this imports no engine."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from amorsize import hookimpl
from amorsize.backend import Backend


@hookimpl
def amorsize_backends() -> Sequence[Backend]:
    """Ray on the session that is up, or on a local one of its own."""
    from amorsize_ray.backend import RayBackend

    return [RayBackend()]


@hookimpl
def amorsize_recognise(engine: Any) -> Backend | None:
    """The module ``ray`` itself, or the context that ``ray.init`` returns."""
    kind = type(engine)
    is_context = kind.__module__.partition(".")[0] == "ray" and kind.__name__.endswith("Context")
    if not is_context and (engine is None or engine is not sys.modules.get("ray")):
        return None
    from amorsize_ray.backend import RayBackend

    return RayBackend()
