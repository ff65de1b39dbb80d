"""Hands out what is left to run as chunks: spans around sampled items, or items of a stream."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from amorsize.backend import Chunk
from amorsize.schedule import Schedule, whole
from amorsize.source import IndexedSource, Source, Span, StreamSource

_LESS = 5
"""By how many times chunks may then be smaller than those whose dispatch costs next to nothing."""

_TAKEN_FROM = 256
"""Items into which a chunk is cut from which fewer are taken at a time."""


class Feed:
    """The queue of items that no chunk holds yet.

    Args:
        source: the data.
        done: spans that have results already.
        schedule: how many items each chunk gets.
        item_s: predicted seconds per item, for the chunks' ``expected_s``.
        carry_items: whether chunks hold their items; otherwise workers read the source.
        stop_on_error: whether a chunk ends at its first failing item.
    """

    def __init__(
        self,
        source: Source,
        done: Iterable[Span],
        schedule: Schedule | None = None,
        *,
        item_s: float = 0.0,
        carry_items: bool = True,
        stop_on_error: bool = True,
    ) -> None:
        self._source, self._stop = source, stop_on_error
        self.schedule, self.item_s, self._carry = schedule or whole(), item_s, carry_items
        self._gaps = deque(_gaps(source, done))
        self._again: deque[Chunk] = deque()
        self._number = 0
        self._end: int | None = None
        self._seen_s = 0.0
        """Seconds that items have taken lately; 0 before the first chunk is back."""
        self.singles = 0
        """Items of indexed data that are the first chunks, each by itself."""
        self.giants: list[int] = []
        """Positions of items of indexed data that are handed out before all others, each by
        itself; the first one last."""
        self.apart: set[int] = set()
        """Numbers of the chunks that hold those: what they take tells nothing of the others."""
        self.may_end_soon = False
        """Whether chunks of data of unknown length are cut as if little more were left than there
        was so far."""
        self.cancelled = False
        """Whether nobody wants what is left; set from any thread, looked at by the run's."""

    def _loaded(self, chunk: Chunk) -> Chunk:
        """A chunk put back by a session whose workers read the source, for one whose do not."""
        if self._carry and chunk.items is None:
            assert isinstance(self._source, IndexedSource)
            return self._chunk(chunk.spans, self._source.spans(chunk.spans))
        return chunk

    @property
    def singles_left(self) -> int:
        """How many of those are to come."""
        return max(0, self.singles - self._number)

    def plan(self, schedule: Schedule, item_s: float, *, carry_items: bool) -> None:
        """Cut what is left by another schedule, for other workers."""
        self.schedule, self.item_s, self._carry = schedule, item_s, carry_items
        self._seen_s = 0.0

    def observe(self, seen_s: float, lanes: int, most: float) -> float | None:
        """An item of a chunk took ``seen_s`` seconds. Cut what is left anew if the mean of about
        the last chunk of each of ``lanes`` workers, as single ones are uneven by chance, is more
        than ``most`` times as long as expected or as short; then the seconds expected before.
        """
        if self.item_s <= 0:
            return None
        believed = self._seen_s or self.item_s
        self._seen_s = believed = believed + (seen_s - believed) / (1 + lanes)
        if 1 / most < believed / self.item_s < most:
            return None
        before = self.item_s
        self.rescale(believed)
        return before

    def rescale(self, item_s: float) -> None:
        """Items prove to take ``item_s`` seconds: keep the chunks' seconds, change their items."""
        if self.item_s > 0:
            self.schedule = self.schedule.scaled(self.item_s / item_s)
        self.item_s = item_s

    @property
    def is_indexed(self) -> bool:
        """Whether the data has random access."""
        return isinstance(self._source, IndexedSource)

    def next(self) -> Chunk | None:
        """The next chunk, ``None`` if nothing is left or wanted. Chunks put back come first.

        Raises whatever the data raises when it is read.
        """
        if self.cancelled:  # reading on might take for ever
            return None
        if self._again:
            return self._loaded(self._again.popleft())
        if isinstance(self._source, StreamSource):
            return self._next_of_stream(self._source)
        if self.giants and (giant := self._giant()) is not None:
            return giant
        size = 1 if self.singles_left else self.schedule.next_size(self._left())
        spans = self._cut_spans(size)
        if not spans:
            return None
        items = self._source.spans(spans) if self._carry else None
        return self._chunk(tuple(spans), items)

    def _giant(self) -> Chunk | None:
        """The next of the giants that no chunk has held yet."""
        while self.giants:
            at = self.giants.pop()
            if any(start <= at < stop for start, stop in self._gaps):
                giant = self.from_all_over([at])
                assert giant is not None
                self.apart.add(giant.number)
                return giant
        return None

    def from_all_over(self, indices: Iterable[int], each: int = 1) -> Chunk | None:
        """A chunk of stretches of indexed data: for each of some positions the items there, or the
        next that no chunk has held yet, ``each`` of them at most.
        """
        if self._again or not isinstance(self._source, IndexedSource):
            return self.next()
        spans = tuple(sorted(filter(None, [self._cut_at(index, each) for index in indices])))
        if not spans:
            return None
        return self._chunk(spans, self._source.spans(spans) if self._carry else None)

    def _cut_at(self, index: int, most: int) -> Span | None:
        place = next((n for n, (_, stop) in enumerate(self._gaps) if index < stop), 0)
        if not self._gaps:
            return None
        start, stop = self._gaps[place]
        at = index if start <= index < stop else start
        end = min(stop, at + most)
        del self._gaps[place]
        for gap in ((end, stop), (start, at)):
            if gap[0] < gap[1]:
                self._gaps.insert(place, gap)
        return at, end

    @property
    def remaining(self) -> int | None:
        """Items that no chunk has held yet, ``None`` if unknown."""
        again = sum(chunk.count for chunk in self._again)
        if not isinstance(self._source, StreamSource):
            return again + self._left()
        if self._source.exhausted or self._end is not None:
            return again or (1 if self._source.broken and self._end is None else 0)
        if self._source.length is None:
            return None
        return again + max(1, self._source.length - self._source.taken)

    def take(self, count: int) -> tuple[int, int, Iterable[Any]]:
        """Up to ``count`` consecutive items for running in the caller: index of the first,
        their number (0 at the end), and the items.
        """
        if self._again:
            return self._take_again(count)
        if isinstance(self._source, StreamSource):
            start = self._source.taken
            taken = [] if self._end is not None else self._source.take(count)
            return start, len(taken), taken
        if not self._gaps:
            return 0, 0, ()
        ((start, stop),) = self._cut_spans(min(count, _length(self._gaps[0])))
        return start, stop - start, self._read(start, stop)

    def _take_again(self, count: int) -> tuple[int, int, Iterable[Any]]:
        """The same of the chunks put back."""
        chunk = self._again.popleft()
        if count < _TAKEN_FROM < chunk.count:  # each time all that is left of a chunk is copied
            chunk, *others = self.split(chunk, -(-chunk.count // _TAKEN_FROM))
            self._again.extendleft(reversed(others))
        left, right = _split_spans(chunk.spans, min(count, _length(chunk.spans[0])))
        if right:
            rest = None if chunk.items is None else chunk.items[_length(left[0]) :]
            self._again.appendleft(self._chunk(right, rest))
        start, stop = left[0]
        items = self._read(start, stop) if chunk.items is None else chunk.items[: stop - start]
        return start, stop - start, items

    def _read(self, start: int, stop: int) -> Iterable[Any]:
        assert isinstance(self._source, IndexedSource)
        return self._source.items(start, stop)

    def put_back(self, chunks: Iterable[Chunk]) -> None:
        """Queue chunks again, ahead of all others; those put back are in the order of the data."""
        kept = [chunk for chunk in chunks if not self._is_cut(chunk)]
        self._again = deque(sorted([*kept, *self._again], key=lambda chunk: chunk.first_index))

    def put_back_around(self, chunk: Chunk, at: int) -> Chunk:
        """Queue what is before and behind one position of a chunk again; the item there as a chunk
        of its own is returned.
        """
        bounds = (0, at), (at, at + 1), (at + 1, chunk.count)
        before, alone, after = (self.part(chunk, start, stop) for start, stop in bounds)
        self.put_back(part for part in (before, after) if part is not None)
        assert alone is not None
        return alone

    def split(self, chunk: Chunk, parts: int = 2) -> list[Chunk]:
        """A chunk cut into parts of about equal size, no more than it has items."""
        size = -(-chunk.count // max(1, parts))
        cut = [self.part(chunk, start, start + size) for start in range(0, chunk.count, size)]
        return [part for part in cut if part is not None]

    def part(self, chunk: Chunk, start: int, stop: int) -> Chunk | None:
        """The items at positions ``start`` to ``stop`` (exclusive) of a chunk; ``None`` if that
        is none.
        """
        _, rest = _split_spans(chunk.spans, start)
        spans, _ = _split_spans(rest, stop - start)
        if not spans:
            return None
        return self._chunk(spans, None if chunk.items is None else chunk.items[start:stop])

    def _left(self) -> int:
        return sum(_length(gap) for gap in self._gaps)

    def give_up(self) -> Iterator[Span]:
        """Take all that is left as spans that nobody will run. A stream's unread items are no
        part of them.
        """
        for chunk in self._again:
            yield from chunk.spans
        yield from self._gaps
        self.cut(0)

    def cut(self, index: int) -> None:
        """Forget all items from ``index`` on: an earlier item has decided the outcome."""
        self._end = index if self._end is None else min(index, self._end)
        kept = [(start, min(stop, self._end)) for start, stop in self._gaps if start < self._end]
        self._gaps = deque(kept)
        self._again = deque(chunk for chunk in self._again if not self._is_cut(chunk))

    def _is_cut(self, chunk: Chunk) -> bool:
        return self._end is not None and chunk.first_index >= self._end

    def _next_of_stream(self, source: StreamSource) -> Chunk | None:
        if self._end is not None:
            return None
        start = source.taken
        remaining = self.remaining
        size = self.schedule.next_size(remaining)
        if remaining is None and self.may_end_soon and self.schedule.kind == "tapered":
            # What workers get last is a part of the whole.
            least, share = self.schedule.smallest // _LESS, start // (2 * self.schedule.workers)
            size = min(size, max(1, least, share))
        items = source.take(size)
        if not items:
            return None
        return self._chunk(((start, start + len(items)),), items)

    def _chunk(self, spans: tuple[Span, ...], items: list[Any] | None) -> Chunk:
        chunk = Chunk(self._number, spans, items, 0.0, self._stop)
        chunk.expected_s = chunk.count * self.item_s
        self._number += 1
        return chunk

    def _cut_spans(self, size: int) -> list[Span]:
        spans: list[Span] = []
        while size > 0 and self._gaps:
            start, stop = self._gaps.popleft()
            end = min(stop, start + size)
            spans.append((start, end))
            size -= end - start
            if end < stop:
                self._gaps.appendleft((end, stop))
        return spans


def _gaps(source: Source, done: Iterable[Span]) -> list[Span]:
    """The spans of indexed data that are not done."""
    if not isinstance(source, IndexedSource):
        return []
    gaps, position = [], 0
    for start, stop in sorted(done):
        if start > position:
            gaps.append((position, start))
        position = max(position, stop)
    if position < source.length:
        gaps.append((position, source.length))
    return gaps


def _length(span: Span) -> int:
    return span[1] - span[0]


def _split_spans(spans: Sequence[Span], count: int) -> tuple[tuple[Span, ...], tuple[Span, ...]]:
    """The first ``count`` items of ``spans``, and the others."""
    left: list[Span] = []
    right: list[Span] = []
    for start, stop in spans:
        end = min(stop, start + max(0, count))
        if end > start:
            left.append((start, end))
        if stop > end:
            right.append((end, stop))
        count -= end - start
    return tuple(left), tuple(right)
