"""Maps on a cluster that is up: nothing is sampled in the caller, the first items run alone."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

import amorsize
from amorsize.events import ChunkFinished, ChunkSubmitted, Event, RunFinished
from amorsize.pilot import singly
from amorsize.report import RunReport
from amorsize.schedule import tapered

pytest.importorskip("distributed", reason="Dask is not installed")


def where(item: int) -> tuple[int, int]:
    return item, os.getpid()


class Chunks:
    """Items of each chunk that has ended."""

    def __init__(self) -> None:
        self.counts: list[int] = []

    def __call__(self, event: Event) -> None:
        if isinstance(event, ChunkFinished):
            self.counts.append(event.items)


def test_no_item_runs_in_the_caller(client: Any) -> None:
    results = amorsize.dask_map(where, range(200), client)
    assert [item for item, _ in results] == list(range(200))
    assert os.getpid() not in {pid for _, pid in results}


def test_data_of_unknown_length_goes_to_the_workers_too(client: Any) -> None:
    results = amorsize.dask_map(where, iter(range(200)), client)
    assert [item for item, _ in results] == list(range(200))
    assert os.getpid() not in {pid for _, pid in results}


def test_the_first_chunks_are_single_items_and_the_others_are_not(client: Any) -> None:
    chunks = Chunks()
    results = amorsize.map(abs, range(5_000), backend=client, observers=[chunks])
    assert results == list(range(5_000))
    assert chunks.counts[0] == 1
    assert len(chunks.counts) < 500


def test_the_first_error_in_the_data_wins_although_others_ran_before(client: Any) -> None:
    def refuse(item: int) -> int:
        if item in (7, 150, 299):
            raise ValueError(item)
        return item

    with pytest.raises(ValueError) as raised:  # noqa: PT011 - which one it is follows
        amorsize.dask_map(refuse, range(300), client)
    assert raised.value.args == (7,)
    kept = amorsize.dask_map(refuse, range(300), client, on_error="skip")
    assert kept == [item for item in range(300) if item not in (7, 150, 299)]


def test_a_stream_starts_at_the_front(client: Any) -> None:
    stream = amorsize.imap(where, range(300), backend=client)
    assert [next(stream)[0] for _ in range(5)] == list(range(5))
    stream.close()


@pytest.mark.parametrize("items", [0, 1, 3])
def test_few_items(client: Any, items: int) -> None:
    assert amorsize.dask_map(abs, list(range(items)), client) == list(range(items))


def reports_of(client: Any, function: Any, items: Any) -> RunReport:
    """The report of a map."""
    found: list[RunReport] = []

    def keep(event: Event) -> None:
        if isinstance(event, RunFinished):
            found.append(event.report)

    amorsize.map(function, items, backend=client, observers=[keep])
    return found[0]


def spin(steps: int) -> int:
    return sum(range(steps))


@pytest.mark.parametrize("steps", [2_000, 200_000])
def test_what_a_map_takes_is_predicted_before_it_is_over(client: Any, steps: int) -> None:
    report = reports_of(client, spin, [steps] * 400)
    assert report.predicted is not None
    assert 0 < report.predicted_after_s < report.actual
    assert report.predicted > report.predicted_after_s
    parts = sum(term.predicted or 0.0 for term in report.terms)
    assert parts == pytest.approx(report.predicted)


def test_data_sorted_by_cost_is_not_taken_for_its_cheap_front(client: Any) -> None:
    """The items in front are a hundredth of the mean; what is predicted counts the others."""
    report = reports_of(client, spin, [40 * position for position in range(4_000)])
    assert report.predicted is not None
    assert report.predicted > 0.3 * report.compute_s / report.workers


def test_few_long_items_are_predicted_although_nothing_is_left_to_plan(client: Any) -> None:
    report = reports_of(client, spin, [1_500_000] * 3)
    assert report.predicted is not None
    assert report.predicted > report.compute_s / 3  # two rounds of three items' mean


def test_all_of_a_map_whose_blocks_fail_comes_back(client: Any) -> None:
    def refuse(item: int) -> int:
        if item % 3:
            raise ValueError(item)
        return item

    kept = amorsize.dask_map(refuse, range(3_000), client, on_error="skip")
    assert kept == list(range(0, 3_000, 3))


def doubled(block: bytearray) -> int:
    return 2 * len(block)


def test_large_items_share_chunks(client: Any) -> None:
    chunks = Chunks()
    items = [bytearray(3_000_000 + number) for number in range(60)]
    results = amorsize.map(doubled, items, backend=client, observers=[chunks])
    assert results == [2 * len(item) for item in items]
    assert max(chunks.counts) > 2  # the first blocks hold two


class InFlight:
    """Most chunks that have been on their way at once before the rest was planned."""

    def __init__(self) -> None:
        self.now = self.most = 0

    def __call__(self, event: Event) -> None:
        if isinstance(event, ChunkSubmitted):
            self.now += 1
            self.most = max(self.most, self.now)
        elif isinstance(event, ChunkFinished):
            self.now -= 1


def nap(item: int) -> int:
    time.sleep(0.006)
    return item


def test_workers_do_not_wait_for_the_next_of_the_first_items(client: Any, store: Path) -> None:
    """Items shorter than a round trip, and no shorter than what a chunk costs anyway."""
    flying = InFlight()
    assert amorsize.map(nap, range(9), backend=client, observers=[flying]) == list(range(9))
    assert flying.most > 2 * 2


def test_few_long_items_end_one_by_one() -> None:
    coarse = tapered(2, 4, 2)
    assert list(singly(coarse, 0.1, 11).sizes(11)) == [3, 2, 2, 1, 1, 1, 1]
    assert singly(coarse, 0.001, 11) == coarse  # short ones
    assert singly(coarse, 0.1, 1000) == coarse  # many
    assert singly(coarse, 0.1, None) == coarse


class Ahead:
    """Items that have been submitted before the one at a position."""

    def __init__(self, position: int) -> None:
        self.position, self.items = position, 0
        self.found: int | None = None

    def __call__(self, event: Event) -> None:
        if isinstance(event, ChunkSubmitted) and self.found is None:
            if event.first_index <= self.position < event.first_index + event.items:
                self.found = self.items
            self.items += event.items


def test_an_item_that_looks_like_a_giant_goes_ahead(client: Any) -> None:
    """Behind all others, everything would wait for it in the end."""
    data = [60_000] * 399 + [60_000 * 300]
    ahead = Ahead(399)
    results = amorsize.map(spin, data, backend=client, observers=[ahead])
    assert results == [spin(steps) for steps in data]
    assert ahead.found is not None
    assert ahead.found < 100
