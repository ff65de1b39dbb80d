"""Loops that are over before a plan for them could be made.

Planning takes about a millisecond, and it goes on with items from all over the data. So a map of
many items begins as the plain loop does, at the front. A few blocks tell whether that is over in
some milliseconds: no workers could be up by then. If not, what is done is done, and planning
begins.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeGuard

from amorsize.blocks import Block
from amorsize.enough import MANY
from amorsize.loop import run_loop
from amorsize.monitor import usable_cores

SHORT_S = 0.012
"""Seconds of a plain loop that is over before workers are up and have done their share."""
_FIRST_S = 0.00005
"""Longest first call that may be one of a short loop; of a longer one the sample thinks."""
_TELLING_S = 0.0001
"""Seconds that tell how long the others take."""
_BLOCK_S, _BLOCK_ITEMS, _GROWTH = 0.001, 8192, 16
"""Longest block, by what items have taken, as one of much longer ones is noticed at its end; its
most items, whose results stay in a processor's cache; how many times as many the next one has."""


class Begun(NamedTuple):
    """What has run of a loop."""

    values: list[Any]
    """Results of the first items, maybe of all."""
    first: Block
    """The first call."""


def suits(data: object) -> TypeGuard[Sequence[Any]]:
    """Whether a map of the data may begin before it is planned: it is read again for that. Of few
    items the first may be long, and all that planning sees.
    """
    return type(data) in (list, tuple, range) and len(data) >= MANY * usable_cores()  # type: ignore[arg-type]


def begin(function: Callable[[Any], Any], data: Sequence[Any]) -> Begun:
    """Run the front of the loop, and all of it if that is short.

    Raises:
        BaseException: what an item raised, with its index in its notes: it is the loop's first.
    """
    began, cpu_s, process_s = time.perf_counter(), time.thread_time(), time.process_time()
    values = _run(function, data, 0, 1)
    process_s, cpu_s = time.process_time() - process_s, time.thread_time() - cpu_s
    first_s = time.perf_counter() - began
    begun = Begun(values, Block(0, values[:], max(first_s, 1e-9), cpu_s, process_s))
    length, size = len(data), _GROWTH
    if first_s > _FIRST_S:
        return begun
    began = time.perf_counter()
    while len(values) < length:
        values += _run(function, data, len(values), size)
        spent_s = max(time.perf_counter() - began, 1e-9)
        item_s = spent_s / (len(values) - 1)
        if spent_s > _TELLING_S and item_s * length > SHORT_S:
            return begun
        size = min(_GROWTH * size, _BLOCK_ITEMS, max(1, int(_BLOCK_S / item_s)))
    _tell(length, time.perf_counter() - began)
    return begun


def _run(function: Callable[[Any], Any], data: Sequence[Any], start: int, count: int) -> list[Any]:
    loop = run_loop(function, data[start : start + count], start)
    if loop.error is not None:
        raise loop.error
    return loop.values


def _tell(items: int, seconds: float) -> None:
    if (logging := sys.modules.get("logging")) is not None:  # else nobody can be listening
        text = "serial: %d items in %.3g s, which no plan could shorten"
        logging.getLogger("amorsize").info(text, items, seconds)
