"""The plain loop over what is left, in blocks short enough to notice a wrong estimate.

Where all results are wanted at once, one comprehension goes through all blocks, and through what is
there already: results that are made block by block and then put in place are gone through twice,
which takes some percent of a loop over short items.
"""

from __future__ import annotations

import math
import operator
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any

from amorsize.errors import DeadlineExceeded
from amorsize.feed import Feed
from amorsize.guard import in_time, rest
from amorsize.judge import AFTER_ALL, Judge
from amorsize.loop import LoopResult, annotate, item_at, run_forgiving, run_loop
from amorsize.report import RunReport
from amorsize.source import Piece, Span

BLOCK_S, MOST_BLOCK_S = 0.001, 0.002
"""Predicted seconds of a block, some dozen times its own cost. If items turn out a thousand times
as long as expected, a second is lost before it is noticed. As long as they take what they
should, blocks grow to the second one."""
WINDOW_S = 0.005
"""Seconds of work from which an item time is told; shorter ones measure interruptions."""
CACHED_ITEMS = 8192
"""Most items of a block: a block's own cost is nothing against them, their results stay in a
processor's cache until they are put in place, and should they take far longer than those before
it is soon seen."""
SURPRISE = 1.5
"""Items that take this many times the expected seconds make the run think again."""


class _Clock:
    """How many items a block has, and whether they take what they should: ``item_s`` seconds."""

    def __init__(self, item_s: float) -> None:
        self._expected_s, self.item_s = item_s, max(item_s, 1e-9)
        self._window_s, self._window_items, self._block_s = 0.0, 0, BLOCK_S

    @property
    def size(self) -> int:
        """Items of the next block."""
        return max(1, min(CACHED_ITEMS, int(self._block_s / self.item_s)))

    def surprises(self, seconds: float, items: int) -> bool:
        """Whether, with another block, items prove to take much longer, then ``item_s``."""
        self._window_s += seconds
        self._window_items += items
        if self._window_s < WINDOW_S:
            return False
        self.item_s = self._window_s / self._window_items
        self._window_s, self._window_items = 0.0, 0
        surprises = self.item_s > SURPRISE * self._expected_s
        self._block_s = BLOCK_S if surprises else min(2 * self._block_s, MOST_BLOCK_S)
        return surprises


class SerialRun:
    """A stretch of the run in the caller. Ends when nothing is left or wanted, when an item raises,
    when ``limit_s`` seconds are over, or when items take much longer than ``item_s`` says.

    Args:
        function: the user's function.
        feed: what is left to run.
        report: takes the measurements.
        judge: decides about failed items, and takes the error that ends the run.
        item_s: expected seconds per item.
        lazily: read one item of a stream at a time, so that nothing is read ahead of its use.
        limit_s: seconds after which to stop, ``None`` for no limit.
        ends_at: ``time.perf_counter()`` at which the run must be over; looked at between blocks.
        watch: whether to stop when the expectation proves wrong.
        keep: whether the results before an item that raises are of use to anybody.
        ready: sorted results that are there already, if all are wanted in one list: a stretch
            that comes to its end has one piece with these, too. Nothing is forgiven then.
    """

    observed_s: float | None = None
    """Seconds per item seen lately, once they proved the expectation wrong."""

    def __init__(
        self,
        function: Callable[[Any], Any],
        feed: Feed,
        report: RunReport,
        judge: Judge,
        item_s: float,
        *,
        lazily: bool = False,
        limit_s: float | None = None,
        ends_at: float = math.inf,
        watch: bool = True,
        keep: bool = True,
        ready: Iterable[Piece] | None = None,
    ) -> None:
        self.function, self.feed, self.report, self.judge = function, feed, report, judge
        self.item_s, self.lazily, self.limit_s, self.watch = item_s, lazily, limit_s, watch
        self.ends_at, self.keep, self.ready = ends_at, keep, ready
        self._ran: list[tuple[Span, int]] = []
        """Of a stretch in one list: items that ran, and where in the list the first of them is."""
        self._running: tuple[int, Iterable[Any], Iterator[Any]] | None = None
        """That block: position of its first item, all of them, and those that are left."""

    def pieces(self) -> Generator[Piece, None, None]:
        """Results in order of the items."""
        begin, cpu = time.perf_counter(), time.thread_time()
        try:
            yield from self._blocks(begin) if self.ready is None else self._in_one_list(self.ready)
        finally:
            self.report.compute_s += time.perf_counter() - begin
            self.report.cpu_s += time.thread_time() - cpu
            self.report.retries += rest(self.function)

    def _blocks(self, begin: float) -> Generator[Piece, None, None]:
        clock = _Clock(self.item_s)
        while not self.feed.cancelled and (
            self.limit_s is None or time.perf_counter() - begin < self.limit_s
        ):
            try:
                start, count, items = self.feed.take(self._size(clock))
            except Exception as error:  # the data's own
                self._fail(AFTER_ALL, error)
                return
            if not count:
                return
            began = time.perf_counter()
            if began > self.ends_at:
                yield from self._expire(start, count)
                return
            left_s, deadline = self.ends_at - began, self.judge.policy.deadline
            loop: LoopResult = in_time(left_s, deadline, self._run, items, start)
            seconds = time.perf_counter() - began
            if loop.error is not None:
                self._end(start + loop.position, loop.error)
                if loop.values:
                    self.report.items += len(loop.values)
                    yield start, loop.values
                return
            self.report.items += count
            yield start, loop.values
            if self._surprises(clock, seconds, count):
                return

    def _surprises(self, clock: _Clock, seconds: float, items: int) -> bool:
        """Whether to think again after another block."""
        if not clock.surprises(seconds, items) or not self.watch:
            return False
        self.observed_s = clock.item_s
        return True

    def _in_one_list(self, ready: Iterable[Piece]) -> Generator[Piece, None, None]:
        try:
            values = [call(item) for call, items in self._parts(ready) for item in items]
        except BaseException as error:
            if self._running is None:  # not an item's
                raise
            start, items, left = self._running
            count = operator.length_hint(items)
            position = max(0, count - operator.length_hint(left) - 1)
            annotate(error, start + position, item_at(items, position))
            self._end(start + position, error)
            return
        if len(values) == self.feed.length and all(span[0] == place for span, place in self._ran):
            yield 0, values
            return
        for (start, stop), place in self._ran:
            yield start, values[place : place + stop - start]

    def _parts(
        self, ready: Iterable[Piece]
    ) -> Iterator[tuple[Callable[[Any], Any], Iterable[Any]]]:
        """What makes the results one after the other, and of what: of items, or of those that are
        ready.
        """
        clock, there, made = _Clock(self.item_s), deque(ready), 0
        while not self.feed.cancelled:
            while there and there[0][0] == made:
                values = there.popleft()[1]
                made += len(values)
                yield values.__getitem__, range(len(values))
            try:
                start, count, items = self.feed.take(clock.size)
            except Exception as error:  # the data's own
                self._fail(AFTER_ALL, error)
                return
            if not count:
                return
            count = operator.length_hint(items)
            if not count:  # the data has shrunk meanwhile
                continue
            began = time.perf_counter()
            left = iter(items)
            self._running = start, items, left
            yield self.function, left
            self._running = None
            self._ran.append(((start, start + count), made))
            made += count
            self.report.items += count
            if self._surprises(clock, time.perf_counter() - began, count):
                return

    def _size(self, clock: _Clock) -> int:
        if self.lazily and not self.feed.is_indexed:
            return 1
        return clock.size

    def _run(self, items: Iterable[Any], start: int) -> LoopResult:
        if not self.judge.policy.forgives:
            return run_loop(self.function, items, start, keep=self.keep)
        loop, failures = run_forgiving(self.function, items, start)
        for position, error, item in failures:
            instead = self.judge.failed(start + position, error, item)
            loop.values[position : position + 1] = instead
        return loop

    def _end(self, index: int, error: BaseException) -> None:
        """An item has raised what is not forgiven; it is annotated."""
        self.judge.ended(index, error)
        self.feed.cut(0)

    def _fail(self, index: int, error: BaseException) -> None:
        self.judge.failure.offer(index, error)
        self.feed.cut(0)

    def _expire(self, start: int, count: int) -> Iterator[Piece]:
        """The run's time is over: what is not finished is given up."""
        policy = self.judge.policy
        error = DeadlineExceeded(policy.deadline or 0.0)
        if policy.forgives and self.feed.is_indexed:
            for begin, end in [(start, start + count), *self.feed.give_up()]:
                yield begin, self.judge.given_up(begin, end, error)
        else:
            self._fail(start, error)
