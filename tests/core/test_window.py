"""How many chunks are in flight where workers share them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from amorsize.window import chunks_to_share

WORKERS, SIZES = st.integers(1, 200), st.integers(1, 500)


@given(WORKERS, SIZES, st.lists(SIZES, max_size=20))
def test_all_workers_have_an_item_and_another_one(
    workers: int, size: int, flying: list[int]
) -> None:
    room = chunks_to_share(workers, size, flying)
    assert room >= len(flying)
    hands = sum(min(workers, count) for count in [*flying, *[size] * (room - len(flying))])
    assert hands >= 2 * workers
    if room > len(flying):  # no more than it takes
        assert hands - min(workers, size) < 2 * workers


@given(WORKERS, SIZES, st.integers(0, 5))
def test_results_that_wait_for_the_consumer_count(workers: int, size: int, waiting: int) -> None:
    assert chunks_to_share(workers, size, [], waiting) <= chunks_to_share(workers, size, [])
    assert chunks_to_share(workers, workers, [], 2) == 0
