"""The hooks through which plugins add to amorsize."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pluggy

from amorsize.marking import OPTIONS, hookimpl

if TYPE_CHECKING:
    from amorsize.backend import Backend
    from amorsize.events import Observer

__all__ = ["amorsize_backends", "amorsize_observers", "amorsize_recognise", "hookimpl", "manager"]

hookspec = pluggy.HookspecMarker("amorsize")
_mark = pluggy.HookimplMarker("amorsize")


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


class _Manager(pluggy.PluginManager):
    """Also knows functions by amorsize's mark."""

    def parse_hookimpl_opts(self, plugin: Any, name: str) -> Any:
        """Options of a hook; ``None`` for what is none."""
        function = getattr(plugin, name, None)
        options = getattr(function, OPTIONS, None)
        if isinstance(options, dict):
            _mark(**options)(getattr(function, "__func__", function))
        return super().parse_hookimpl_opts(plugin, name)


def manager() -> pluggy.PluginManager:
    """A manager that knows the hooks."""
    made = _Manager("amorsize")
    made.add_hookspecs(sys.modules[__name__])
    return made
