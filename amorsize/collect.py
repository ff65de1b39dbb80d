"""Puts pieces of results in order: all at once, or as a stream."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from amorsize.source import Piece, Span

_MISSING = object()
"""Stands for a result that has not come."""


def in_one_list(pieces: Iterable[Piece], length: int | None = None) -> list[Any]:
    """All results in the order of their items. Pieces are copied as soon as their place is
    reached, while they are still in the processor's cache, and not kept. Of ``length`` items each
    has its place from the start: a list that grows beside others is moved again and again, into
    new memory each time.
    """
    if length is not None:
        return _in_place(pieces, length)
    results: list[Any] = []
    early: dict[int, list[Any]] = {}
    for start, values in pieces:
        early[start] = values
        while (due := early.pop(len(results), None)) is not None:
            results += due
            if not due:
                break
    for start in sorted(early):  # only behind an item that failed
        results += early[start]
    return results


def _in_place(pieces: Iterable[Piece], length: int) -> list[Any]:
    results, came = [_MISSING] * length, 0
    for start, values in pieces:
        results[start : start + len(values)] = values
        came += len(values)
    if came < length:  # an item failed
        return [value for value in results if value is not _MISSING]
    return results


class Reorder:
    """Passes pieces on in the order of their items, holding back those that came early. Those
    of ``ready`` are sorted, and taken one by one when their turn comes.
    """

    def __init__(self, pieces: Iterator[Piece], ready: Iterable[Piece] = ()) -> None:
        self._pieces, self._ready = pieces, iter(ready)
        self._heap: list[Piece] = []
        self._next = 0

    @property
    def held(self) -> int:
        """Pieces that arrived and are held back; those ready from the start do not count."""
        return len(self._heap)

    def __iter__(self) -> Iterator[Any]:
        due = next(self._ready, None)
        while True:
            while due is not None and due[0] == self._next:
                values, due = due[1], None  # held no longer than the consumer needs it
                self._next += len(values)
                yield from values
                due = next(self._ready, None)
            if self._heap and self._heap[0][0] == self._next:
                _, values = heapq.heappop(self._heap)
                self._next += len(values)
                yield from values
                continue
            piece = next(self._pieces, None)
            if piece is None:
                return
            heapq.heappush(self._heap, piece)


def subtract(pieces: Iterable[Piece], spans: Sequence[Span]) -> Iterator[Piece]:
    """The parts of sorted pieces that lie outside sorted spans."""
    for start, values in pieces:
        stop, position = start + len(values), start
        for begin, end in spans:
            if end <= position or begin >= stop:
                continue
            if begin > position:
                yield position, values[position - start : begin - start]
            position = max(position, end)
        if position < stop:
            yield position, values[position - start :]
