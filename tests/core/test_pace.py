"""What the first items of a run tell of bytes on their way."""

from __future__ import annotations

import pytest

from amorsize.backend import process_pool_fallback
from amorsize.costs import BYTES, Figure
from amorsize.pace import Arrival, Pace, believed, pace_of
from amorsize.profile import Packing
from tests.core.test_model import profile

ARRAYS = profile(item_s=0.001)._replace(inputs=Packing(4_000_000, buffer_bytes=4_000_000))
COSTS = process_pool_fallback()._replace(
    dispatch_s=Figure(0.0005, "measured"), byte_in_s=Figure(3e-9, "measured")
)


@pytest.mark.parametrize("times", [[0, 0, 6, 6, 12, 12], [0, 3, 6, 9, 12, 15], [50, 51, 54, 57]])
def test_the_pace_is_that_of_workers_which_are_ready(times: list[float]) -> None:
    assert pace_of([Arrival(at, 1) for at in times], 2) == (3, 1)
    blocks = pace_of([Arrival(at, 30) for at in times], 2)
    assert blocks is not None
    assert blocks.item_s == pytest.approx(0.1)
    assert blocks.chunk_items == 30


def test_few_arrivals_tell_no_pace() -> None:
    assert pace_of([Arrival(0, 1), Arrival(1, 1), Arrival(2, 1)], 2) is None
    assert believed(COSTS, ARRAYS, None) == COSTS


def test_bytes_take_no_longer_than_items_are_apart() -> None:
    """4 MB are said to take 12 ms, but come each 3.5 ms: beyond dispatching them that is 3 ms."""
    seen = believed(COSTS, ARRAYS, Pace(0.0035, 1))
    assert seen.byte_in_s.value == pytest.approx(3e-9 / 4)
    assert seen.byte_in_s.origin == "observed"
    assert {name for name in seen.figures() if seen.figures()[name] != COSTS.figures()[name]} <= {
        *BYTES
    }


def test_items_that_come_slowly_or_weigh_nothing_tell_nothing() -> None:
    assert believed(COSTS, ARRAYS, Pace(0.05, 1)) == COSTS
    assert believed(COSTS, profile(item_s=0.001), Pace(1e-6, 1)) == COSTS
