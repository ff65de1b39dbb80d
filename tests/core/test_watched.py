"""What a sample has seen of a function and the interpreter's lock, later ones take over."""

from __future__ import annotations

import gc
import hashlib
import time
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


@pytest.mark.measures
def test_a_later_sample_takes_over_what_was_seen_and_is_shorter() -> None:
    first, later = taken(digest), taken(digest)
    assert (first.gil_measured, first.gil_earlier) == (True, False)
    assert (later.gil_measured, later.gil_earlier) == (True, True)
    assert later.gil_share == first.gil_share
    assert later.sampled < first.sampled


@pytest.mark.measures
def test_a_plan_says_that_it_has_not_watched_itself() -> None:
    told = ", as an earlier plan has seen"
    assert told not in amorsize.plan(digest, MANY).explain()
    assert told in amorsize.plan(digest, MANY).explain()


def test_another_function_is_watched_itself() -> None:
    taken(digest)
    assert not taken(lambda item: digest(item)).gil_earlier


def test_items_of_another_type_or_length_are_watched_again() -> None:
    def work(item: Any) -> bytes:
        return digest(item) if item != 0 and item != "long" else digest(item) + slow()

    def slow() -> bytes:
        return b"".join(digest(0) for _ in range(10))

    taken(work, range(1, 5_000))
    assert not taken(work, ["short"] * 5_000).gil_earlier
    taken(work, ["short"] * 5_000)
    assert not taken(work, ["long"] * 1_000).gil_earlier


def test_items_that_wait_now_are_watched_again() -> None:
    waits: list[bool] = []

    def work(_: int) -> None:
        until = time.perf_counter() + 0.0005
        while not waits and time.perf_counter() < until:
            pass
        if waits:
            time.sleep(0.0005)

    taken(work)
    waits.append(True)
    assert not taken(work, range(400)).gil_earlier


def test_nothing_is_known_of_a_function_that_is_gone() -> None:
    def work(item: int) -> bytes:
        return digest(item)

    taken(work)
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
    assert not taken(work).gil_earlier
    assert not taken(work).gil_earlier


def test_a_run_that_shows_something_else_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("amorsize.planner.NOTICEABLE_LOAD", 1e9)

    def grows(item: int) -> int:
        until = time.thread_time() + (0.02 if item > 40 else 0.00002)
        while time.thread_time() < until:
            pass
        return item

    plan = amorsize.plan(grows, iter(range(90)))
    watched.keep(grows, watched.Watched(int, 0.00002, 1.0, 1.0, 0))
    assert list(plan.run()) == list(range(90))
    assert plan.report is not None
    assert plan.report.moves
    assert watched.of(grows) is None
