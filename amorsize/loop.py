"""The plain loop, and the note that names the item when one raises."""

from __future__ import annotations

import gc
import operator
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from amorsize.errors import shorten
from amorsize.exceptions import note


class LoopResult(NamedTuple):
    """What a loop returned, or where and how it ended."""

    values: list[Any]
    """All results; if an item raised those before it, as far as they were kept."""
    position: int = -1
    """Position of the item that raised, -1 if none did."""
    error: BaseException | None = None
    """What it raised, annotated with the item."""


def run_loop(
    function: Callable[[Any], Any],
    items: Iterable[Any],
    first_index: int = 0,
    *,
    keep: bool = False,
) -> LoopResult:
    """``[function(x) for x in items]`` at its own speed. The iterators of
    built-in sequences know how many items are left, which tells the failing one for free;
    others are counted. ``first_index`` is the position of the first item in the data.

    A comprehension takes its results with it when an item raises. With ``keep`` they are there,
    which costs a nanosecond an item.

    Neither uses ``map``: a ``StopIteration`` raised by the function must not look like the end of
    the data.
    """
    iterator = iter(items)
    total = -1 if keep else operator.length_hint(iterator, -1)
    if total < 0:
        return _run_counted(function, iterator, first_index)
    try:
        return LoopResult([function(item) for item in iterator])
    except BaseException as error:
        position = max(0, total - operator.length_hint(iterator, 0) - 1)
        annotate(error, first_index + position, _item_at(items, position))
        return LoopResult([], position, error)


Failures = list[tuple[int, Exception, Any]]
"""Position, exception and item of each that has failed."""


class ForgivingLoop:
    """The loop that goes on after an item has raised. Alarms ring anywhere: what is finished is
    here, however :meth:`run` ends.
    """

    def __init__(self, first_index: int = 0) -> None:
        self.first_index = first_index
        self.values: list[Any] = []
        """Results so far, with ``None`` for a failed item."""
        self._failures: Failures = []

    @property
    def failures(self) -> Failures:
        """Those of the items that have a place among the results."""
        return [failure for failure in self._failures if failure[0] < len(self.values)]

    def run(self, function: Callable[[Any], Any], items: Iterable[Any]) -> BaseException | None:
        """Run the items; what is no ``Exception`` (Ctrl-C, ``SystemExit``) ends it and is returned,
        and so does what comes between two items.
        """
        values, failures = self.values, self._failures
        item: Any = None
        try:
            for item in items:
                try:
                    value = function(item)
                except Exception as error:
                    failures.append((len(values), error, item))
                    values.append(None)
                else:  # out of the try: an alarm that rings behind it would add a second one
                    values.append(value)
        except BaseException as error:
            annotate(error, self.first_index + len(values), item)
            return error
        return None


def raise_what_came(loop: LoopResult) -> None:
    """Of a loop that has run none of the user's items: raise what has ended it, Ctrl-C perhaps. The
    note says of which item, and there was none.
    """
    if loop.error is not None:
        getattr(loop.error, "__notes__", []).clear()
        raise loop.error


def _run_counted(
    function: Callable[[Any], Any], items: Iterable[Any], first_index: int
) -> LoopResult:
    values: list[Any] = []
    item: Any = None
    try:
        for item in items:
            values.append(function(item))
    except BaseException as error:
        annotate(error, first_index + len(values), item)
        return LoopResult(values, len(values), error)
    return LoopResult(values)


def full_collections() -> int:
    """Full garbage collections of this process so far. Each looks at all objects there are, which
    may take longer than many items. (Told by a callback it would also say for how long; but Ctrl-C
    during a collection would then be raised in the callback, and lost.)
    """
    return int(gc.get_stats()[-1]["collections"])


def annotate(error: BaseException, index: int, item: object = None, where: str = "") -> None:
    """Add the item's index, a short form of the item and the worker to an exception's notes."""
    what = "" if item is None else f" ({shorten(item)})"
    place = f" on worker {where}" if where else ""
    note(error, f"amorsize: raised by item {index}{what}{place}")


def _item_at(items: Any, position: int) -> object:
    try:
        return items[position]
    except Exception:  # only for the message
        return None
