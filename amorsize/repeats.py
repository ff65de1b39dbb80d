"""Functions that remember what they have computed: an item that comes again takes them nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from types import FunctionType, MethodType
from typing import Any

from amorsize.packing import innermost
from amorsize.profile import Profile
from amorsize.source import IndexedSource, Source

_LOOKED_AT, _LOOKING_S = 10_000, 0.0005
"""Items that are looked at, at most, and seconds after which no more of them are."""

_FUNCTIONS = (FunctionType, MethodType, type(lru_cache(len)))
"""What may have a cache. A proxy has any attribute: asked for one, it would call another host."""
_HIT_S = 1e-7
"""Least seconds that looking an item up takes."""


class Repeats:
    """What the cache of a function (``functools.lru_cache``, or what else has ``cache_info``) tells
    before and after a sample.

    Args:
        told: its ``cache_info``.
        items: the data, or its front.
        length: how many items there are in all.
        begun: whether some of them have run already, by a function that is new then.
    """

    def __init__(self, told: Callable[[], Any], items: Any, length: int, *, begun: bool) -> None:
        self._told, self._items, self._length = told, items, length
        self._misses = 0 if begun else told().misses

    def applied(self, profile: Profile) -> Profile:
        """The profile of a sample, whose items were new more often than those left will be."""
        try:
            now, different = self._told(), _different(self._items, self._length)
            computed, most = min(now.misses - self._misses, profile.sampled), now.maxsize
        except Exception:  # items without a hash, or a cache of another kind
            return profile
        left, sampled = self._length - profile.sampled, profile.sampled
        if left <= 0 or computed <= 0 or (most is not None and different > most):
            return profile
        new = max(0.0, different - computed) / left
        times = max(new * sampled / computed, _HIT_S / max(profile.item_s, _HIT_S))
        if times >= 1.0:
            return profile
        return profile.times(times)._replace(
            longest_s=profile.longest_s * times,
            durations=tuple(seconds * times for seconds in profile.durations),
            remembered_share=1.0 - new,
        )


def _different(items: Sequence[Any], length: int) -> float:
    """How many of ``length`` items are different, by as many of their front as can be looked at in
    no time: hashes may take longer than what is remembered.
    """
    counts, seen, looked = [0], set[Any](), [0]
    began = time.perf_counter()
    while looked[-1] < len(items) and time.perf_counter() - began < _LOOKING_S:
        stop = min(len(items), max(4, 2 * looked[-1]))
        seen.update(items[looked[-1] : stop])
        looked.append(stop)
        counts.append(len(seen))
    new = (counts[-1] - counts[-2]) / (looked[-1] - looked[-2])
    return counts[-1] + new * (length - looked[-1])


def repeats(function: Any, source: Source, *, begun: bool = False) -> Repeats | None:
    """What to look at before a sample, of which some items may have ``begun``; ``None`` for a
    function without a cache, and data that would have to be read for it.
    """
    function = innermost(function)
    told = getattr(function, "cache_info", None) if isinstance(function, _FUNCTIONS) else None
    if told is None or not isinstance(source, IndexedSource):
        return None
    if type(source.data) not in (list, tuple) or not source.length:
        return None
    try:
        return Repeats(told, source.data[:_LOOKED_AT], source.length, begun=begun)
    except Exception:  # of another kind than it seems
        return None
