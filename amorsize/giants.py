"""Items that seem to take far longer than the others: they start first. At the end of the data, all
workers but one would wait for them.
"""

from __future__ import annotations

from amorsize.sizes import sizes_of
from amorsize.source import Source

GIANT, GIANT_S = 8.0, 0.05
"""By how many times an item has to be larger than the middle one to go ahead, if it would take so
many seconds, in proportion to its size and that of usual ones."""
LOOK_S = 0.1
"""Seconds of all items below which nobody looks how large they are."""


def giants(source: Source, item_s: float, items: int | None, most: int) -> list[int]:
    """Positions of up to ``most`` items that look like giants by their size, the largest first.
    Whether they are is left to the run: what goes ahead in vain costs nothing.

    Args:
        source: the data; sizes are seen only where looking has no effect (:mod:`amorsize.sizes`).
        item_s: seconds of a usual item.
        items: number of items, ``None`` if unknown: then none are looked at.
        most: how many may go ahead.
    """
    if items is None or item_s <= 0 or item_s * items < LOOK_S:
        return []
    sizes = sizes_of(source)
    return [] if sizes is None else sizes.giants(GIANT, GIANT_S / item_s, most)
