"""What is in flight is bounded by time, workers and memory."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

import amorsize
from amorsize.planner import CHUNK_BYTES
from amorsize.schedule import fixed, tapered
from amorsize.window import MEMORY_SHARE, Window, size_of


def test_one_running_and_one_queued() -> None:
    assert Window().chunks(4, latency_s=1e-4, chunk_s=0.01, chunk_items=10) == 8


def test_more_where_the_round_trip_is_long() -> None:
    assert Window().chunks(4, latency_s=0.05, chunk_s=0.01, chunk_items=10) == 4 * 6
    assert Window().chunks(4, latency_s=1.0, chunk_s=0.01, chunk_items=10) == 4 * 17


def test_fewer_where_memory_is_short() -> None:
    window = Window(memory_bytes=1000 / MEMORY_SHARE)
    window.observe([b""] * 10, nbytes=1000)
    assert window.item_bytes == 100
    assert window.chunks(2, latency_s=0.05, chunk_s=0.01, chunk_items=2) == 5
    assert window.chunks(2, latency_s=0.05, chunk_s=0.01, chunk_items=1000) == 2


def test_chunks_shrink_where_memory_is_short() -> None:
    window = Window(memory_bytes=1000 / MEMORY_SHARE, item_bytes=10)
    assert window.fitting(tapered(1, 25, 2)) is None
    smaller = window.fitting(tapered(4, 100, 2))
    assert smaller == tapered(4, 25, 2)
    assert window.fitting(fixed(100, 2)) is None  # the caller's wish


def test_many_small_items_and_results_take_little_of_the_callers_memory() -> None:
    window = Window()
    numbers = list(range(1_000, 2_000))
    window.observe(numbers, nbytes=3_000, items=numbers)
    assert window.item_bytes > 2 * 32  # in a list and in the heap, far more than pickled
    smaller = window.fitting(tapered(1_000, 1_000_000, 2))
    assert smaller is not None
    assert smaller.largest * window.item_bytes <= CHUNK_BYTES


def test_large_items_fill_the_chunks_that_the_engine_wants() -> None:
    window = Window(item_bytes=4_000_000, chunk_bytes=16_500_000)
    assert window.fitting(tapered(1, 4, 2)) is None
    assert window.fitting(tapered(1, 8, 2)) == tapered(1, 4, 2)
    assert Window(item_bytes=4_000_000).fitting(tapered(1, 4, 2)) == tapered(1, 1, 2)
    small = Window(item_bytes=100, chunk_bytes=16_500_000).fitting(tapered(1, 100_000, 2))
    assert small == tapered(1, CHUNK_BYTES // 100, 2)


class Attributes(dict[str, Any]):
    """Keys as attributes: what is no key is a ``KeyError``."""

    def __getattr__(self, name: str) -> Any:
        return self[name]


class Failing:
    """Says that it is an array, and cannot tell how large it is."""

    dtype = "?"

    @property
    def nbytes(self) -> int:
        raise RuntimeError("not computed yet")


@pytest.mark.parametrize("value", [Attributes(a=1), Mock(), Failing()], ids=type)
def test_results_that_answer_what_they_are_asked_in_their_own_way(value: Any) -> None:
    assert size_of(value) < 1000
    results = amorsize.map(lambda item: (item, value)[1], range(30), backend="threads", workers=2)
    assert all(result is value for result in results)


def test_one_large_result_is_remembered() -> None:
    window = Window()
    window.observe([b""], 1_000_000)
    window.observe([b""], 10)
    assert window.item_bytes > 500_000
    for _ in range(100):
        window.observe([b""], 10)
    assert window.item_bytes < 1000


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [(b"x" * 1000, 1000, 1100), (np.zeros(1000), 8000, 8200), (["x" * 100] * 10, 1000, 3000)],
)
def test_sizes_of_what_does_not_travel(value: object, least: int, most: int) -> None:
    assert least <= size_of(value) <= most
    window = Window()
    window.observe([value] * 50, 0)
    assert least <= window.item_bytes <= most
