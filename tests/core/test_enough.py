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
    return Outlook(seen, **{**given, "may_narrow": False, **changed})


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
