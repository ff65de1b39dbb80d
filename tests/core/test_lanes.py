"""What a run under way will take, against what can be counted on fingers."""

from __future__ import annotations

import pytest

from amorsize.lanes import free_after, last_end


@pytest.mark.parametrize(
    ("flying", "busy_for", "workers", "expected"),
    [
        ([], [], 2, [0, 0]),
        ([5.0], [2.0], 2, [0, 3]),
        ([5.0, 5.0], [9.0, 1.0], 2, [0, 4]),  # the first is about to arrive
        ([5.0, 5.0, 5.0], [0.0, 0.0], 2, [5, 10]),
        ([5.0] * 4, [1.0, 0.0], 2, [9, 10]),
    ],
)
def test_when_busy_workers_are_free(
    flying: list[float], busy_for: list[float], workers: int, expected: list[float]
) -> None:
    assert sorted(free_after(flying, busy_for, workers)) == expected


@pytest.mark.parametrize(
    ("chunks", "ready", "expected"),
    [
        ([], [0, 0], 0),
        ([], [3, 1], 3),
        ([4], [3, 1], 5),
        ([4, 4, 4], [0, 0], 8),
        ([4, 4, 4], [3, 0], 8),
        ([1, 1, 1, 9], [0, 0, 0], 10),
    ],
)
def test_each_chunk_goes_to_the_worker_that_is_free_first(
    chunks: list[float], ready: list[float], expected: float
) -> None:
    assert last_end(chunks, ready) == expected
