"""Context variables of the caller for threads that work for it. Public through
:mod:`amorsize.backend`.
"""

from __future__ import annotations

import contextvars
import sys
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class CallersContext:
    """The context variables of the thread that makes this, for others that run items for it. A
    thread begins without any: items would find no variable that the caller has set, and count with
    another precision of :mod:`decimal`, than in the plain loop. It cannot be pickled.
    """

    __slots__ = ("_context",)

    def __init__(self) -> None:
        self._context = contextvars.copy_context()

    def run(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call ``function`` in a copy of its own: only one thread can be in a context."""
        return self._context.copy().run(_apart, function, *args, **kwargs)


def _apart(function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """The copy holds the same objects. That of :mod:`decimal` is one which items may change."""
    decimal: Any = sys.modules.get("decimal")
    if (adopt := getattr(decimal, "setcontext", None)) is not None:
        adopt(decimal.getcontext().copy())
    return function(*args, **kwargs)
