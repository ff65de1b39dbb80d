"""The first chunks of a run without a sample: single items, which tell what the others take.

A cluster that is up would idle while the caller samples: of few long items that is a good part
of the whole. Its workers know better what an item takes there, too. So the run starts with
single items, as many as keep the workers busy, until some of them have been seen. Short ones say
little of the others: blocks of items from all over the data follow. Then the planner cuts what is
left.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from amorsize.giants import giants
from amorsize.lanes import State, foreseen
from amorsize.pace import Arrival, Pace, pace_of
from amorsize.planner import TAIL_S
from amorsize.sampler import Sample, positions
from amorsize.schedule import Schedule, tapered

if TYPE_CHECKING:
    from collections.abc import Iterator

    from amorsize.backend import Chunk, Outcome
    from amorsize.feed import Feed
    from amorsize.planner import Decision
    from amorsize.planning import Planning
    from amorsize.report import RunReport

AHEAD, MOST_AHEAD = 2, 6
"""Chunks for each worker: one that runs and one that waits there; and where a round trip takes
longer than a chunk."""
BLOCK_S, STRETCHES = 0.015, 8
"""Seconds of a block, about a round trip; and of how many stretches of data it consists."""
BLOCKS_SHARE = 1 / 12
"""Largest part of a worker's share of what is left that one of its blocks may take."""
FEW = 16
"""Items for each worker that are few."""
SHORT_S = 0.005
"""A worker's first call that takes no longer has built nothing that later ones find: it counts."""


class _Seen(NamedTuple):
    """An item that has run alone."""

    chunk: Chunk
    outcome: Outcome
    first: bool
    """Whether it was the first of its worker."""
    at_s: float
    """When it was back."""


class Pilot:
    """Hands out the first items one by one, until they tell enough to plan the rest.

    Args:
        planning: what is known before anything has run.
        workers: workers of the session.
        spread: whether to take items from all over the data; from its front otherwise, where
            results are wanted in order.
    """

    over = False
    """Whether the rest is planned."""

    def __init__(self, planning: Planning, workers: int, *, spread: bool) -> None:
        self._planning, self._workers = planning, workers
        self._positions: Iterator[int] = iter(())
        if spread and (length := planning.profile.items):
            self._positions = positions(length)
        self._seen: list[_Seen] = []
        self._blocks: list[_Seen] = []
        self._block = 0
        """Items of a block; 0 as long as single items are handed out, or where none follow."""
        self._spread = spread
        self._looked = False
        """Whether giants among the items have been looked for."""
        self._known: set[str] = set()
        self._guessed = self._handed_out = False
        self._ends: deque[float] = deque(maxlen=workers)
        """When the last items arrived: their workers have been busy with others since."""
        self._began = self._first_out = time.perf_counter()

    def next(self, feed: Feed) -> Chunk | None:
        """The next item or block, ``None`` if nothing is left."""
        if not self._handed_out:
            self._handed_out, self._first_out = True, time.perf_counter()
        self._look_for_giants(feed)
        count = min(STRETCHES, self._block or 1)
        found = [] if feed.giants else list(islice(self._positions, count))
        return feed.from_all_over(found, (self._block or 1) // count) if found else feed.next()

    def _look_for_giants(self, feed: Feed) -> None:
        """Items that are far larger than the others go ahead. One worker is left for those that
        tell of the others.
        """
        if not self._looked and self._spread and self._seen:
            self._looked, planning = True, self._planning
            item_s, items = _item_s(self._seen), planning.profile.items
            feed.giants = giants(planning.source, item_s, items, self._workers - 1)[::-1]

    def window(self, workers: int, trip_s: float) -> int:
        """Chunks in flight: more where the round trip of ``trip_s`` is long against an item or a
        block, as in the rest of the run, if that takes so long that it might as well be a chunk.
        """
        ahead, usual, costs = AHEAD, self._usual(), self._planning.offers[0].costs
        chunk_s = max(1, self._block) * _item_s(usual) if usual else 0.0
        if chunk_s >= max(costs.slot_s.value, 1e-6):
            ahead = min(MOST_AHEAD, max(ahead, 1 + math.ceil(trip_s / chunk_s)))
        return ahead * workers

    def observe(self, chunk: Chunk, outcome: Outcome, *, apart: bool) -> None:
        """Take note of an item that has run; ``apart`` if it tells nothing of the others."""
        is_block = len(outcome.values) > 1
        if self.over or not outcome.values or (outcome.failures and not is_block):
            return
        worker = outcome.times.worker
        self._ends.append(time.perf_counter())
        if apart:
            self._known.add(worker)
            return
        seen = self._blocks if is_block else self._seen
        seen.append(_Seen(chunk, outcome, worker not in self._known, self._ends[-1]))
        self._known.add(worker)

    def look(self, feed: Feed, report: RunReport, flying: Sequence[Chunk]) -> bool:
        """Plan what is left, if enough has been seen by now; whether that was done.

        Args:
            feed: what is left.
            report: takes the prediction.
            flying: chunks on their way, in order.
        """
        if self.over or not self._seen:
            return False
        usual = self._usual()
        if self._waits(feed, usual):
            if not feed.remaining and not self._guessed:  # nothing will be left to plan
                self._guessed = True
                self._predict(self._decide(self._seen, feed), feed, report, flying)
            return False
        self.over = True
        decision = self._decide(usual, feed)
        if self._planning.chunk_size is None:
            chosen = decision.chosen
            schedule = singly(chosen.schedule, _item_s(usual), feed.remaining)
            decision = decision._replace(chosen=chosen._replace(schedule=schedule))
        feed.plan(decision.chosen.schedule, _item_s(usual), carry_items=True)
        if not self._guessed:
            self._predict(decision, feed, report, flying)
        return True

    def _waits(self, feed: Feed, usual: Sequence[_Seen]) -> bool:
        """Whether what is on its way will tell more: usual items, or blocks of short ones. Those
        that arrive first are those that happen to be short. There are no blocks of data whose
        order matters, or of which little would be left.
        """
        if not usual or feed.remaining == 0:
            return not usual
        if not self._block and self._spread and feed.is_indexed:
            most = int(BLOCKS_SHARE * (feed.remaining or 0) / self._workers)
            self._block = max(1, min(most, int(BLOCK_S / max(_item_s(usual), 1e-9))))
        return len(self._blocks if self._block > 1 else usual) < AHEAD * self._workers

    def _usual(self) -> list[_Seen]:
        """What tells of other items: the first call of a worker may import, compile or fill a
        cache.
        """
        if self._blocks:
            return [seen for seen in self._blocks if not seen.first] or self._blocks
        later = [seen for seen in self._seen if not seen.first]
        return later or [seen for seen in self._seen if seen.outcome.times.wall_s < SHORT_S]

    def _decide(self, usual: list[_Seen], feed: Feed) -> Decision:
        """The decision about what no chunk has held yet, by some items that have been seen."""
        times = [seen.outcome.times for seen in usual]
        counts = [len(seen.outcome.values) for seen in usual]
        walls = [t.wall_s / count for t, count in zip(times, counts, strict=True)]
        item_s = _item_s(usual)
        around = math.fsum((wall - item_s) ** 2 for wall in walls) / max(1, len(walls) - 1)
        around *= sum(counts) / len(counts)  # blocks average over their items
        cpu_s = math.fsum(t.cpu_s for t in times) / sum(counts)
        profile = self._planning.profile
        handed_out = 0 if feed.remaining is None else (profile.items or 0) - feed.remaining
        seen = profile._replace(
            sampled=handed_out,
            item_s=item_s,
            item_cpu_s=cpu_s,
            item_sd_s=math.sqrt(around),
            longest_s=max(walls),
            durations=tuple(walls),
            gil_share=0.0,  # what they waited for it is part of what they took
            waiting_share=max(0.0, 1.0 - cpu_s / item_s) if item_s > 0 else 0.0,
            function_bytes=0,  # it is there already
        )
        results = [(seen.chunk.first_index, seen.outcome.values) for seen in usual]
        items = [item for seen in usual for item in seen.chunk.items or ()]
        start = usual[-1].chunk.first_index
        sample = Sample(seen, results, items, start)
        return self._planning.informed(sample, self._workers, self._pace())

    def _pace(self) -> Pace | None:
        """How fast the last kind of chunks came back, blocks if there are some."""
        seen = self._blocks or self._seen
        came = [Arrival(one.at_s, len(one.outcome.values)) for one in seen]
        return pace_of(came, self._workers)

    def _predict(
        self, decision: Decision, feed: Feed, report: RunReport, flying: Sequence[Chunk]
    ) -> None:
        """Predict the whole run: what has been, what is on its way and what is left."""
        if self._planning.profile.items is None or feed.remaining is None:
            return
        now = time.perf_counter()
        since = [*[self._first_out] * self._workers, *self._ends][-self._workers :]
        state = State(
            elapsed_s=now - self._began,
            flying_s=[chunk.count * _item_s(self._usual() or self._seen) for chunk in flying],
            busy_for=[now - begin for begin in since],
            remaining=feed.remaining,
            workers=self._workers,
        )
        report.prediction = foreseen(decision.chosen, self._planning.offers[0].costs, report, state)
        report.predicted, report.predicted_after_s = report.prediction.seconds, state.elapsed_s


def singly(schedule: Schedule, item_s: float, left: int | None) -> Schedule:
    """The schedule with single items at the end if few long ones are left. It trusts workers to
    start together, which these do not: each has an item of its own to end before.
    """
    if left is None or left > FEW * schedule.workers or item_s < TAIL_S:
        return schedule
    return tapered(1, schedule.largest, schedule.workers)


def _item_s(seen: Sequence[_Seen]) -> float:
    """Mean seconds of an item."""
    wall_s = math.fsum(one.outcome.times.wall_s for one in seen)
    return wall_s / sum(len(one.outcome.values) for one in seen)
