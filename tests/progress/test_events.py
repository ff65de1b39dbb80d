"""Who watches a run sees what happens, and cannot harm it."""

from __future__ import annotations

import logging
import time
from collections import Counter
from typing import Any

import pytest

import amorsize
from amorsize.events import (
    Bus,
    ChunkFinished,
    ChunkLost,
    ChunkSubmitted,
    Event,
    ItemFailed,
    Logging,
    RunFinished,
    RunStarted,
    WorkersStarted,
)
from amorsize.plugins import registry
from amorsize.report import RunReport


def square(x: int) -> int:
    return x * x


def slow_square(x: int) -> int:
    time.sleep(0.001)
    return x * x


def fail_at_7(x: int) -> int:
    if x == 7:
        raise ValueError("seven")
    return x


BACKENDS = ["serial", "threads", "multiprocessing"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_events_tell_the_whole_run(backend: str) -> None:
    seen: list[Event] = []
    plan = amorsize.plan(slow_square, range(100), backend=backend, workers=2)
    assert plan.run(observers=[seen.append]) == [x * x for x in range(100)]
    first, *between, last = seen
    assert isinstance(first, RunStarted)
    assert (first.backend, first.items, first.ready) == (backend, 100, plan.sampled)
    assert isinstance(last, RunFinished)
    assert last.complete
    assert last.error is None
    assert last.report is plan.report
    finished = [event for event in between if isinstance(event, ChunkFinished)]
    places = sorted(i for e in finished for i in range(e.first_index, e.first_index + e.items))
    if backend == "serial":
        assert len(set(places)) == len(places)
    assert len(places) == 100 - plan.sampled
    if backend != "serial":
        submitted = [event for event in between if isinstance(event, ChunkSubmitted)]
        assert Counter(e.first_index for e in submitted) == Counter(e.first_index for e in finished)
        assert sum(isinstance(event, WorkersStarted) for event in between) == 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_failures_are_told(backend: str) -> None:
    seen: list[Event] = []
    with pytest.raises(ValueError, match="seven"):
        amorsize.map(fail_at_7, range(20), backend=backend, observers=[seen.append])
    (failed,) = [event for event in seen if isinstance(event, ItemFailed)]
    assert failed.index == 7
    last = seen[-1]
    assert isinstance(last, RunFinished)
    assert isinstance(last.error, ValueError)
    assert not last.complete


def test_an_early_end_is_told() -> None:
    seen: list[Event] = []
    plan = amorsize.plan(slow_square, range(1000), backend="threads", workers=2)
    stream: Any = plan.stream(observers=[seen.append])
    next(stream)
    next(stream)
    assert not any(isinstance(event, RunFinished) for event in seen)
    for _ in range(plan.sampled):
        next(stream)
    stream.close()
    last = seen[-1]
    assert isinstance(last, RunFinished)
    assert not last.complete
    assert last.error is None


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_broken_observer_is_reported_once(backend: str, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Event] = []

    def broken(event: Event) -> None:
        raise RuntimeError("cannot watch")

    observers = [broken, seen.append]
    with caplog.at_level(logging.ERROR, "amorsize"):
        results = amorsize.map(slow_square, range(50), backend=backend, observers=observers)
    assert results == [x * x for x in range(50)]
    assert len([r for r in caplog.records if "switched off" in r.getMessage()]) == 1
    assert isinstance(seen[-1], RunFinished)


def test_a_slow_observer_misses_chunks_but_not_the_end(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    seen: list[Event] = []

    def slow(event: Event) -> None:
        nonlocal now
        now += 0.05
        seen.append(event)

    bus = Bus([slow], clock=lambda: now)
    for number in range(1000):
        now += 0.001
        bus.finished(number, 1, 0.001, "host:1")
    assert 2 <= len(seen) <= 5  # 0.1 s free, and 2 % of a second
    bus.lost(3, 1, "killed")
    bus.ended(RunReport("serial", 1), None, complete=True)
    assert isinstance(seen[-2], ChunkLost)
    assert isinstance(seen[-1], RunFinished)
    assert "missed" in caplog.text


def test_plugins_watch_runs() -> None:
    seen: list[Event] = []

    class Plugin:
        @amorsize.hookimpl
        def amorsize_observers(self) -> list[Any]:
            return [seen.append]

    registry().add(Plugin(), "watcher")
    try:
        amorsize.map(square, range(10))
    finally:
        registry().remove("watcher")
    assert isinstance(seen[0], RunStarted)
    assert isinstance(seen[-1], RunFinished)
    count = len(seen)
    amorsize.map(square, range(10))
    assert len(seen) == count


def test_the_logging_observer(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), pytest.raises(ValueError, match="seven"):
        amorsize.map(fail_at_7, range(20), backend="threads", observers=[Logging()])
    told = [r for r in caplog.records if r.name == "amorsize.run"]
    assert "run of 20 items" in told[0].getMessage()
    assert any("item 7 failed: ValueError: seven" in r.getMessage() for r in told)
    assert isinstance(told[0].event, RunStarted)  # type: ignore[attr-defined]
