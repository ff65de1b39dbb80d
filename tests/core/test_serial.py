"""The plain loop that makes one list: results, errors and order as those of the user's own loop."""

from __future__ import annotations

import types
from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

import amorsize
from amorsize.collect import in_one_piece
from amorsize.feed import Feed
from amorsize.judge import AFTER_ALL, Judge
from amorsize.policy import DEFAULT
from amorsize.report import RunReport
from amorsize.serial import SerialRun
from amorsize.source import Piece, source_of


class Loop:
    """A stretch over data of which some spans are done, and what it called."""

    def __init__(self, data: Any, done: list[tuple[int, int]], fails_at: int = -1) -> None:
        self.called: list[Any] = []
        self.fails_at, source = fails_at, source_of(data)
        self.ready: list[Piece] = [(a, [-x for x in data[a:b]]) for a, b in done]
        self.feed = Feed(source, done)
        self.report = RunReport("serial", 1)
        self.judge = Judge(self.report, DEFAULT)
        self.run = SerialRun(
            self.work, self.feed, self.report, self.judge, 1e-7, watch=False, ready=self.ready
        )

    def work(self, item: Any) -> Any:
        self.called.append(item)
        if item == self.fails_at:
            raise KeyError(item)
        return -item

    def results(self, length: int) -> list[Any]:
        return in_one_piece(self.ready, self.run.pieces(), length)


@st.composite
def cases(draw: st.DrawFn) -> tuple[int, list[tuple[int, int]]]:
    length = draw(st.integers(1, 300))
    marks = sorted(set(draw(st.lists(st.integers(0, length), max_size=12))))
    return length, list(zip(marks[::2], marks[1::2], strict=False))


@given(cases())
def test_items_that_are_done_are_in_the_list_and_not_called_again(
    case: tuple[int, list[tuple[int, int]]],
) -> None:
    length, done = case
    loop = Loop(range(length), done)
    assert loop.results(length) == [-x for x in range(length)]
    kept = {x for a, b in done for x in range(a, b)}
    assert loop.called == [x for x in range(length) if x not in kept]
    assert loop.report.items == len(loop.called)


@given(cases(), st.data())
def test_the_item_that_raises_is_named_and_none_after_it_runs(
    case: tuple[int, list[tuple[int, int]]], data: st.DataObject
) -> None:
    length, done = case
    kept = {x for a, b in done for x in range(a, b)}
    left = [x for x in range(length) if x not in kept]
    if not left:
        return
    index = data.draw(st.sampled_from(left))
    loop = Loop(list(range(length)), done, fails_at=index)
    loop.results(length)
    failure = loop.judge.failure
    assert isinstance(failure.error, KeyError)
    assert failure.index == index
    assert f"raised by item {index} " in failure.error.__notes__[0]
    assert loop.called == [x for x in left if x <= index]


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
        amorsize.plan(work, range(901), backend="serial").run()
    assert called[-1] == 900
    assert sorted(called) == list(range(901))


def test_data_that_fails_keeps_what_came_before(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = Loop(range(1000), [(0, 10), (300, 310)])
    take = loop.feed.take

    def failing(count: int) -> Any:
        if len(loop.called) >= 290:
            raise OSError("gone")
        return take(count)

    monkeypatch.setattr(loop.feed, "take", failing)
    assert loop.results(1000) == [-x for x in range(310)]
    assert isinstance(loop.judge.failure.error, OSError)
    assert loop.judge.failure.index == AFTER_ALL


def test_a_loop_that_is_left_keeps_its_results_and_their_places(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    clock = types.SimpleNamespace(perf_counter=lambda: now[0], thread_time=lambda: now[0])
    monkeypatch.setattr("amorsize.serial.time", clock)
    loop = Loop(range(100_000), [(0, 10), (500, 510), (99_000, 99_010)])

    def grows(item: int) -> int:
        loop.called.append(item)
        now[0] += 0.1 if item == 50_000 else 0.000001
        return -item

    loop.run.function, loop.run.watch, loop.run.item_s = grows, True, 0.000001
    pieces = list(loop.run.pieces())
    assert loop.run.observed_s is not None
    ran = [x for start, values in pieces for x in range(start, start + len(values))]
    assert ran == loop.called == [*range(10, 500), *range(510, ran[-1] + 1)]
    assert 50_000 <= ran[-1] < 99_000
    assert [x for _, values in pieces for x in values] == [-x for x in ran]
    assert loop.feed.remaining == 100_000 - 30 - len(ran)


def test_data_that_shrinks_under_the_loop_puts_no_result_in_a_wrong_place() -> None:
    data = list(range(60_000))
    loop = Loop(data, [(59_990, 60_000)])

    def shrink(item: int) -> int:
        if item == 100:
            del data[50_000:]
        return -item

    loop.run.function = shrink
    results = loop.results(60_000)
    assert results == [*(-x for x in range(50_000)), *(-x for x in range(59_990, 60_000))]
