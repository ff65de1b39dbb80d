"""How large the items of a list are, as far as that can be seen from outside: numbers by their
value, containers by their length, arrays by their bytes, paths by the size of their file, tuples
by each of their parts.

If what the sampled items took follows their size, the sizes of the others tell what those will
take. No user code runs for it: only items of built-in types, arrays of numpy and paths are looked
at, and only in a list, a tuple or an array, where reading them has no effect.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from typing import Any, NamedTuple

from amorsize.relation import LEAST, Relation, relation
from amorsize.source import IndexedSource, Source, Span

ALL, LOOKED_AT = 2000, 1000
"""Most items of which all are looked at, and how many of more, all over the data."""
_ORDERED = 250
"""Items that are put in order: a sample has fewer."""
_BUDGET_S = 0.002
"""Seconds that looking at one kind of size may take: files may be far away."""
_FEW = 30
"""Items of a block, and of data where each takes long, whose sizes tell about all of them."""
_GOLDEN = 0.6180339887498949
_PARTS = 8
"""Longest tuples whose parts are looked at."""
_NUMBERS = frozenset({int, float})
_CONTAINERS = frozenset({str, bytes, bytearray, list, tuple, dict, set, frozenset})
_VALUE = "value"

Measure = Callable[[Any], float]


class Sized(NamedTuple):
    """What sizes tell about the seconds of all items."""

    what: str
    """The size that seconds follow."""
    relation: Relation
    """Which seconds a size stands for."""
    points: int
    """Sampled blocks that it was found in."""
    mean_s: float
    """Mean seconds of the items that were not sampled."""
    expected: tuple[float, ...]
    """Seconds of items all over the data, in their order."""
    first_s: float
    """Seconds that the first item should take."""

    @property
    def spread_s(self) -> float:
        """Standard deviation of the times around what sizes say, in seconds."""
        return self.relation.spread_s


class _Kind(NamedTuple):
    """One kind of size, and that of items all over the data."""

    what: str
    measure: Measure
    places: Sequence[int]
    sizes: list[float]

    @property
    def proper(self) -> bool:
        """Whether it is how much there is of something: a number may be a name."""
        return not self.what.startswith(_VALUE)

    @property
    def width(self) -> tuple[bool, float]:
        """How well it orders items: proper sizes first, then those that differ most."""
        total = math.fsum(map(abs, self.sizes))
        return self.proper, (max(self.sizes) - min(self.sizes)) / total * len(self.sizes)


class Sizes:
    """Sizes of the items of one list, read when they are asked for."""

    def __init__(self, data: Sequence[Any]) -> None:
        self._data = data

    def order(self) -> list[int] | None:
        """Positions of items all over the data, small ones first; ``None`` if all are equal as far
        as can be seen.
        """
        if not self._kinds:
            return None
        kind = max(self._kinds, key=lambda kind: kind.width)
        some = range(0, len(kind.sizes), -(-len(kind.sizes) // _ORDERED))
        return [kind.places[n] for n in sorted(some, key=kind.sizes.__getitem__)]

    def giants(self, middles: float, usuals: float, most: int) -> list[int]:
        """Positions of up to ``most`` items that are at least ``middles`` times as large as the
        middle one, and ``usuals`` times as large as all others on average; the largest first.
        """
        if not self._kinds:
            return []
        kind = max(self._kinds, key=lambda kind: kind.width)
        order = sorted(range(len(kind.sizes)), key=kind.sizes.__getitem__, reverse=True)
        middle = kind.sizes[order[len(order) // 2]]
        # Where most items are next to nothing, those in the middle are not what takes the time.
        others = [kind.sizes[n] for n in order[most:]]
        usual = max(middle, math.fsum(others) / max(1, len(others)))
        least = max(middles * middle, usuals * usual) if usual > 0 else math.inf
        return [kind.places[n] for n in order[:most] if kind.sizes[n] >= least]

    def follow(self, blocks: Sequence[tuple[Span, float]]) -> Sized | None:
        """The size that the seconds per item of the sampled blocks follow best; ``None`` if they
        follow none.
        """
        if len(blocks) < LEAST:
            return None
        best: Sized | None = None
        for kind in self._kinds:
            try:
                told = self._told(kind, blocks)
            except Exception:  # sizes beyond all bounds; a sampled item of another type
                continue
            if told is not None and (best is None or told.spread_s < best.spread_s):
                best = told
        return best

    def _told(self, kind: _Kind, blocks: Sequence[tuple[Span, float]]) -> Sized | None:
        points = [self._block_size(kind.measure, span) for span, _ in blocks]
        found = relation(points, [seconds for _, seconds in blocks], likely=kind.proper)
        if found is None:
            return None
        expected = tuple(found.all_at(kind.sizes))
        mean_s = math.fsum(expected) / len(expected)
        if len(expected) == len(self._data):
            mean_s = _mean_of_others(expected, [span for span, _ in blocks])
        first_s = found.at(kind.measure(self._data[0]))
        return Sized(kind.what, found, len(blocks), mean_s, expected, first_s)

    @cached_property
    def _kinds(self) -> list[_Kind]:
        places = _places(len(self._data))
        items = self._data if len(places) == len(self._data) else [self._data[n] for n in places]
        kinds = []
        for what, measure, sizes in _measures(items):
            if sizes is not None and max(sizes) > min(sizes):
                step = -(-len(places) // len(sizes))
                kinds.append(_Kind(what, measure, places[::step], sizes))
        return kinds

    def _block_size(self, measure: Measure, span: Span) -> float:
        """Mean size of a block's items."""
        start, stop = span
        step = max(1, (stop - start) // _FEW)
        sizes = [measure(self._data[place]) for place in range(start, stop, step)]
        return math.fsum(sizes) / len(sizes)


def sizes_of(source: Source) -> Sizes | None:
    """Sizes of the items of a list, tuple or array of numbers; ``None`` for other data. The sample
    and the run look at them once.
    """
    if not isinstance(source, IndexedSource) or not source.length:
        return None
    data = source.data
    plain = type(data) in (list, tuple) or (_is_numpy(type(data)) and data.dtype.kind in "iuf")
    if plain and source.sizes is None:
        source.sizes = Sizes(data)
    found: Sizes | None = source.sizes
    return found


def _places(length: int) -> Sequence[int]:
    """Positions all over the data, not at equal distances: data may repeat itself."""
    if length <= ALL:
        return range(length)
    step = length / LOOKED_AT
    return [int(step * (n + n * _GOLDEN % 1.0)) for n in range(LOOKED_AT)]


def _mean_of_others(expected: Sequence[float], sampled: Sequence[Span]) -> float:
    """Mean of all but the sampled ones."""
    total, count = math.fsum(expected), len(expected)
    for start, stop in sampled:
        total -= math.fsum(expected[start:stop])
        count -= stop - start
    return max(0.0, total) / count if count > 0 else math.fsum(expected) / len(expected)


def _applied(measure: Measure, items: Sequence[Any]) -> list[float] | None:
    """Sizes of every so many-th item, as many as there is time for; ``None`` if one has none."""
    step, sizes = 1, list[float]()
    try:
        begin = time.perf_counter()
        sizes = list(map(measure, items[:_FEW]))
        each_s = (time.perf_counter() - begin) / max(1, len(sizes))
        step = max(1, math.ceil(len(items) * each_s / _BUDGET_S))
        if step > 1 and len(items) // step < _FEW:
            return None
        sizes = list(map(measure, items[::step]))
    except Exception:  # a number too large, a file that is not there, an item of another type
        return None
    return sizes if all(map(math.isfinite, sizes)) else None


def _measures(items: Sequence[Any]) -> Iterator[tuple[str, Measure, list[float] | None]]:
    """Ways to tell the size of items of one kind, and their sizes; of tuples those of their
    parts.
    """
    lengths = set(map(len, items)) if set(map(type, items)) == {tuple} else set()
    if len(lengths) != 1:
        for what, measure in _of_one_kind(items):
            yield what, measure, _applied(measure, items)
        return
    for part in range(min(_PARTS, lengths.pop())):
        parts = [item[part] for item in items]
        for what, measure in _of_one_kind(parts):
            yield (
                f"{what} of part {part}",
                partial(_of_part, measure, part),
                _applied(measure, parts),
            )


def _of_part(measure: Measure, part: int, item: Any) -> float:
    return measure(item[part])


def _of_one_kind(items: Sequence[Any]) -> Iterator[tuple[str, Measure]]:
    kinds = set(map(type, items))
    if kinds <= _NUMBERS or all(_is_numpy(kind) and kind.__name__ != "ndarray" for kind in kinds):
        yield _VALUE, float
    elif all(_is_numpy(kind) for kind in kinds):
        yield "bytes", _nbytes
    elif kinds <= _CONTAINERS:
        yield "length", len
        if kinds == {str} and os.sep in items[0] and os.path.isfile(items[0]):
            yield "file size", os.path.getsize
    elif all(kind.__module__.partition(".")[0] == "pathlib" for kind in kinds):
        yield "file size", os.path.getsize


def _is_numpy(kind: type) -> bool:
    return kind.__module__ == "numpy"


def _nbytes(array: Any) -> float:
    return float(array.nbytes)
