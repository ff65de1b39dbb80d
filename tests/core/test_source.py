from __future__ import annotations

import itertools
import os
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import amorsize
from amorsize.errors import NotIterable
from amorsize.source import IndexedSource, StreamSource, source_of


class Countdown(Sequence[int]):
    """A well-behaved sequence of a user."""

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < 5:
            raise IndexError(index)
        return 10 - index


class LinesOfAFile(Sequence[int]):
    """Lines by number: threads, and processes that were forked, share the file's position."""

    def __init__(self, path: Path, count: int) -> None:
        path.write_bytes(b"".join(b"%08d\n" % number for number in range(count)))
        self._file, self._count = path.open("rb"), count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < self._count:
            raise IndexError(index)
        self._file.seek(9 * index)
        time.sleep(0)
        return int(self._file.read(9)), os.getpid(), threading.get_ident()

    def close(self) -> None:
        self._file.close()


def echo(item: Any) -> Any:
    return item


@pytest.mark.parametrize("backend", ["threads", "multiprocessing", "serial"])
@pytest.mark.parametrize(
    "wishes", [{}, {"seed": amorsize.Seed(1, global_state=False)}], ids=["", "seed"]
)
def test_what_a_users_sequence_reads_is_read_in_the_caller(
    tmp_path: Path, backend: str, wishes: dict[str, Any]
) -> None:
    lines, here = LinesOfAFile(tmp_path / "lines", 500), (os.getpid(), threading.get_ident())
    try:
        made = amorsize.plan(echo, lines, backend=backend, **wishes)
        assert made.run() == [(number, *here) for number in range(500)]
    finally:
        lines.close()


def test_a_table_has_as_many_items_as_columns() -> None:
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"a": range(1000), "b": range(1000)})
    assert source_of(table).length == 2
    assert amorsize.map(len, table) == [1, 1]


class OwnIteration(list[int]):
    """A list that iterates differently than it indexes: only the loop's view counts."""

    def __iter__(self) -> Iterator[int]:
        return (x + 100 for x in super().__iter__())


@pytest.mark.parametrize(
    "data", [[1, 2], (1, 2), range(9), "text", b"bytes", {1, 2}, {1: 2}, deque([1]), Countdown()]
)
def test_indexed_data_reads_like_its_iteration(data: Any) -> None:
    source = source_of(data)
    assert isinstance(source, IndexedSource)
    expected = list(data)
    assert source.length == len(expected)
    assert list(source.items(0, source.length)) == expected
    assert [source.item(i) for i in range(source.length)] == expected


@pytest.mark.parametrize(
    "data", [iter([1, 2]), (x for x in "ab"), OwnIteration([1, 2]), map(abs, [1])]
)
def test_everything_else_is_a_stream(data: Any) -> None:
    assert isinstance(source_of(data), StreamSource)


class Countless(Countdown):
    """More items than ``len`` can tell."""

    def __len__(self) -> int:
        return 10**20


@pytest.mark.parametrize("data", [range(10**20), Countless()])
@pytest.mark.parametrize("backend", ["auto", "serial", "threads", "multiprocessing"])
def test_data_that_cannot_be_counted_is_a_stream(data: Any, backend: str) -> None:
    assert isinstance(source_of(data), StreamSource)
    first = list(itertools.islice(iter(data), 5))
    with amorsize.imap(int, data, backend=backend, workers=2) as results:
        assert list(itertools.islice(results, 5)) == first


def test_a_map_of_a_range_that_cannot_be_counted_ends_as_the_loop_does() -> None:
    def fails(x: int) -> int:
        if x == 100:
            raise KeyError(x)
        return x

    with pytest.raises(KeyError):
        amorsize.map(fails, range(10**20))


def test_own_iteration_wins() -> None:
    source = source_of(OwnIteration([1, 2]))
    assert isinstance(source, StreamSource)
    assert source.take(9) == [101, 102]


def test_what_is_not_iterable_is_refused() -> None:
    with pytest.raises(NotIterable, match="int"):
        source_of(7)


@given(st.lists(st.integers(1, 7)), st.integers(0, 30))
def test_streams_lose_nothing(takes: list[int], length: int) -> None:
    source = StreamSource(x for x in range(length))
    taken = list(itertools.chain.from_iterable(source.take(count) for count in takes))
    rest = source.take(100)
    assert taken + rest == list(range(length))
    assert source.exhausted


def test_a_failing_iterator_hands_out_what_came_before() -> None:
    def data() -> Iterator[int]:
        yield 1
        yield 2
        raise OSError("gone")

    source = StreamSource(data())
    assert source.take(10) == [1, 2]
    with pytest.raises(OSError, match="gone"):
        source.take(10)
    assert source.take(10) == []


def test_items_that_come_slowly_after_many_at_once_are_not_waited_for() -> None:
    def data() -> Iterator[int]:
        yield from range(100)
        for item in range(100, 1000):
            time.sleep(0.03)
            yield item

    source = StreamSource(data())
    source.patience_s = 0.02
    while source.taken < 100:
        source.take(1000)
    assert source.taken <= 101
    assert len(source.take(1000)) == 1


@given(st.integers(0, 40), st.integers(1, 60), st.integers(1, 9), st.booleans())
def test_looking_ahead_loses_nothing_and_finds_the_end(
    length: int, most: int, take: int, fails: bool
) -> None:
    def items() -> Iterator[int]:
        yield from range(length)
        if fails:
            raise KeyError("data")

    source = StreamSource(items())
    source.look_ahead(most, 60.0)
    assert source.length == (length if most > length and not fails else None)
    assert source.taken == 0
    seen: list[int] = []
    failure = None
    while (failure is None and not source.exhausted) or source.broken:
        try:
            seen += source.take(take)
        except KeyError as error:
            failure = error
    assert seen == list(range(length))
    assert (failure is not None) == fails


def test_length_is_known_where_data_tells() -> None:
    assert source_of(iter([1, 2, 3])).length == 3
    assert source_of(x for x in [1]).length is None


def halves(numbers: Iterator[int]) -> Iterator[tuple[int, int]]:
    return zip(numbers, numbers, strict=False)


def beside_text(numbers: Iterator[int]) -> Iterator[tuple[int, str]]:
    return zip(numbers, map(str, numbers), strict=False)


@pytest.mark.parametrize(
    "data",
    [
        lambda: zip([1, 2, 3], "abcd", strict=False),
        lambda: zip(range(3), strict=True),
        zip,
        lambda: zip([], [1], strict=False),
        lambda: enumerate([1, 2, 3], 7),
        lambda: map(divmod, [1, 2, 3], (4, 5)),
        lambda: enumerate(zip(range(5), reversed([1, 2]), strict=False)),
        lambda: halves(iter(range(7))),
        lambda: beside_text(iter(range(7))),
    ],
)
def test_what_pairs_or_counts_the_items_of_others_is_as_long_as_they_tell(data: Any) -> None:
    assert source_of(data()).length == len(list(data()))


class Uncounted:
    """Can be iterated over, but not counted."""

    def __len__(self) -> int:
        raise RuntimeError("no length")

    def __getitem__(self, index: int) -> int:
        if index == 3:
            raise IndexError
        return index


def uncounted() -> Any:
    return Uncounted()


def nested(times: int) -> Any:
    data: Any = range(3)
    for _ in range(times):
        data = map(abs, data)
    return data


def doubled(times: int) -> Any:
    data: Any = iter(range(2**10))
    for _ in range(times):
        data = zip(data, data, strict=False)
    return data


@pytest.mark.parametrize(
    "data",
    [
        lambda: zip(range(10**20), [1, 2, 3], strict=False),
        lambda: enumerate(uncounted()),
        lambda: map(str, uncounted()),
        lambda: nested(600),
        lambda: doubled(40),
    ],
)
def test_asking_for_a_length_never_fails(data: Any) -> None:
    source = source_of(data())
    assert source.length is None
    assert isinstance(source, StreamSource)
    assert source.take(5000) == list(data())


@pytest.mark.parametrize("other", [(x for x in [1]), itertools.count()])
def test_what_reads_data_of_unknown_length_has_none(other: Any) -> None:
    assert source_of(zip([1, 2, 3], other, strict=False)).length is None
    assert source_of(enumerate(other)).length is None


def test_an_iterator_that_ends_earlier_than_it_tells_loses_nothing() -> None:
    def stops(number: int) -> int:
        if number == 600:
            raise StopIteration  # which ends ``map``
        return number

    for backend in ("auto", "serial", "threads", "multiprocessing"):
        found = amorsize.map(slowly, map(stops, range(900)), backend=backend)
        assert found == list(range(600))


def slowly(number: int) -> int:
    time.sleep(0.0001)
    return number


def test_pandas_series_yields_what_its_loop_yields() -> None:
    pandas = pytest.importorskip("pandas")
    series = pandas.Series([3, 1, 2], index=[9, 8, 7])
    source = source_of(series)
    assert isinstance(source, IndexedSource)
    assert [type(source.item(i)) for i in range(3)] == [type(x) for x in series]
    assert list(source.items(0, 3)) == list(series)
