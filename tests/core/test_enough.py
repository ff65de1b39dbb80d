"""When a sample is enough, and how much time is spent on asking."""

from __future__ import annotations

import time
from typing import Any

import pytest

from amorsize.blocks import Block, Blocks, Estimate
from amorsize.enough import Outlook
from amorsize.source import source_of

ITEMS = 10_000


def outlook(seen: Blocks, **changed: Any) -> Outlook:
    given = {"length": ITEMS, "positions": ITEMS, "needed_s": 0.005, "spinning": 0}
    return Outlook(seen, **{**given, "here": False, **changed})


def blocks(seen: Blocks, seconds: float) -> int:
    """Add blocks of one item to an uncertain sample until it is enough; how many it took."""
    ahead = outlook(seen)
    for number in range(ITEMS):
        seen.add(Block(number, [None], seconds, seconds, seconds))
        if ahead.is_enough(0.0):
            return number + 1
    raise AssertionError("it was never enough")


def test_thinking_is_done_for_a_part_of_the_time_of_the_items(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = 0

    def doubtful(self: Blocks, *, closely: bool = False) -> Estimate:
        nonlocal asked
        asked += 1
        until = time.thread_time() + 0.001
        while time.thread_time() < until:
            pass
        return Estimate(1e-4, 1.0)

    monkeypatch.setattr(Blocks, "estimate", doubtful)
    ran = blocks(Blocks(source_of(range(ITEMS))), 1e-4)
    assert 350 < ran < 450  # twice a fiftieth of a second of items, as its mean is doubtful
    assert asked < 30


def test_even_items_of_milliseconds_need_few_blocks() -> None:
    assert blocks(Blocks(source_of(range(ITEMS))), 0.002) <= 5


@pytest.mark.parametrize(
    ("here", "lost_s", "enough"), [(True, 0.1, True), (True, 0.01, False), (False, 0.1, False)]
)
def test_a_sample_ends_when_it_takes_far_longer_than_its_items(
    monkeypatch: pytest.MonkeyPatch, here: bool, lost_s: float, enough: bool
) -> None:
    clock = iter([7.0, 7.0 + lost_s])
    seen = Blocks(source_of(range(ITEMS)))
    with monkeypatch.context() as patch:
        patch.setattr("amorsize.enough.time.perf_counter", lambda: next(clock))
        ahead = outlook(seen, here=here)
        seen.add(Block(0, [None], 1e-6, 1e-6, 1e-6))
        assert ahead.is_enough(0.0) is enough


def test_what_is_left_ends_a_sample() -> None:
    seen = Blocks(source_of(range(3)))
    ahead = outlook(seen, length=3, positions=3)
    enough = []
    for number in range(3):
        seen.add(Block(number, [None], 1.0 + number, 0.5, 0.5))
        enough.append(ahead.is_enough(0.0))
    assert enough[-1]


def test_reading_counts_as_time_of_a_sample() -> None:
    seen = Blocks(source_of(iter(range(ITEMS))))
    ahead = outlook(seen, length=None, positions=0)
    for number in range(5):
        seen.add(Block(number, [None], 1e-5 * (1 + number % 3), 1e-5, 1e-5))
        enough = ahead.is_enough(0.002 * number)
    assert enough


def test_the_first_of_many_items_are_watched_only_where_it_may_matter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("amorsize.enough.usable_cores", lambda: 2)

    def watched_after(length: int, seconds: float) -> list[bool]:
        seen = Blocks(source_of(range(length)))
        ahead, told = outlook(seen, length=length, positions=length), []
        for number in range(4):
            told.append(ahead.watch)
            seen.add(Block(number, [None], seconds, seconds, seconds))
            ahead.is_enough(0.0)
        return told

    assert watched_after(ITEMS, 1e-7) == [False] * 4, "the loop is over before it has told anything"
    assert watched_after(ITEMS, 1e-3) == [False, True, True, True]
    assert watched_after(100, 1e-7) == [True] * 4, "the first may be all that is sampled"


def test_of_many_long_items_one_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first is not, and says nothing of the interpreter's lock."""
    monkeypatch.setattr("amorsize.enough.usable_cores", lambda: 2)
    seen = Blocks(source_of(range(ITEMS)))
    ahead, enough = outlook(seen), []
    for number in range(2):
        seen.add(Block(number, [None], 1.0, 1.0, 1.0))
        enough.append((ahead.is_enough(0.0), ahead.watch))
    assert enough == [(False, True), (True, True)]


@pytest.mark.parametrize("naps", [False, True])
def test_a_single_block_that_was_interrupted_is_no_nap(naps: bool) -> None:
    """It seems to wait, but the others of its kind do not: they are watched for longer."""
    seen = Blocks(source_of(range(100 * ITEMS)))
    ahead = outlook(seen, length=100 * ITEMS, positions=ITEMS)
    for size, interrupted in ((1, False), (1, False), (20, False), (200, True)):
        wall = size * (3e-6 if interrupted or naps else 1e-6)
        seen.add(Block(seen.items, [None] * size, wall, size * 1e-6, size * 1e-6))
        enough = ahead.is_enough(0.0)
    assert enough is naps
