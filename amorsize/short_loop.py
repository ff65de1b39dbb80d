"""Loops that are over before a plan for them could be made.

Planning takes about a millisecond. So a map of many items begins with some from all over the data,
and goes on as the plain loop does, at the front. That tells soon whether it is over in some
milliseconds: no workers could be up by then. If not, what is done is done, and planning begins.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, NamedTuple, TypeGuard

from amorsize.blocks import Block
from amorsize.enough import MANY
from amorsize.loop import LoopResult, run_loop
from amorsize.monitor import usable_cores
from amorsize.sampler import positions
from amorsize.serial import BLOCK_S, CACHED_ITEMS
from amorsize.source import Piece, is_counted

SHORT_S = 0.016
"""Seconds of a plain loop that is over before workers are up and have done their share."""
_SINGLE_S, _SINGLES = 0.0002, 8
"""Longest first call that may be one of a short loop: most of it is what any first call takes. And
how many items from all over the data run before the others, and take no longer together: should
some part of it take far longer than the front, no block is to find that out."""
_TELLING_S = 0.0001
"""Seconds that tell how long the others take."""
_GROWTH = 16
"""Items of the first block, and how many times as many the next one has at most."""


class Begun(NamedTuple):
    """What has run of a loop."""

    results: list[Piece]
    """Results in order: of all items in one piece, or of the first ones and some others."""
    first: Block
    """The first call."""
    failure: tuple[int, BaseException] | None = None
    """An item that has raised, and what; not all items before it have run."""


def suits(data: object) -> TypeGuard[Sequence[Any]]:
    """Whether a map of the data may begin before it is planned: it is read again for that. Of few
    items the first may be long, and all that planning sees.
    """
    if type(data) not in (list, tuple, range) or not is_counted(data):  # type: ignore[arg-type]
        return False
    return len(data) >= MANY * usable_cores()  # type: ignore[arg-type]


def begin(function: Callable[[Any], Any], data: Sequence[Any]) -> Begun:
    """Run some items, and all if they are short.

    Raises:
        BaseException: what an item raised, with its index in its notes, if it is the loop's first.
    """
    first = _first_call(function, data)
    loop = _ShortLoop(function, data, first)
    if first.wall_s <= _SINGLE_S and loop.try_singles():
        loop.go_on()
    return loop.begun()


def _first_call(function: Callable[[Any], Any], data: Sequence[Any]) -> Block:
    process_s, cpu_s, wall_s = time.process_time(), time.thread_time(), time.perf_counter()
    values = _successful(run_loop(function, data[:1]))
    wall_s = max(time.perf_counter() - wall_s, 1e-9)
    cpu_s, process_s = time.thread_time() - cpu_s, time.process_time() - process_s
    return Block(0, values, wall_s, cpu_s, process_s)


class _ShortLoop:
    """A loop as long as it seems to be short."""

    def __init__(self, function: Callable[[Any], Any], data: Sequence[Any], first: Block) -> None:
        self._function, self._data, self._first = function, data, first
        self._values = list(first.values)
        """Results of the front."""
        self._singles: dict[int, list[Any]] = {}
        """Results behind it, by position."""
        self._errors: dict[int, BaseException] = {}
        """What one of these has raised instead, after which no more of them run."""
        self._blocks_s, self._blocks_items = 0.0, 0
        """Seconds of blocks, which alone tell what an item takes, and their items."""

    def try_singles(self) -> bool:
        """Run items from all over the data; whether the loop still seems to be short."""
        began = time.perf_counter()
        for position in islice(positions(len(self._data)), 1, 1 + _SINGLES):
            loop = run_loop(self._function, self._data[position : position + 1], position)
            if loop.error is None:
                self._singles[position] = loop.values
            elif isinstance(loop.error, Exception):  # one before it may raise, too
                self._errors[position] = loop.error
                break
            else:
                raise loop.error
            if time.perf_counter() - began > _SINGLE_S:
                return False
        return True

    def go_on(self) -> None:
        """Run what is between them, until it is over or turns out to be long."""
        values, length, size = self._values, len(self._data), _GROWTH
        for mark in [*sorted([*self._singles, *self._errors]), length]:
            while (start := len(values)) < mark:
                began = time.perf_counter()
                block = self._data[start : min(mark, start + size)]
                values += _successful(run_loop(self._function, block, start))
                self._blocks_s += time.perf_counter() - began
                self._blocks_items += len(block)
                item_s = max(self._blocks_s / self._blocks_items, 1e-12)
                if self._blocks_s > _TELLING_S and item_s * length > SHORT_S:
                    return
                size = min(_GROWTH * size, CACHED_ITEMS, max(1, int(BLOCK_S / item_s)))
            if mark in self._errors:
                raise self._errors[mark]
            values += self._singles.pop(mark, [])
        _tell(length, self._blocks_s)

    def begun(self) -> Begun:
        """What has run."""
        behind, failure = sorted(self._singles.items()), next(iter(self._errors.items()), None)
        return Begun([(0, self._values), *behind], self._first, failure)


def _successful(loop: LoopResult) -> list[Any]:
    if loop.error is not None:
        raise loop.error
    return loop.values


def _tell(items: int, seconds: float) -> None:
    if (logging := sys.modules.get("logging")) is not None:  # else nobody can be listening
        text = "serial: %d items in %.3g s, which no plan could shorten"
        logging.getLogger("amorsize").info(text, items, seconds)
