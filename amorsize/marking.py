"""The mark of a plugin's hooks. pluggy's own, put on when a plugin is registered: a program whose
only plugins are amorsize's needs no more of pluggy than their marks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, overload

Function = TypeVar("Function", bound=Callable[..., Any])

OPTIONS = "amorsize_hook"
"""Attribute of a marked function that holds the options of its mark."""


@overload
def hookimpl(function: Function) -> Function: ...


@overload
def hookimpl(function: None = None, **options: Any) -> Callable[[Function], Function]: ...


def hookimpl(function: Any = None, **options: Any) -> Any:
    """Mark a function of a plugin as one of its hooks.

    Args:
        function: the function; without it, the mark for one is returned.
        options: those of ``pluggy.HookimplMarker`` (``tryfirst``, ``trylast``, ...).
    """

    def mark(marked: Any) -> Any:
        setattr(marked, OPTIONS, options)
        return marked

    return mark if function is None else mark(function)
