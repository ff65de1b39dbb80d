"""Functions that remember what they have computed: an item that comes again takes them nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from amorsize.packing import innermost
from amorsize.profile import Profile
from amorsize.source import IndexedSource, Source

_LOOKED_AT = 10_000
"""Items that are looked at: more of them would take longer than planning itself."""

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
            now, different = self._told(), len(set(self._items))
            computed, most = min(now.misses - self._misses, profile.sampled), now.maxsize
        except Exception:  # items without a hash, or a cache of another kind
            return profile
        left, sampled = self._length - profile.sampled, profile.sampled
        if left <= 0 or computed <= 0 or (most is not None and different > most):
            return profile
        new = max(0.0, different * self._length / len(self._items) - computed) / left
        times = max(new * sampled / computed, _HIT_S / max(profile.item_s, _HIT_S))
        if times >= 1.0:
            return profile
        return profile._replace(
            item_s=profile.item_s * times,
            item_cpu_s=profile.item_cpu_s * times,
            item_alone_s=profile.item_alone_s * times,
            remembered_share=1.0 - new,
        )


def repeats(function: Any, source: Source, *, begun: bool = False) -> Repeats | None:
    """What to look at before a sample, of which some items may have ``begun``; ``None`` for a
    function without a cache, and data that would have to be read for it.
    """
    told = getattr(innermost(function), "cache_info", None)
    if told is None or not isinstance(source, IndexedSource):
        return None
    if type(source.data) not in (list, tuple) or not source.length:
        return None
    try:
        return Repeats(told, source.data[:_LOOKED_AT], source.length, begun=begun)
    except Exception:  # of another kind than it seems
        return None
