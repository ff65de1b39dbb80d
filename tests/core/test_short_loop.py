"""Maps of many items begin as the plain loop, and are planned only if that is not over soon."""

from __future__ import annotations

import itertools
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import amorsize
from amorsize import api
from amorsize.events import RunFinished
from amorsize.short_loop import Begun, begin, suits

MANY = 10_000


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("amorsize.short_loop.usable_cores", lambda: 2)


@pytest.fixture
def unplanned(monkeypatch: pytest.MonkeyPatch) -> None:
    def planned(*_: Any, **__: Any) -> None:
        raise AssertionError("it was planned")

    monkeypatch.setattr(api, "_plan", planned)


@pytest.fixture
def undisturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is timed takes 20 us: a loop that others interrupt at its beginning seems long."""
    looks = itertools.count()

    def clock() -> float:
        return next(looks) * 2e-5

    clocks = SimpleNamespace(perf_counter=clock, thread_time=clock, process_time=clock)
    monkeypatch.setattr("amorsize.short_loop.time", clocks)


def square(x: int) -> int:
    return x * x


def ran(begun: Begun) -> int:
    return sum(len(values) for _, values in begun.results)


def spin(_: object) -> int:
    until = time.perf_counter() + 3e-5
    while time.perf_counter() < until:
        pass
    return 1


@pytest.mark.usefixtures("unplanned", "undisturbed")
@pytest.mark.parametrize("kind", [range, list, tuple])
def test_a_short_loop_is_over_before_it_is_planned(kind: Any) -> None:
    items = range(MANY) if kind is range else kind(range(MANY))
    assert amorsize.map(square, items) == [x * x for x in range(MANY)]


@pytest.mark.parametrize("items", [range(MANY), list(range(1000))])
def test_what_has_begun_runs_no_second_time(items: Any, calls: Any) -> None:
    """Each call writes to a file: all of them take far too long for a short loop."""
    assert amorsize.map(calls, items) == list(items)
    assert calls.items == list(items)


def test_a_loop_that_is_left_in_the_middle_goes_on_there(tmp_path: Path) -> None:
    """Some microseconds an item: that it is no short one shows after dozens of them."""
    path, logs = str(tmp_path / "log"), dict[int, int]()

    def write(x: int) -> int:
        if os.getpid() not in logs:  # a worker may have inherited nothing
            logs[os.getpid()] = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(logs[os.getpid()], b"%d\n" % x)
        return x

    assert amorsize.map(write, range(5 * MANY)) == list(range(5 * MANY))
    os.close(logs[os.getpid()])
    seen = [int(line) for line in Path(path).read_text().split()]
    assert sorted(seen) == list(range(5 * MANY))


def test_a_loop_that_is_not_short_is_left_to_a_plan() -> None:
    assert 0 < ran(begin(spin, range(MANY))) < MANY / 10
    assert ran(begin(lambda _: time.sleep(0.001), range(MANY))) == 1


def test_a_loop_that_becomes_long_is_left_to_a_plan() -> None:
    begun = begin(lambda x: spin(x) if x > MANY else x, range(10 * MANY))
    assert ran(begun) < 20, "an item from behind has told"


@given(st.integers(0, MANY - 1))
def test_an_items_error_is_the_loops_and_named(index: int) -> None:
    def fail(x: int) -> int:
        if x >= index:
            raise StopIteration(x)
        return x

    with pytest.raises(StopIteration) as caught:
        amorsize.map(fail, range(MANY))
    assert caught.value.value == index
    assert any(f"item {index} " in note for note in caught.value.__notes__)


def test_an_error_behind_the_front_of_a_long_loop_is_raised_once_all_before_it_has_run(
    calls: Any,
) -> None:
    """Of the items from all over the data that run first, the very first one raises."""

    def fail(x: int) -> Any:
        if x == MANY // 2:
            raise ValueError(x)
        return calls(x)

    with pytest.raises(ValueError, match=str(MANY // 2)) as caught:
        amorsize.map(fail, range(MANY))
    assert any(f"item {MANY // 2} " in note for note in caught.value.__notes__)
    assert [x for x in calls.items if x < MANY // 2] == list(range(MANY // 2))


def test_only_data_that_can_be_read_again_and_is_many_begins() -> None:
    class Special(list[int]):
        pass

    assert suits(range(1000))
    assert suits([0] * 1000)
    assert not suits(range(999)), "the first item of few may be all that planning sees"
    assert not suits(Special(range(1000))), "it may read as it likes"
    assert not suits(iter(range(1000)))


def test_who_watches_is_told() -> None:
    told: list[Any] = []
    assert amorsize.map(square, range(MANY), observers=[told.append]) == [
        x * x for x in range(MANY)
    ]
    assert isinstance(told[-1], RunFinished)
