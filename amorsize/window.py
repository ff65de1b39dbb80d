"""How much a run keeps in flight: enough that no worker waits, no more than memory allows."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

from amorsize.planner import CHUNK_BYTES
from amorsize.schedule import Schedule, tapered

MOST_QUEUED_PER_WORKER = 16
MEMORY_SHARE = 0.1
"""Share of the memory for this process and its workers that results in flight may take."""
WORKER_BYTES = 64_000_000
"""Bytes of results in flight for each worker, where memory allows: enough for any pipe."""
LARGE_ITEM_BYTES = 500_000
"""Items and results from this size on take as much here as on their way."""
PATIENCE_S = 0.01
"""Seconds of reading after which a stream's chunk is sent as it is: a slow producer must not
keep the results of others waiting."""
_LOOKED_AT = 4
_REFERENCE_BYTES = 8


class Window:
    """Chunks that may be in flight, or held back for the consumer.

    Args:
        memory_bytes: memory for this process and its workers, ``None`` if unknown.
        item_bytes: bytes of a result by the sample, 0 if it did not tell.
        chunk_bytes: most bytes of a chunk of large items and results.
    """

    def __init__(
        self,
        memory_bytes: float | None = None,
        item_bytes: float = 0.0,
        chunk_bytes: float = CHUNK_BYTES,
    ) -> None:
        self.budget_bytes = math.inf if memory_bytes is None else MEMORY_SHARE * memory_bytes
        """Bytes that results in flight may take, however many workers there are."""
        self._chunk_bytes = chunk_bytes
        self.item_bytes = item_bytes
        """Bytes of a result, and of its item if that is held, too, as seen lately; the largest
        counts for longer."""

    def observe(self, values: list[Any], nbytes: int, items: Sequence[Any] = ()) -> None:
        """Results of a chunk; ``nbytes`` is 0 where they did not travel. ``items`` are theirs, if
        only the run holds them: those of a stream.
        """
        if not values:
            return
        seen = max(nbytes / len(values), _mean_size(values))
        if items:
            seen += _mean_size(items)
        self.item_bytes = max(seen, 0.9 * self.item_bytes + 0.1 * seen)

    def chunks(self, workers: int, latency_s: float, chunk_s: float, chunk_items: float) -> int:
        """Chunks in flight: one running and one queued per worker, more where the round trip is
        long against a chunk, fewer where their results would fill the memory; at least one a
        worker, whose chunks :meth:`fitting` makes small enough.
        """
        ahead = min(MOST_QUEUED_PER_WORKER, max(1, math.ceil(latency_s / max(chunk_s, 1e-6))))
        wanted = workers * (1 + ahead)
        chunk_bytes = self.item_bytes * max(1.0, chunk_items)
        budget = self._budget(workers)
        if chunk_bytes * wanted <= budget:
            return wanted
        return max(workers, int(budget / chunk_bytes))

    def _budget(self, workers: int) -> float:
        return min(self.budget_bytes, workers * WORKER_BYTES)

    def fitting(self, schedule: Schedule) -> Schedule | None:
        """The schedule with chunks so small that two a worker fit into the memory, and none holds
        many more bytes than it gains by; ``None`` if they are already, or if the caller has fixed
        their size.
        """
        if schedule.kind != "tapered":
            return None
        most_bytes = self._chunk_bytes if self.item_bytes >= LARGE_ITEM_BYTES else CHUNK_BYTES
        budget = min(most_bytes, self._budget(schedule.workers) / (2 * schedule.workers))
        if self.item_bytes * schedule.largest <= budget:
            return None
        most = max(1, int(budget / self.item_bytes))
        if most >= schedule.largest:
            return None
        return tapered(min(most, schedule.smallest), most, schedule.workers)


def _mean_size(values: Sequence[Any]) -> float:
    """Bytes of one of these, and of what refers to it, going by some of them."""
    some = values[:: max(1, len(values) // _LOOKED_AT)]
    return sum(map(size_of, some)) / len(some) + _REFERENCE_BYTES


def size_of(value: Any) -> int:
    """Bytes of a result that did not travel, at least: its own, and of what it holds directly; 0
    where it cannot tell. Only the type says what it is: an object may do anything when it is asked
    for an attribute that it does not have.
    """
    try:
        size = value.nbytes if hasattr(type(value), "dtype") else sys.getsizeof(value, 0)
        if isinstance(value, (list, tuple)) and value:
            size += sys.getsizeof(value[0], 0) * len(value)
    except Exception:  # a property of a user's class
        return 0
    return size if isinstance(size, int) else 0
