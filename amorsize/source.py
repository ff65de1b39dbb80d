"""The user's data as the rest of amorsize sees it: random access by index, or a stream.

Only data whose ``data[i]`` is known to be what the plain loop would meet is indexed; everything
else is iterated from the front, exactly once, as ``[fn(x) for x in data]`` would.
"""

from __future__ import annotations

import math
import operator
import sys
import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain, islice
from typing import Any

from amorsize.errors import InvalidArgument, NotIterable

Span = tuple[int, int]
"""A half-open range ``(start, stop)`` of item positions in the data."""

Piece = tuple[int, list[Any]]
"""Results of consecutive items: index of the first, and the results."""

_SKIP_AT_ONCE = 1024
"""Items read over at once: all of them together might not fit into memory."""
_PAIRING = (zip, map, enumerate)
"""What reads from other iterators, item by item."""
_MOST_PARTS = 100
"""Iterators that are looked at to find out how many items there are."""
_SLICEABLE = (list, tuple, range, str, bytes, bytearray, memoryview)
_VIEWS: tuple[Any, ...] = (type({}.keys()), type({}.values()), type({}.items()))
_SNAPSHOT: tuple[Any, ...] = (set, frozenset, dict, deque, *_VIEWS)


class IndexedSource(ABC):
    """Data with random access; the caller may read it in any order."""

    anywhere: bool = True
    """Whether threads and forked workers may read it as well, at the same time."""
    sizes: Any = None
    """What :func:`amorsize.sizes.sizes_of` knows of its items, once it was asked."""

    def __init__(self, data: Any) -> None:
        self.data = data
        self.length: int = len(data)
        self.digests: dict[int, bytes] = {}
        """Of items that a journal was checked against, as they were then: they may change."""

    @abstractmethod
    def items(self, start: int, stop: int) -> Iterable[Any]:
        """The items at positions ``start`` to ``stop`` (exclusive), in order."""

    def item(self, index: int) -> Any:
        """The item at one position."""
        return next(iter(self.items(index, index + 1)))

    def spans(self, spans: Iterable[Span]) -> list[Any]:
        """The items of several spans as one list."""
        items: list[Any] = []
        for start, stop in spans:
            items.extend(self.items(start, stop))
        return items


class _Sliceable(IndexedSource):
    def items(self, start: int, stop: int) -> Iterable[Any]:
        part: Iterable[Any] = self.data[start:stop]
        return part

    def item(self, index: int) -> Any:
        return self.data[index]


class _Series(IndexedSource):
    """A pandas Series: its iteration yields Python scalars, its indexing numpy ones."""

    def items(self, start: int, stop: int) -> Iterable[Any]:
        part: Iterable[Any] = self.data.iloc[start:stop]
        return part


class _UserSequence(IndexedSource):
    # A file that it reads has one position for all threads, and all processes.
    anywhere = False

    def items(self, start: int, stop: int) -> Iterable[Any]:
        return map(self.data.__getitem__, range(start, stop))

    def item(self, index: int) -> Any:
        return self.data[index]


class StreamSource:
    """Data that can only be read from the front.

    ``length`` is the number of items where the data tells it, else ``None``. An exception of
    the iterator is kept until the items before it have been taken, then raised; Ctrl-C and what
    else is no ``Exception`` is raised at once.
    """

    def __init__(self, data: Iterable[Any]) -> None:
        try:
            self.iterator: Iterator[Any] = iter(data)
        except TypeError as error:
            raise NotIterable(data) from error
        self.length = _length_of(data)
        self.told_length = None if type(data) in _PAIRING else self.length
        """Items as the data itself tells; it may end earlier than what it reads from."""
        self.taken = 0
        """How many items have been read so far."""
        self.exhausted = False
        """Whether the iterator has ended (or failed)."""
        self._failure: Exception | None = None
        self._done: deque[Span] = deque()
        self.on_read: Callable[[int, list[Any]], object] | None = None
        """Called with all items that are read and the position of the first."""
        self.patience_s = math.inf
        """Seconds of reading after which :meth:`take` hands out what it has, at least one item."""

    def skip(self, done: Iterable[Span]) -> None:
        """Read over these items instead of handing them out: they have results already.
        ``done`` is sorted; what has been taken is no part of it any more.
        """
        clipped = ((max(start, self.taken), stop) for start, stop in done)
        self._done = deque((start, stop) for start, stop in clipped if start < stop)
        self._pass_over()

    def look_ahead(self, most: int, patience_s: float) -> None:
        """Read up to ``most`` items, for no more than some seconds, and keep them for
        :meth:`take`: data that ends so soon then has a length.
        """
        if self.length is not None or self.exhausted:
            return
        items: list[Any] = []
        rest, ended = self.iterator, False
        usual_s, self.patience_s = self.patience_s, patience_s
        try:
            ended = self._read_patiently(items, most)
        except Exception as error:
            rest = _raising(error)
        finally:
            self.patience_s = usual_s
        if ended:
            self.length, rest = self.taken + len(items), iter(())
        self.iterator = chain(items, rest)

    @property
    def broken(self) -> bool:
        """Whether the iterator has failed and nobody has been told yet."""
        return self._failure is not None

    def take(self, count: int) -> list[Any]:
        """The next ``count`` items, fewer at the end and before items to skip; raises what the
        iterator raises, after the items before its failure have been handed out.
        """
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        if self._done:
            count = min(count, self._done[0][0] - self.taken)
        items = self._read(count)
        self._pass_over()
        return items

    def _pass_over(self) -> None:
        """Read the items to skip that are next, so that ``taken`` is where the next ones begin."""
        while self._done and self._done[0][0] <= self.taken and self._failure is None:
            stop = self._done[0][1]
            try:
                while self.taken < stop and self._read(min(stop - self.taken, _SKIP_AT_ONCE)):
                    pass
                if self.taken < stop and self._failure is None:
                    raise InvalidArgument(
                        f"the data ended after {self.taken} items, but {stop} have results already"
                    )
            except Exception as error:
                self._failure, self.exhausted = error, True
            else:
                self._done.popleft()

    def _read(self, count: int) -> list[Any]:
        if self.exhausted:
            return []
        items: list[Any] = []
        try:
            if self.patience_s == math.inf:
                items.extend(islice(self.iterator, count))
                self.exhausted = len(items) < count
            else:
                self.exhausted = self._read_patiently(items, count)
        except Exception as error:
            self.exhausted = True
            if not items:
                raise
            self._failure = error
        self.taken += len(items)
        if self.on_read is not None:
            self.on_read(self.taken - len(items), items)
        return items

    def _read_patiently(self, items: list[Any], count: int) -> bool:
        """Read, and look at the clock after each item: many may come at once, and the next ones
        take long. Whether the end came.
        """
        append, clock = items.append, time.perf_counter
        until = clock() + self.patience_s
        for item in islice(self.iterator, count):
            append(item)
            if clock() > until:
                return False
        return len(items) < count


def _raising(error: Exception) -> Iterator[Any]:
    """An iterator that fails as another one has."""
    yield from ()
    raise error


Source = IndexedSource | StreamSource


def source_of(data: Any) -> Source:
    """Wrap the user's data.

    Lists, tuples, ranges, strings, bytes, arrays of numpy, Series of pandas and well-behaved
    ``collections.abc.Sequence`` classes are indexed. Built-in sets, dicts, their views and
    deques are copied into a list first, which costs one pointer an item. Everything else is a
    stream, and so is what has more items than ``len`` can tell.

    Raises:
        NotIterable: if ``data`` is not iterable.
    """
    if isinstance(data, Sequence) and not is_counted(data):
        return StreamSource(data)
    if isinstance(data, _SLICEABLE) and _iterates_as_builtin(data):
        return _Sliceable(data)
    if _is_numpy_array(data):
        return _Sliceable(data)
    if type(data).__module__.partition(".")[0] == "pandas" and type(data).__name__ == "Series":
        return _Series(data)
    if isinstance(data, _SNAPSHOT) and _iterates_as_builtin(data):
        return _Sliceable(list(data))
    if isinstance(data, Sequence) and type(data).__iter__ is Sequence.__iter__:
        return _UserSequence(data)
    return StreamSource(data)


def is_counted(data: Sequence[Any]) -> bool:
    """Whether its length can be told: not that of a huge range, whose items come all the same."""
    try:
        return len(data) >= 0
    except Exception:  # a user's __len__ may raise anything
        return False


def _iterates_as_builtin(data: Any) -> bool:
    """Whether a subclass left iteration and indexing as its built-in base defines them."""
    kind = type(data)
    if isinstance(data, memoryview):
        return data.ndim == 1
    base: Any = next(b for b in (*_SLICEABLE, *_SNAPSHOT) if isinstance(data, b))
    same_items = getattr(kind, "__getitem__", None) is getattr(base, "__getitem__", None)
    return kind.__iter__ is base.__iter__ and same_items and kind.__len__ is base.__len__


def _is_numpy_array(data: Any) -> bool:
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return False
    return type(data) in (numpy.ndarray, numpy.memmap) and data.ndim >= 1


def _length_of(data: Any) -> int | None:
    """The number of items if it can be known without reading any; an honest ``len`` only. That of
    a table is the number of its rows, while iterating over it gives its columns.
    """
    try:
        return len(data.columns if type(data).__name__ == "DataFrame" else data)
    except Exception:  # a user's __len__ may raise anything
        pass
    if type(data) in _PAIRING:
        return _length_of_parts(data)
    if type(data).__module__ == "builtins":  # iterators of lists, ranges
        with suppress(Exception):  # nor are all ranges that they iterate over counted
            hint = operator.length_hint(data, -1)
            return hint if hint >= 0 else None
    return None


def _length_of_parts(data: Any) -> int | None:
    """What is left of the iterator that ends first, if all that ``zip``, ``map`` and ``enumerate``
    read can tell; they give no hint themselves. One may be read several times an item.
    """
    parts, looked_at = [data], 0
    ends, times = dict[int, Any](), Counter[int]()
    while parts:
        part, looked_at = parts.pop(), looked_at + 1
        if looked_at > _MOST_PARTS:
            return None
        if type(part) in _PAIRING:
            _, arguments, *_ = part.__reduce__()
            inner = arguments[1:] if type(part) is map else arguments
            parts += arguments[:1] if type(part) is enumerate else inner
        else:
            ends[id(part)] = part
            times[id(part)] += 1
    least = sys.maxsize if ends else 0
    for number, end in ends.items():
        length = _length_of(end)
        if length is None:
            return None
        least = min(least, length // times[number])
    return least
