from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from amorsize.schedule import fixed, tapered, whole

counts = st.integers(0, 100_000)
small = st.integers(1, 200)


@given(counts, small, st.integers(1, 5_000), small)
def test_chunks_add_up_and_keep_their_bounds(items: int, low: int, high: int, workers: int) -> None:
    for schedule in (tapered(low, high, workers), fixed(high, workers), whole()):
        sizes = list(schedule.sizes(items))
        assert sum(sizes) == items
        assert all(size >= 1 for size in sizes)
        if schedule.kind == "tapered":
            assert all(size <= max(low, high) for size in sizes)
            assert all(size >= min(low, items) for size in sizes[:-1])


@given(counts, small, st.integers(1, 5_000), small)
def test_shape_counts_what_sizes_lists(items: int, low: int, high: int, workers: int) -> None:
    for schedule in (tapered(low, high, workers), fixed(high, workers), whole()):
        sizes = list(schedule.sizes(items))
        shape = schedule.shape(items)
        assert shape.chunks == len(sizes)
        assert shape.first == (sizes[0] if sizes else 0)


def test_tapering_shrinks_to_the_floor() -> None:
    sizes = list(tapered(5, 10_000, 4).sizes(10_000))
    assert sizes[0] == 1_250
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-2] == 5


def test_unknown_length_gets_moderate_chunks() -> None:
    assert fixed(7, 2).next_size(None) == 7
    assert 10 <= tapered(10, 400, 2).next_size(None) <= 400
