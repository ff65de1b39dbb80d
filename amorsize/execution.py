"""One run of a decision: as the caller's own loop, or on a session of a backend."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator

from amorsize.backend import Backend, OpenRequest
from amorsize.feed import Feed
from amorsize.loop import run_loop
from amorsize.planner import Decision, Offer
from amorsize.planning import Planning
from amorsize.report import RunReport
from amorsize.runner import AFTER_ALL, FirstFailure, Piece, Run
from amorsize.source import IndexedSource, StreamSource

_BLOCK_S = 0.05
"""Seconds of work per block of a stream in the serial loop."""
_CACHED_ITEMS = 8192
"""Results per block of the serial loop: few enough to stay in a processor's cache until they
are put in their place, many enough that a block's own cost is nothing."""


class Execution:
    """Runs what the sample left over. ``backend`` is ``None`` for the plain loop."""

    def __init__(self, planning: Planning, decision: Decision, backend: Backend | None) -> None:
        self._planning, self._decision, self._backend = planning, decision, backend
        self._inline = backend is None or backend.traits.inline
        self._was_running = backend is not None and backend.availability().running
        chosen = decision.chosen
        self.report = RunReport(chosen.backend, chosen.workers, prediction=chosen.prediction)
        if planning.profile.remaining is not None:
            self.report.predicted = chosen.prediction.seconds
        self.failure = FirstFailure()
        self._held: Callable[[], int] = lambda: 0

    def pieces(self, *, lazily: bool = False) -> Generator[Piece, None, None]:
        """Results of the items that were not sampled, in pieces and in any order; ``lazily``
        yields each as early as it can. An item's error is in ``failure`` at the end.
        """
        feed = self._feed()
        sampled = self._planning.sample.failure
        if sampled is not None:
            self.failure.offer(*sampled)
            feed.cut(sampled[0])
        if self._inline:
            yield from self._serial(feed, lazily=lazily)
        else:
            run = self._parallel_run(feed)
            run.held = self._held
            yield from run.pieces()

    def hold(self, held: Callable[[], int]) -> None:
        """Tell how many pieces the consumer holds back, which bounds what is in flight."""
        self._held = held

    def learn(self) -> None:
        """Let later plans of this process know what starting the backend really took."""
        report = self.report
        if self._backend is None or self._inline or self._was_running or not report.startup_s:
            return
        from amorsize import pricing

        pricing.observe(
            self._backend,
            workers=report.workers,
            startup_s=report.startup_s,
            shutdown_s=report.shutdown_s,
        )

    def _feed(self) -> Feed:
        visible = self._sees_source()
        return Feed(
            self._planning.source,
            self._planning.done,
            self._decision.chosen.schedule,
            item_s=self._planning.profile.item_s,
            carry_items=not visible,
        )

    def _sees_source(self) -> bool:
        """Whether workers read items from the caller's data instead of receiving them."""
        if self._backend is None or not isinstance(self._planning.source, IndexedSource):
            return False
        return self._backend.traits.shares_memory or self._backend.traits.inherits_memory

    def _parallel_run(self, feed: Feed) -> Run:
        assert self._backend is not None
        planning, workers = self._planning, self._decision.chosen.workers
        source = planning.source if self._sees_source() else None
        assert source is None or isinstance(source, IndexedSource)
        payload = planning.payload
        request = OpenRequest(planning.function, workers, source, planning.options, payload)
        run = Run(self._backend, request, feed, self.report, failure=self.failure)
        run.item_s = planning.profile.item_s
        offer = self._offer()
        if offer is not None:
            run.latency_s = offer.costs.latency_s.value
            if planning.profile.remaining is None:
                run.serial_first_s = _starting_s(offer, workers)
        return run

    def _offer(self) -> Offer | None:
        name = self._decision.chosen.backend
        return next((offer for offer in self._planning.offers if offer.name == name), None)

    def _serial(self, feed: Feed, *, lazily: bool) -> Generator[Piece, None, None]:
        begin, cpu = time.perf_counter(), time.thread_time()
        source, function = self._planning.source, self._planning.function
        try:
            if isinstance(source, StreamSource):
                yield from self._serial_stream(feed, 1 if lazily else self._block())
                return
            for start, stop in feed.gaps():
                step = min(self._block(), _CACHED_ITEMS) if lazily else _CACHED_ITEMS
                for first in range(start, stop, step):
                    last = min(stop, first + step)
                    loop = run_loop(function, source.items(first, last), first)
                    if loop.error is not None:
                        self.failure.offer(first + loop.position, loop.error)
                        return
                    self.report.items += last - first
                    yield first, loop.values
        finally:
            self.report.actual = self.report.compute_s = time.perf_counter() - begin
            self.report.cpu_s = time.thread_time() - cpu

    def _serial_stream(self, feed: Feed, block: int) -> Generator[Piece, None, None]:
        while True:
            try:
                start, items = feed.take(block)
            except BaseException as error:  # the data's own
                self.failure.offer(AFTER_ALL, error)
                return
            if not items:
                return
            loop = run_loop(self._planning.function, items, start)
            if loop.error is not None:
                self.failure.offer(start + loop.position, loop.error)
                return
            self.report.items += len(items)
            yield start, loop.values

    def _block(self) -> int:
        return max(1, int(_BLOCK_S / max(self._planning.profile.item_s, 1e-9)))


def _starting_s(offer: Offer, workers: int) -> float:
    costs = offer.costs
    return costs.startup_s.value + costs.shutdown_s.value + workers * costs.startup_worker_s.value
