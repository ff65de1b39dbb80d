"""Serial plans: results, errors and order as those of the user's own loop."""

from __future__ import annotations

import gc
from types import SimpleNamespace
from typing import Any

import numpy
import pytest

import amorsize
from amorsize.feed import Feed
from amorsize.judge import Judge
from amorsize.policy import DEFAULT
from amorsize.report import RunReport
from amorsize.schedule import fixed
from amorsize.serial import SerialRun
from amorsize.source import source_of


@pytest.mark.parametrize(
    "data", [list(range(9)), tuple(range(9)), range(9), numpy.arange(9), numpy.arange(9.0)]
)
def test_a_serial_plan_makes_the_list_of_the_loop(data: Any) -> None:
    plan = amorsize.plan(lambda x: x * 2, data, backend="serial")
    results = plan.run()
    expected = [x * 2 for x in data]
    assert results == expected
    assert list(map(type, results)) == list(map(type, expected))


def test_a_stop_iteration_of_the_function_is_no_end_of_the_data() -> None:
    def work(item: int) -> int:
        if item == 700:
            raise StopIteration(item)
        return item

    with pytest.raises(StopIteration) as told:
        amorsize.plan(work, range(1000), backend="serial").run()
    assert any("item 700" in note for note in told.value.__notes__)


def test_ctrl_c_in_an_item_ends_the_loop() -> None:
    called = []

    def work(item: int) -> int:
        called.append(item)
        if item == 900:
            raise KeyboardInterrupt
        return item

    with pytest.raises(KeyboardInterrupt):
        amorsize.plan(work, range(1000), backend="serial").run()
    assert called[-1] == 900
    assert len(called) == len(set(called))


def test_data_that_shrinks_under_the_loop_puts_no_result_in_a_wrong_place() -> None:
    data = list(range(60_000))

    def shrink(item: int) -> int:
        if item == 100:
            del data[50_000:]
        return -item

    results = amorsize.plan(shrink, data, backend="serial").run()
    assert results[:50_000] == [-x for x in range(50_000)]
    assert set(results[50_000:]) <= {-x for x in range(50_000, 60_000)}


@pytest.mark.parametrize("every", [250, 1])
def test_garbage_collections_are_no_surprise_unless_each_item_has_one(
    every: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    clocks = SimpleNamespace(perf_counter=lambda: now[0], thread_time=lambda: now[0])
    monkeypatch.setattr("amorsize.serial.time", clocks)

    def collects(x: int) -> None:
        now[0] += 5e-5
        if x % every == every - 1:
            gc.collect()
            now[0] += 0.01

    report = RunReport("serial", 1)
    feed = Feed(source_of(range(1_000)), [], stop_on_error=True)
    loop = SerialRun(collects, feed, report, Judge(report, DEFAULT), 5e-5)
    list(loop.pieces())
    assert (loop.observed_s is not None) == (every == 1)


def test_an_item_before_the_one_that_has_raised_may_raise_too() -> None:
    ran: list[int] = []

    def fails_late(x: int) -> int:
        ran.append(x)
        if x >= 5:
            raise ValueError(x)
        return x

    report = RunReport("serial", 1)
    judge, feed = Judge(report), Feed(source_of(range(20)), [], fixed(4, 2), item_s=1.0)
    giant = feed.from_all_over([15])
    assert giant is not None
    feed.put_back([giant])
    loop = SerialRun(fails_late, feed, report, judge, 1e-3)
    assert [value for _, values in loop.pieces() for value in values] == [0, 1, 2, 3, 4]
    assert judge.failure.index == 5
    assert ran == [15, 0, 1, 2, 3, 4, 5]
    assert loop.ran.items == len(ran)
