"""How fast the first items of a run arrive, which tells what bytes on their way take: several
messages travel at once, in both directions, and their copies at the caller, the engine and the
workers overlap. One round trip at a time, as costs are measured, knows the sum of all these.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from amorsize.costs import BYTES, BackendCosts
from amorsize.profile import Profile

LEAST_SHARE = 0.05
"""Least part of their measured costs that bytes are believed to take: a few arrivals may come
together by chance."""


class Arrival(NamedTuple):
    """A chunk that has come back."""

    at_s: float
    """When, on any one clock."""
    items: int
    """Its items."""


class Pace(NamedTuple):
    """What the caller, the engine and all workers manage together, whoever of them is the last."""

    item_s: float
    """Seconds from one item to the next."""
    chunk_items: float
    """Items of a chunk that it was seen with."""


def pace_of(arrivals: Sequence[Arrival], workers: int) -> Pace | None:
    """The pace of chunks, in order of their arrival, while all workers had others to go on with;
    ``None`` if there are too few. The first of each worker had to wait until it was ready.
    """
    later = arrivals[workers:]
    if len(later) < workers:
        return None
    items = sum(arrival.items for arrival in later)
    seconds = later[-1].at_s - arrivals[workers - 1].at_s
    return Pace(seconds / items, items / len(later))


def believed(costs: BackendCosts, profile: Profile, pace: Pace | None) -> BackendCosts:
    """The costs with bytes that take no longer than such items were seen to: what the caller does
    one after the other cannot take longer than they are apart.
    """
    if pace is None:
        return costs
    into, out, count = profile.inputs, profile.outputs, pace.chunk_items
    bytes_s = costs.into(count * into.nbytes, count * into.buffer_bytes)
    bytes_s += costs.out_of(count * out.nbytes, count * out.buffer_bytes)
    dispatch_s = costs.dispatch_s.value
    if bytes_s <= dispatch_s:  # next to none
        return costs
    most_s = count * (pace.item_s - into.dump_s - out.load_s) - dispatch_s
    share = max(LEAST_SHARE, most_s / bytes_s)
    if share >= 1.0:
        return costs
    seen = {
        name: figure._replace(value=share * figure.value, origin="observed")
        for name, figure in costs.figures().items()
        if name in BYTES
    }
    return costs._replace(**seen)
