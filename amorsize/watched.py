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
_CLEAR, _OFTEN = 0.1, 3
"""Share of the lock that is as good as none, or as all; others are seen so often before they are
believed: on a busy machine a free lock may look like one that is held now and then."""


class Watched(NamedTuple):
    """What was seen of a function."""

    kind: weakref.ref[Any]
    """Type of the items: it may hold the function, and must not keep it."""
    item_s: float
    """Seconds of a mean item."""
    busy_share: float
    """Part of these in which its thread was on a processor."""
    gil_share: float
    """Part of the time in which it held the lock."""
    rss_bytes: int
    """Memory that running an item took: a process that has had it takes it again unseen."""
    times: int = 1
    """Samples that have watched; ``gil_share`` is the mean of what they saw."""

    @property
    def is_settled(self) -> bool:
        """Whether one more sample would say nothing new."""
        return self.times >= _OFTEN or not _CLEAR < self.gil_share < 1 - _CLEAR

    def again(self, earlier: Watched) -> Watched:
        """This and what was seen earlier of such items."""
        times = earlier.times + 1
        share = earlier.gil_share + (self.gil_share - earlier.gil_share) / times
        return self._replace(gil_share=share, times=times)

    def is_like(self, kind: type, item_s: float, busy_share: float) -> bool:
        """Whether items are like those that were watched."""
        times = item_s / max(self.item_s, 1e-12)
        near = abs(busy_share - self.busy_share) <= _NEAR
        return kind is self.kind() and 1 / _ALIKE <= times <= _ALIKE and near


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
