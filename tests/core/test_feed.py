from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amorsize.feed import Feed
from amorsize.schedule import fixed, tapered
from amorsize.source import source_of

spans = st.lists(st.tuples(st.integers(0, 99), st.integers(1, 5)), max_size=6)


def indices(feed: Feed) -> list[int]:
    found: list[int] = []
    while (chunk := feed.next()) is not None:
        assert chunk.count >= 1
        found += chunk.indices()
    return found


@given(spans, st.integers(1, 40), st.booleans())
def test_every_item_that_is_not_done_is_fed_once(
    done: list[tuple[int, int]], size: int, carry: bool
) -> None:
    blocks = [(start, min(100, start + count)) for start, count in done]
    expected = set(range(100)) - {i for start, stop in blocks for i in range(start, stop)}
    source = source_of(list(range(100)))
    feed = Feed(source, blocks, tapered(1, size, 2), item_s=1.0, carry_items=carry)
    assert indices(feed) == sorted(expected)
    assert feed.remaining == 0


@given(st.integers(2, 60), spans)
def test_halves_make_the_whole(size: int, done: list[tuple[int, int]]) -> None:
    blocks = [(start, min(100, start + count)) for start, count in done]
    source = source_of(list(range(100)))
    feed = Feed(source, blocks, fixed(size, 2), item_s=1.0, carry_items=True)
    while (chunk := feed.next()) is not None:
        if chunk.count < 2:
            continue
        halves = feed.split(chunk)
        assert [i for half in halves for i in half.indices()] == list(chunk.indices())
        assert [x for half in halves for x in half.items or []] == chunk.items
        assert all(half.count == len(half.items or []) > 0 for half in halves)


def test_chunks_put_back_come_first_in_their_order() -> None:
    feed = Feed(source_of(range(100)), [], fixed(10, 2), item_s=1.0, carry_items=False)
    first, second = feed.next(), feed.next()
    assert first is not None
    assert second is not None
    feed.put_back([first, second])
    assert feed.next() is first
    assert feed.next() is second
    third = feed.next()
    assert third is not None
    assert third.first_index == 20


def test_chunks_put_back_one_by_one_are_in_the_order_of_the_data() -> None:
    feed = Feed(source_of(iter(range(100))), [], fixed(10, 2), item_s=1.0)
    for chunk in [feed.next() for _ in range(3)]:
        assert chunk is not None
        feed.put_back([chunk])
    assert indices(feed) == list(range(100))


def test_a_long_chunk_put_back_is_taken_item_by_item() -> None:
    data = list(range(1000))
    for source in (source_of(data), source_of(iter(data))):
        feed = Feed(source, [], fixed(700, 2), item_s=1.0)
        chunk = feed.next()
        assert chunk is not None
        feed.put_back([chunk])
        taken: list[int] = []
        while (piece := feed.take(1 + len(taken) % 3))[1]:
            assert piece[0] == len(taken)
            taken += piece[2]
        assert taken == data


@pytest.mark.parametrize("data", [list(range(10)), iter(range(10))])
def test_of_a_chunk_put_back_no_more_is_taken_than_is_asked_for(data: Any) -> None:
    feed = Feed(source_of(data), [], fixed(8, 2), item_s=1.0)
    chunk = feed.next()
    assert chunk is not None
    feed.put_back([chunk])
    taken = []
    while (piece := feed.take(3))[1]:
        start, count, items = piece
        assert count <= 3
        taken += [(start, count, list(items))]
    assert taken == [(0, 3, [0, 1, 2]), (3, 3, [3, 4, 5]), (6, 2, [6, 7]), (8, 2, [8, 9])]


def test_a_cut_ends_the_data_at_the_failing_item() -> None:
    feed = Feed(source_of(range(100)), [], fixed(10, 2), item_s=1.0, carry_items=False)
    late = feed.next()
    assert late is not None
    feed.cut(35)
    assert indices(feed) == list(range(10, 35))
    feed.put_back([late])
    feed.cut(0)
    assert feed.next() is None


def test_chunks_of_a_stream_that_may_end_soon_grow_with_what_there_was() -> None:
    numbers = (number for number in range(1_000))
    feed = Feed(source_of(numbers), [], tapered(50, 4_000, 2), item_s=1.0, carry_items=True)
    feed.may_end_soon = True
    sizes = [feed.take(100)[1]]
    while (chunk := feed.next()) is not None:
        sizes.append(chunk.count)
    assert sizes[:5] == [100, 25, 31, 39, 48]
    assert sum(sizes) == 1_000


def test_chunks_of_a_wished_size_keep_it() -> None:
    feed = Feed(source_of(number for number in range(1_000)), [], fixed(100, 2), item_s=1.0)
    feed.may_end_soon = True
    sizes = []
    while (chunk := feed.next()) is not None:
        sizes.append(chunk.count)
    assert sizes == [100] * 10


def test_what_is_left_of_a_stream_is_what_was_put_back_and_what_was_not_read() -> None:
    feed = Feed(source_of(iter(range(100))), [], fixed(10, 2), item_s=1.0)
    chunk = feed.next()
    assert chunk is not None
    assert feed.remaining == 90
    feed.put_back([chunk])
    assert feed.remaining == 100
    feed = Feed(source_of(number for number in range(100)), [], fixed(10, 2), item_s=1.0)
    chunk = feed.next()
    assert chunk is not None
    feed.put_back([chunk])
    assert feed.remaining is None


def test_what_is_left_is_cut_anew_once_items_prove_to_take_longer() -> None:
    feed = Feed(source_of(range(1_000)), [], tapered(10, 100, 2), item_s=0.001)
    assert feed.observe(0.0011, 1, 1.25) is None
    assert feed.observe(0.004, 1, 1.25) == 0.001  # of chunks that are uneven, the mean of the last
    assert feed.item_s == pytest.approx(0.002525)
    assert feed.schedule.largest == 40
    feed.plan(tapered(10, 100, 2), 0.001, carry_items=False)
    assert feed.observe(0.0011, 1, 1.25) is None  # on other workers it begins anew


def test_streams_are_fed_in_order_with_their_items() -> None:
    feed = Feed(source_of(x * 2 for x in range(25)), [], fixed(10, 2), item_s=1.0, carry_items=True)
    chunks = []
    while (chunk := feed.next()) is not None:
        chunks.append((chunk.spans, chunk.items))
    assert chunks == [
        (((0, 10),), list(range(0, 20, 2))),
        (((10, 20),), list(range(20, 40, 2))),
        (((20, 25),), list(range(40, 50, 2))),
    ]


@given(spans, st.lists(st.integers(0, 99), max_size=30))
def test_single_items_from_anywhere_are_fed_once(
    done: list[tuple[int, int]], places: list[int]
) -> None:
    blocks = [(start, min(100, start + count)) for start, count in done]
    expected = set(range(100)) - {i for start, stop in blocks for i in range(start, stop)}
    feed = Feed(source_of(list(range(100))), blocks, fixed(7, 2), item_s=1.0)
    found: list[int] = []
    for place in places:
        if (chunk := feed.from_all_over([place])) is not None:
            assert chunk.count == 1
            assert chunk.items == list(chunk.indices())
            found += chunk.indices()
    assert sorted([*found, *indices(feed)]) == sorted(expected)


def test_stretches_from_all_over_are_one_chunk_in_order() -> None:
    feed = Feed(source_of(range(100)), [(40, 60)], fixed(10, 2))
    chunk = feed.from_all_over([90, 45, 0], 5)
    assert chunk is not None
    assert chunk.spans == ((0, 5), (60, 65), (90, 95))
    assert chunk.items == [*range(5), *range(60, 65), *range(90, 95)]
    rest = [index for left in iter(feed.next, None) for index in left.indices()]
    assert sorted(rest) == sorted(set(range(100)) - set(range(40, 60)) - set(chunk.items))


@given(spans, st.lists(st.integers(0, 99), max_size=8, unique=True), st.integers(1, 40))
def test_giants_go_ahead_by_themselves_and_everything_once(
    done: list[tuple[int, int]], wanted: list[int], size: int
) -> None:
    blocks = [(start, min(100, start + count)) for start, count in done]
    left = set(range(100)) - {i for start, stop in blocks for i in range(start, stop)}
    feed = Feed(source_of(list(range(100))), blocks, tapered(1, size, 2), item_s=1.0)
    feed.giants = wanted[::-1]
    ahead = [place for place in wanted if place in left]
    first = [feed.next() for _ in ahead]
    assert [list(chunk.indices()) for chunk in first if chunk] == [[place] for place in ahead]
    assert {chunk.number for chunk in first if chunk} == feed.apart
    assert indices(feed) == sorted(left - set(ahead))
