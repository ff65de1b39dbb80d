"""The hooks through which plugins add to amorsize."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from amorsize.backend import Backend
    from amorsize.events import Observer

hookspec = pluggy.HookspecMarker("amorsize")
hookimpl = pluggy.HookimplMarker("amorsize")


@hookspec
def amorsize_backends() -> Sequence[Backend]:  # type: ignore[empty-body]
    """Backends this plugin offers. Must not import an engine."""


@hookspec(firstresult=True)
def amorsize_recognise(engine: Any) -> Backend | None:
    """A backend bound to a live engine object (a client, an executor, a pool), or ``None`` if
    the object is not one of this plugin's. Must not import an engine.
    """


@hookspec
def amorsize_observers() -> Sequence[Observer]:  # type: ignore[empty-body]
    """Observers of the run that begins (:mod:`amorsize.events`): callables that take an event."""
