"""The plain loop over what is left, in blocks short enough to notice a wrong estimate."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

from amorsize.errors import DeadlineExceeded
from amorsize.feed import Feed
from amorsize.guard import forgiving_in_time, in_time, rest
from amorsize.judge import AFTER_ALL, Judge
from amorsize.loop import LoopResult, full_collections, run_loop
from amorsize.report import RunReport
from amorsize.runqueue import RunQueue
from amorsize.source import Piece

BLOCK_S, MOST_BLOCK_S = 0.001, 0.002
"""Predicted seconds of a block, some dozen times its own cost. If items turn out a thousand times
as long as expected, a second is lost before it is noticed. As long as they take what they
should, blocks grow to the second one."""
WINDOW_S = 0.005
"""Seconds of work from which an item time is told; shorter ones measure interruptions."""
CACHED_ITEMS = 8192
"""Most items of a block: their results stay in a processor's cache until they are put in
place, and a block's own cost is nothing against them."""
MOST_PASSED_OVER = 2
"""Windows in a row that tell nothing because a full garbage collection came meanwhile: where it
always does, it belongs to the items."""
SURPRISE = 1.5
"""Items that take this many times the expected seconds make the run think again."""


class Ran(NamedTuple):
    """What items took in the caller, without what was done with their results in between."""

    items: int = 0
    """How many have run."""
    wall_s: float = 0.0
    """Seconds they took."""
    cpu_s: float = 0.0
    """CPU seconds of these."""

    def and_also(self, items: int, wall_s: float, cpu_s: float) -> Ran:
        """With some more."""
        return Ran(self.items + items, self.wall_s + wall_s, self.cpu_s + cpu_s)

    def own_s(self, queue: RunQueue) -> float:
        """Seconds that they would have taken but for other programs, right after they have run."""
        return self.wall_s - queue.within(self.wall_s - self.cpu_s)


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
    ) -> None:
        self.function, self.feed, self.report, self.judge = function, feed, report, judge
        self.item_s, self.lazily, self.limit_s, self.watch = item_s, lazily, limit_s, watch
        self.ends_at, self.keep = ends_at, keep
        self.ran = Ran()

    def pieces(self) -> Generator[Piece, None, None]:
        """Results in order of the items."""
        begin, cpu = time.perf_counter(), time.thread_time()
        try:
            yield from self._blocks(begin)
        finally:
            self.report.compute_s += time.perf_counter() - begin
            self.report.cpu_s += time.thread_time() - cpu
            self.report.retries += rest(self.function)

    def _blocks(self, begin: float) -> Generator[Piece, None, None]:
        per_item = max(self.item_s, 1e-9)
        window, block_s, queue = Ran(), BLOCK_S, RunQueue()
        collections, passed_over = full_collections(), 0
        while not self.feed.cancelled and (
            self.limit_s is None or time.perf_counter() - begin < self.limit_s
        ):
            try:
                start, count, items = self.feed.take(self._size(per_item, block_s))
            except Exception as error:  # the data's own
                self._fail(AFTER_ALL, error)
                return
            if not count:
                return
            began = time.perf_counter()
            if began > self.ends_at:
                yield from self._expire(start, count)
                return
            cpu = time.thread_time()
            loop = self._run(items, start, self.ends_at - began)
            ran_s, cpu = time.perf_counter() - began, time.thread_time() - cpu
            self.ran, window = (one.and_also(count, ran_s, cpu) for one in (self.ran, window))
            if loop.error is not None:
                yield from self._ended(start, count, loop)
                continue
            self.report.items += count
            yield start, loop.values
            if window.wall_s >= WINDOW_S:
                # What other programs took was planned for; it says nothing of the items.
                per_item = window.own_s(queue) / window.items
                window, before, collections = Ran(), collections, full_collections()
                queue.begin()
                if collections > before and passed_over < MOST_PASSED_OVER:
                    passed_over += 1  # its own time may be most of that
                    continue
                passed_over = 0
                surprises = per_item > SURPRISE * self.item_s
                if self.watch and surprises:
                    self.observed_s = per_item
                    return
                block_s = BLOCK_S if surprises else min(2 * block_s, MOST_BLOCK_S)

    def _size(self, per_item: float, block_s: float) -> int:
        if self.lazily and not self.feed.is_indexed:
            return 1
        return max(1, min(CACHED_ITEMS, int(block_s / per_item)))

    def _run(self, items: Iterable[Any], start: int, left_s: float) -> LoopResult:
        policy, function = self.judge.policy, self.function
        if not policy.forgives:
            loop = partial(run_loop, keep=self.keep)
            try:
                result: LoopResult = in_time(left_s, policy.deadline, loop, function, items, start)
            except DeadlineExceeded as late:  # it has rung beside the loop
                return LoopResult([], 0, late)
            return result
        result, failures = forgiving_in_time(left_s, policy.deadline, function, items, start)
        for position, error, item in failures:
            instead = self.judge.failed(start + position, error, item)
            result.values[position : position + 1] = instead
        return result

    def _ended(self, start: int, count: int, loop: LoopResult) -> Iterator[Piece]:
        """Something has ended a block: what is finished of it, and what follows from that."""
        finished = len(loop.values)
        late = isinstance(loop.error, DeadlineExceeded) and time.perf_counter() >= self.ends_at
        late = late and self.judge.policy.forgives  # it came between two items
        if not late:
            self._end(start + loop.position, loop)
        if finished:
            self.report.items += finished
            yield start, loop.values
        if late:
            yield from self._expire(start + finished, count - finished)

    def _end(self, index: int, loop: LoopResult) -> None:
        """An item has raised what is not forgiven; the loop has annotated it. Those that are left
        before it may raise, too.
        """
        assert loop.error is not None
        self.judge.ended(index, loop.error)
        self.feed.cut(index if isinstance(loop.error, Exception) else 0)

    def _fail(self, index: int, error: BaseException) -> None:
        self.judge.failure.offer(index, error)
        self.feed.cut(0)

    def _expire(self, start: int, count: int) -> Iterator[Piece]:
        """The run's time is over: what is not finished is given up."""
        policy = self.judge.policy
        error = DeadlineExceeded(policy.deadline or 0.0)
        if policy.forgives and self.feed.is_indexed:
            spans = [(start, start + count), *self.feed.give_up()]
            yield from self.judge.given_up(spans, error)
        else:
            self._fail(start, error)
