"""Chunk schedules: how many items each chunk holds. Pure arithmetic.

The default is tapered: factoring with a factor of two (FAC2 of Hummel, Schonberg and Flynn,
1992), each chunk ``ceil(R / 2W)`` of the R items that remain, bounded below so that overhead
stays small and above so that expensive items at the front do no harm.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal, NamedTuple

Kind = Literal["whole", "fixed", "tapered"]


class Shape(NamedTuple):
    """Summary of a schedule over a number of items."""

    chunks: int
    """Number of chunks."""
    first: int
    """Items of the first (largest) chunk."""
    last: int
    """Items of the chunks at the end, which decide how unevenly workers finish."""


class Schedule(NamedTuple):
    """A rule that cuts items into chunks."""

    kind: Kind
    """``whole``: one chunk; ``fixed``: chunks of ``largest``; ``tapered``: shrinking chunks."""
    workers: int
    """Workers that share the chunks."""
    smallest: int = 1
    """Items of the smallest chunk (the last one may hold fewer)."""
    largest: int = 1
    """Items of the largest chunk."""

    def next_size(self, remaining: int | None) -> int:
        """Items of the next chunk when ``remaining`` are left; ``None`` if that is unknown."""
        if remaining is None:
            return self.largest if self.kind == "fixed" else max(self.smallest, self.largest // 4)
        if self.kind == "whole":
            return remaining
        if self.kind == "fixed":
            return min(self.largest, remaining)
        share = math.ceil(remaining / (2 * self.workers))
        return min(remaining, max(self.smallest, min(self.largest, share)))

    def scaled(self, factor: float) -> Schedule:
        """The same rule with chunks ``factor`` times as large; equal chunks stay as they are."""
        if self.kind != "tapered":
            return self
        smallest = max(1, round(self.smallest * factor))
        return tapered(smallest, round(self.largest * factor), self.workers)

    def sizes(self, items: int) -> Iterator[int]:
        """Items of each chunk, in order of dispatch."""
        while items > 0:
            size = self.next_size(items)
            yield size
            items -= size

    def shape(self, items: int) -> Shape:
        """Number and sizes of the chunks without listing the equal ones."""
        if items <= 0:
            return Shape(0, 0, 0)
        if self.kind == "whole":
            return Shape(1, items, items)
        if self.kind == "fixed":
            size = min(self.largest, items)
            return Shape(math.ceil(items / size), size, size)
        return self._tapered_shape(items)

    def _tapered_shape(self, items: int) -> Shape:
        """Counts chunks of one size together, in plain arithmetic: a plan looks at dozens."""
        smallest, largest, full = self.smallest, self.largest, 2 * self.workers
        chunks = first = 0
        while items > 0:
            size = min(-(-items // full), largest)
            if size <= smallest:
                chunks -= -items // smallest
                first = first or min(smallest, items)
                break
            above = full * (size if size == largest else size - 1)
            count = max(1, -((above - items) // size))
            chunks += count
            first = first or size
            items -= size * count
        return Shape(chunks, first, max(1, min(smallest, first)))


def whole(workers: int = 1) -> Schedule:
    """Everything in one chunk: the serial loop."""
    return Schedule("whole", workers)


def fixed(size: int, workers: int) -> Schedule:
    """Equal chunks of ``size`` items, for engines and callers that know no other."""
    return Schedule("fixed", workers, size, size)


def tapered(smallest: int, largest: int, workers: int) -> Schedule:
    """Shrinking chunks between two bounds."""
    smallest = max(1, smallest)
    return Schedule("tapered", workers, smallest, max(smallest, largest))
