"""What a sample has seen of a function and the interpreter's lock, later ones take over."""

from __future__ import annotations

import gc
import hashlib
import time
import weakref
from typing import Any

import pytest

import amorsize
from amorsize import watched
from amorsize.profile import Profile
from amorsize.sampler import sample
from amorsize.source import source_of

BLOCK = bytes(100_000)
MANY = range(5_000)


def digest(_: object) -> bytes:
    return hashlib.sha256(BLOCK).digest()


def taken(function: Any, data: Any = MANY) -> Profile:
    return sample(function, source_of(data)).profile


def know(function: Any, data: Any = MANY, gil_share: float = 0.05) -> Profile:
    """Know of a function what a sample sees but for the lock, which a busy machine hides."""
    seen = taken(function, data)
    busy_share = min(1.0, seen.item_cpu_s / seen.item_s)
    kind = weakref.ref(type(data[0]))
    watched.keep(function, watched.Watched(kind, seen.item_s, busy_share, gil_share, 0))
    return seen


def watches(function: Any, data: Any = MANY) -> bool:
    """Whether a sample watches, where something is known of the function already."""
    assert watched.of(function) is not None
    profile = taken(function, data)
    return profile.gil_measured and not profile.gil_earlier


@pytest.fixture
def alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Items are like those before, however busy this machine is now."""
    monkeypatch.setattr(watched.Watched, "is_like", lambda *_: True)


@pytest.mark.measures
@pytest.mark.usefixtures("alike")
def test_a_later_sample_takes_over_what_was_seen_and_is_shorter() -> None:
    first = know(digest)
    assert (first.gil_measured, first.gil_earlier) == (True, False)
    later = taken(digest)
    assert (later.gil_measured, later.gil_earlier) == (True, True)
    assert later.gil_share == 0.05
    assert later.sampled < first.sampled


@pytest.mark.usefixtures("alike")
def test_a_plan_says_that_it_has_not_watched_itself() -> None:
    told = ", as an earlier plan has seen"
    assert told not in amorsize.plan(digest, MANY).explain()
    know(digest)
    assert told in amorsize.plan(digest, MANY).explain()


@pytest.mark.measures
@pytest.mark.usefixtures("alike")
def test_a_share_that_is_neither_none_nor_all_is_seen_three_times() -> None:
    know(digest, gil_share=0.5)
    assert [taken(digest).gil_earlier for _ in range(2)] == [False, False]
    known = watched.of(digest)
    assert known is not None
    assert known.times == 3
    assert 0.5 / 3 <= known.gil_share <= 2.5 / 3  # the mean, half of the time at first
    assert taken(digest).gil_earlier


@pytest.mark.measures
def test_another_function_is_watched_itself() -> None:
    know(digest)
    other = taken(lambda item: digest(item))
    assert (other.gil_measured, other.gil_earlier) == (True, False)


@pytest.mark.measures
def test_items_of_another_type_or_length_are_watched_again() -> None:
    def work(item: Any) -> bytes:
        return b"".join(digest(0) for _ in range(80 if item == "long" else 1))

    know(work)
    assert watches(work, ["short"] * 5_000)
    know(work, ["short"] * 5_000)
    assert watches(work, ["long"] * 1_000)
    know(work, ["short"] * 5_000)
    assert watches(work, ["long"] * 20)  # where one of them is a sample


@pytest.mark.measures
def test_items_that_wait_now_are_watched_again() -> None:
    waits: list[bool] = []

    def work(_: int) -> None:
        until = time.perf_counter() + 0.0005
        while not waits and time.perf_counter() < until:
            pass
        if waits:
            time.sleep(0.0005)

    know(work)
    waits.append(True)
    assert watches(work, range(400))


def test_nothing_is_known_of_a_function_that_is_gone() -> None:
    def work(item: int) -> bytes:
        return digest(item)

    know(work)
    assert watched.of(work) is not None
    number = id(work)
    del work
    gc.collect()
    assert number not in watched._known


def test_what_takes_no_weak_reference_is_watched_each_time() -> None:
    class Slotted:
        __slots__ = ()

        def __call__(self, item: int) -> bytes:
            return digest(item)

    work = Slotted()
    know(work)
    assert watched.of(work) is None
    assert not taken(work).gil_earlier


def test_items_whose_class_holds_the_function_do_not_keep_it() -> None:
    class Item:
        def work(self) -> bytes:
            return digest(self)

    know(Item.work, [Item() for _ in range(2_000)])
    number, gone = id(Item.work), weakref.ref(Item)
    assert number in watched._known
    del Item
    gc.collect()
    assert gone() is None
    assert number not in watched._known


def test_a_run_that_shows_something_else_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("amorsize.planner.NOTICEABLE_LOAD", 1e9)

    def grows(item: int) -> int:
        until = time.thread_time() + (0.02 if item > 40 else 0.00002)
        while time.thread_time() < until:
            pass
        return item

    plan = amorsize.plan(grows, iter(range(90)))
    watched.keep(grows, watched.Watched(weakref.ref(int), 0.00002, 1.0, 1.0, 0))
    assert list(plan.run()) == list(range(90))
    assert plan.report is not None
    assert plan.report.moves
    assert watched.of(grows) is None


def test_a_run_that_goes_back_to_the_loop_has_the_function_watched_again() -> None:
    plan = amorsize.plan(digest, MANY, backend="threads")
    know(digest)
    assert watched.of(digest) is not None
    execution = plan._execution(None, None, False, ())
    execution._move(None, "workers lost more time than they saved")
    execution.learn()
    assert watched.of(digest) is None


def test_items_are_alike_by_type_time_and_share_of_the_processor() -> None:
    seen = watched.Watched(weakref.ref(int), 0.001, 0.9, 0.5, 0)
    assert seen.is_like(int, 0.0019, 1.0)
    assert seen.is_like(int, 0.0006, 0.8)
    assert not seen.is_like(str, 0.001, 0.9)
    assert not seen.is_like(int, 0.0021, 0.9)
    assert not seen.is_like(int, 0.0004, 0.9)
    assert not seen.is_like(int, 0.001, 0.7)


def test_several_samples_of_a_share_in_doubt_are_averaged() -> None:
    kind = weakref.ref(int)
    shares = [0.6, 0.3, 0.0]
    seen = watched.Watched(kind, 0.001, 1.0, shares[0], 0)
    for share in shares[1:]:
        assert not seen.is_settled
        seen = watched.Watched(kind, 0.001, 1.0, share, 0).again(seen)
    assert seen.gil_share == pytest.approx(0.3)
    assert seen.is_settled
    assert watched.Watched(kind, 0.001, 1.0, 0.95, 0).is_settled
