"""Puts pieces of results in order: all at once, or as a stream."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from typing import Any

from amorsize.runner import Piece


def in_one_list(pieces: Iterable[Piece]) -> list[Any]:
    """All results in the order of their items. Pieces are copied as soon as their place is
    reached, while they are still in the processor's cache, and not kept.
    """
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


class Reorder:
    """Passes pieces on in the order of their items, holding back those that came early."""

    def __init__(self, pieces: Iterator[Piece], ready: Iterable[Piece] = ()) -> None:
        self._pieces = pieces
        self._heap: list[Piece] = list(ready)
        self._ready = len(self._heap)
        heapq.heapify(self._heap)
        self._next = 0

    @property
    def held(self) -> int:
        """Pieces that arrived and are held back; those ready from the start do not count."""
        return max(0, len(self._heap) - self._ready)

    def __iter__(self) -> Iterator[Any]:
        while True:
            while self._heap and self._heap[0][0] == self._next:
                _, values = heapq.heappop(self._heap)
                self._next += len(values)
                yield from values
            piece = next(self._pieces, None)
            if piece is None:
                return
            heapq.heappush(self._heap, piece)
