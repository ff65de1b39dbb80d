"""Streams read, run and hold no more than a window, on every backend."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import Any

import pytest

import amorsize
from amorsize.events import ChunkFinished, ChunkSubmitted, Event
from amorsize.sampler import MOST_READ_AHEAD

LOCAL = ["auto", "serial", "threads", "multiprocessing"]


def tiny(x: int) -> int:
    return x + 1


def brief(x: int) -> int:
    time.sleep(0.0005)
    return x


def large(x: int) -> bytes:
    time.sleep(0.001)
    return bytes(8_000_000)


class Counted:
    """An iterator that counts what is read from it."""

    def __init__(self, count: int | None) -> None:
        self.read = 0
        self._items = iter(range(count)) if count else itertools.count()

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        item = next(self._items)
        self.read += 1
        return item


class InFlight:
    """An observer that knows how many items are submitted and not finished, and in how many
    chunks.
    """

    def __init__(self) -> None:
        self.items = self.most = self.chunks = self.most_chunks = self.largest = 0

    def __call__(self, event: Event) -> None:
        if isinstance(event, ChunkSubmitted):
            self.items, self.chunks = self.items + event.items, self.chunks + 1
            self.most, self.most_chunks = (
                max(self.most, self.items),
                max(self.most_chunks, self.chunks),
            )
            self.largest = max(self.largest, event.items)
        elif isinstance(event, ChunkFinished) and self.items:
            self.items, self.chunks = self.items - event.items, self.chunks - 1


def check_window(backend: Any, taken: int = 400) -> None:
    """At any moment no more is read than taken, the sample and what is in flight."""
    data, flight = Counted(200_000), InFlight()
    plan = amorsize.plan(brief, data, backend=backend, workers=2)
    sampled = data.read
    assert sampled == plan.sampled
    stream: Any = plan.stream(observers=[flight])
    assert next(stream) == 0
    assert data.read == sampled  # one result, then a pause: nothing more has been read
    for number in range(1, taken):
        assert next(stream) == number
        # Chunks grow if items take less time than those of the sample did.
        window = 2 * 17 * max(plan.fixed_chunk_size, flight.largest)
        assert data.read <= max(number, sampled) + 2 * window + 1
    assert flight.most_chunks <= 2 * 17
    assert flight.most <= window
    read = data.read
    stream.close()
    assert data.read == read
    assert read < 200_000


@pytest.mark.parametrize("backend", LOCAL)
def test_at_most_the_window_is_read(backend: str) -> None:
    check_window(backend)


@pytest.mark.parametrize("backend", LOCAL)
def test_one_result_of_a_tiny_function(backend: str) -> None:
    data = Counted(200_000)
    stream: Any = amorsize.imap(tiny, data, backend=backend)
    assert next(stream) == 1
    assert data.read <= MOST_READ_AHEAD
    stream.close()


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("backend", ["threads", "multiprocessing"])
def test_large_results_stay_within_the_window(backend: str, ordered: bool) -> None:
    """Many more than fit into the window are streamed; no more than it are ever alive."""
    flight = InFlight()
    plan = amorsize.plan(large, itertools.count(), backend=backend, workers=2)
    assert plan.limits is not None
    plan._planning.limits = plan.limits._replace(shared_memory_bytes=1_000_000_000)
    stream: Any = plan.stream(ordered=ordered, observers=[flight])
    streamed = 0
    for result in itertools.islice(stream, 5000):
        assert len(result) == 8_000_000
        streamed += flight.most > 0  # the first ones are the caller's own, while workers start
        if streamed > 60:
            break
    stream.close()
    assert 1 <= flight.most <= 12  # a tenth of the memory


def test_a_slow_producer_does_not_hold_results_back() -> None:
    """A result is handed out before the window is full, and before a chunk is."""
    read = []

    def slow() -> Iterator[int]:
        for item in itertools.count():
            time.sleep(0.02)
            read.append(item)
            yield item

    stream: Any = amorsize.imap(tiny, slow(), backend="threads", workers=2, chunk_size=50)
    for number in range(12):
        assert next(stream) == number + 1
        assert len(read) <= number + 5
    stream.close()


@pytest.mark.parametrize("backend", LOCAL)
def test_an_interrupted_consumer_closes_the_source(backend: str) -> None:
    closed = []

    def items() -> Iterator[int]:
        try:
            yield from itertools.count()
        finally:
            closed.append(True)

    stream: Any = amorsize.imap(tiny, items(), backend=backend, workers=2)
    for _ in range(2000):
        next(stream)
    stream.close()
    del stream
    assert closed == [True]
