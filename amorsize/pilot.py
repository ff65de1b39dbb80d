"""The first chunks of a run without a sample: single items, which tell what the others take.

A cluster that is up would idle while the caller samples: of few long items that is a good part
of the whole. Its workers know better what an item takes there, too. So the run starts with
single items, as many as keep the workers busy, until some of them have been seen; then the
planner cuts what is left.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from amorsize.lanes import State, foreseen
from amorsize.sampler import Sample, positions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from amorsize.backend import Chunk, Outcome
    from amorsize.feed import Feed
    from amorsize.planner import Decision
    from amorsize.planning import Planning
    from amorsize.report import RunReport

AHEAD = 2
"""Single items for each worker: one that runs and one that waits there."""
SHORT_S = 0.005
"""A worker's first call that takes no longer has built nothing that later ones find: it counts."""


class _Seen(NamedTuple):
    """An item that has run alone."""

    chunk: Chunk
    outcome: Outcome
    first: bool
    """Whether it was the first of its worker."""


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
        self._known: set[str] = set()
        self._guessed = self._handed_out = False
        self._ends: deque[float] = deque(maxlen=workers)
        """When the last items arrived: their workers have been busy with others since."""
        self._began = self._first_out = time.perf_counter()

    def next(self, feed: Feed) -> Chunk | None:
        """The next item, ``None`` if nothing is left."""
        if not self._handed_out:
            self._handed_out, self._first_out = True, time.perf_counter()
        position = next(self._positions, None)
        return feed.next() if position is None else feed.single(position)

    def window(self, workers: int) -> int:
        """Items in flight."""
        return AHEAD * workers

    def observe(self, chunk: Chunk, outcome: Outcome) -> None:
        """Take note of an item that has run."""
        if self.over or not outcome.values or outcome.failures:
            return
        worker = outcome.times.worker
        self._ends.append(time.perf_counter())
        self._seen.append(_Seen(chunk, outcome, worker not in self._known))
        self._known.add(worker)

    def look(self, feed: Feed, report: RunReport, flying: Sequence[Chunk]) -> bool:
        """Plan what is left, if usual items have been seen by now; whether that was done. The
        first call of a worker may import, compile or fill a cache: until others are known it
        tells no more than how long the run will take at most.

        Args:
            feed: what is left.
            report: takes the prediction.
            flying: chunks on their way, in order.
        """
        if self.over or not self._seen:
            return False
        if not (usual := self._usual()):
            if not self._guessed:
                self._guessed = True
                self._predict(self._decide(self._seen, feed), feed, report, flying)
            return False
        self.over = True
        decision = self._decide(usual, feed)
        feed.plan(decision.chosen.schedule, _item_s(usual), carry_items=True)
        if feed.remaining or not self._guessed:  # who planned nothing predicts nothing, either
            self._predict(decision, feed, report, flying)
        return True

    def _usual(self) -> list[_Seen]:
        later = [seen for seen in self._seen if not seen.first]
        return later or [seen for seen in self._seen if seen.outcome.times.wall_s < SHORT_S]

    def _decide(self, usual: list[_Seen], feed: Feed) -> Decision:
        """The decision about what no chunk has held yet, by some items that have been seen."""
        times = [seen.outcome.times for seen in usual]
        counts = [len(seen.outcome.values) for seen in usual]
        walls = [t.wall_s / count for t, count in zip(times, counts, strict=True)]
        item_s = _item_s(usual)
        around = math.fsum((wall - item_s) ** 2 for wall in walls) / max(1, len(walls) - 1)
        cpu_s = math.fsum(t.cpu_s for t in times) / sum(counts)
        slowdown = self._planning.offers[0].costs.slowdown.value
        profile = self._planning.profile
        handed_out = 0 if feed.remaining is None else (profile.items or 0) - feed.remaining
        seen = profile._replace(
            sampled=handed_out,
            item_s=item_s / slowdown,
            item_cpu_s=cpu_s / slowdown,
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
        return self._planning.informed(Sample(seen, results, items, start), self._workers)

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


def _item_s(seen: Sequence[_Seen]) -> float:
    """Mean seconds of an item."""
    walls = [one.outcome.times.wall_s / len(one.outcome.values) for one in seen]
    return math.fsum(walls) / len(walls)
