"""What earlier samples of this process saw of a function and the interpreter's lock.

Watching tells something after some milliseconds only, and its thread has to start and end. A
function that has been watched holds the lock as it did while its items are alike: then a later
plan takes what is known, and samples no more items than their times ask for.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

_ALIKE = 2.0
"""Factor within which seconds of an item are those of items that were watched."""
_NEAR = 0.15
"""Difference up to which shares of the time on a processor are the same."""


class Watched(NamedTuple):
    """What was seen of a function."""

    kind: type
    """Type of the items."""
    item_s: float
    """Seconds of a mean item."""
    busy_share: float
    """Part of these in which its thread was on a processor."""
    gil_share: float
    """Part of the time in which it held the lock."""
    rss_bytes: int
    """Memory that running an item took: a process that has had it takes it again unseen."""

    def is_like(self, kind: type, item_s: float, busy_share: float) -> bool:
        """Whether items are like those that were watched."""
        times = item_s / max(self.item_s, 1e-12)
        near = abs(busy_share - self.busy_share) <= _NEAR
        return kind is self.kind and 1 / _ALIKE <= times <= _ALIKE and near


_known: dict[int, tuple[weakref.ref[Any], Watched]] = {}
"""By the number of the function's object, which another one may get once it is gone."""


def of(function: Callable[[Any], Any]) -> Watched | None:
    """What is known of a function; ``None`` if that is nothing."""
    owner, seen = _known.get(id(function), (None, None))
    return seen if owner is not None and owner() is function else None


def keep(function: Callable[[Any], Any], seen: Watched) -> None:
    """Know it from now on, for as long as the function's object lives. What cannot be referred to
    weakly is not kept.
    """
    number = id(function)
    with suppress(TypeError):
        _known[number] = (weakref.ref(function, lambda _: _known.pop(number, None)), seen)


def forget(function: Callable[[Any], Any] | None = None) -> None:
    """Know no more of a function, of which a run has shown something else; or of any."""
    if function is None:
        _known.clear()
    else:
        _known.pop(id(function), None)
