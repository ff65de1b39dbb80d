"""One run of a decision: stretches in the caller and on sessions of backends, until nothing is
left. A stretch that learns that the decision was wrong ends early, and the planner decides anew
about what remains.
"""

from __future__ import annotations

import heapq
import math
import operator
import os
import sys
import time
from collections.abc import Callable, Generator, Iterable
from typing import TYPE_CHECKING

from amorsize import watched
from amorsize.backend import Backend, OpenRequest
from amorsize.collect import subtract
from amorsize.errors import AmorsizeError, BackendUnavailable
from amorsize.feed import Feed
from amorsize.gain import Gain, Planned
from amorsize.giants import giants
from amorsize.judge import AFTER_ALL, FirstFailure, Judge
from amorsize.leaving import Leaving, mixed
from amorsize.planner import CHUNK_BYTES, REMOTE_CHUNK_BYTES, Decision, Offer
from amorsize.planning import Planning
from amorsize.report import RunReport
from amorsize.runner import Run
from amorsize.runqueue import RunQueue
from amorsize.serial import SerialRun
from amorsize.source import IndexedSource, Piece, Span, StreamSource
from amorsize.trips import Trips
from amorsize.window import PATIENCE_S, Window
from amorsize.worker import worker_name

if TYPE_CHECKING:
    from amorsize.journal import Journal

GIANTS_EACH = 4
"""Items for each worker that may go ahead because they look much larger than the others."""
SINGLES = 4
"""Items that go ahead by themselves where workers share chunks: how these take tells soon whether
the others do what the sample did.
"""
LOOK_AGAIN_S = 0.02
"""Seconds for which items run in the caller that did not do among threads what the sample did."""
MOST_MOVES = 4
"""Times a run may change its mind; then it stays with what it has."""


class Execution:
    """Runs what the sample left over. ``backend`` is ``None`` for the plain loop.

    Args:
        planning: the function, its data and the sample.
        decision: what to run.
        backend: the backend chosen, ``None`` for the plain loop.
        free: whether the run may leave the backend when evidence says so; not when the caller
            named it.
    """

    def __init__(
        self, planning: Planning, decision: Decision, backend: Backend | None, *, free: bool
    ) -> None:
        self._planning, self._decision, self._backend = planning, decision, backend
        self._free, self._moves, self._home = free, 0, os.getpid()
        self._was_running = backend is not None and backend.availability().running
        chosen = decision.chosen
        self.report = RunReport(chosen.backend, chosen.workers, prediction=chosen.prediction)
        if planning.unsampled:
            self.report.prediction = None
        elif planning.profile.remaining is not None:
            self.report.predicted = chosen.prediction.seconds
        self.judge = Judge(self.report, planning.policy)
        self._ends_at, self._broken = math.inf, set[str]()
        self._held: Callable[[], int] = lambda: 0
        self._journal: Journal | None = None
        self._feed: Feed | None = None
        self._cancelled = False

    def cancel(self) -> None:
        """End the run soon, as if nothing were left; from any thread."""
        self._cancelled = True
        if self._feed is not None:
            self._feed.cancelled = True

    def resume(self, journal: Journal) -> None:
        """Run only what ``journal`` does not hold, and keep it there."""
        self._journal = journal
        spans, planning = journal.spans, self._planning
        self.report.resumed_items = sum(stop - start for start, stop in spans)
        profile = planning.profile
        if self.report.resumed_items > profile.resumed + profile.sampled:
            self.report.predicted = None  # less is left than the plan knew of
        for start, values in subtract(planning.sample.results, spans):
            journal.add(start, values)

    def ready(self) -> Iterable[Piece]:
        """Results that are there before anything runs, sorted."""
        sampled = self._planning.sample.results
        if self._journal is None:
            return sampled
        beside = subtract(sampled, self._journal.spans)
        return heapq.merge(self._journal.results(), beside, key=operator.itemgetter(0))

    @property
    def _done(self) -> list[Span]:
        kept = [] if self._journal is None else self._journal.spans
        return self._planning.done + kept

    @property
    def failure(self) -> FirstFailure:
        """The error that ends the run, if one does."""
        return self.judge.failure

    def pieces(self, *, lazily: bool = False) -> Generator[Piece, None, None]:
        """Results of the items that were not sampled, in pieces and in any order; ``lazily``
        yields each as early as it can. An item's error is in ``failure`` at the end.
        """
        begin = time.perf_counter()
        policy, planning = self._planning.policy, self._planning
        feed = self._feed = Feed(planning.source, self._done, stop_on_error=not policy.forgives)
        feed.cancelled = self._cancelled
        if self.report.watch is not None:
            ready = max(self.report.resumed_items, planning.profile.sampled)
            self.report.watch.started(self.report, planning.profile.items, ready)
        self._take_over_sample(feed)
        if policy.deadline is not None:
            self._ends_at = begin + policy.deadline
        raised, complete = None, False
        if lazily and isinstance(planning.source, StreamSource):
            planning.source.patience_s = PATIENCE_S
        try:
            yield from self._stretches(feed, lazily=lazily)
            complete = self.failure.error is None and not feed.cancelled
        except GeneratorExit:
            raise
        except BaseException as error:
            raised = error
            raise
        finally:
            self.report.actual = time.perf_counter() - begin
            if self.report.watch is not None:
                self.report.watch.ended(
                    self.report, raised or self.failure.error, complete=complete
                )

    def _stretches(self, feed: Feed, *, lazily: bool) -> Generator[Piece, None, None]:
        planning = self._planning
        may_work_here = planning.policy.timeout is None and not planning.unsampled
        if self._unknown_length() and not self._is_inline() and may_work_here:
            yield from self._before_workers(feed, lazily=lazily)
        while feed.remaining != 0 and not feed.cancelled:
            if self._is_inline():
                yield from self._serial(feed, lazily=lazily)
            else:
                yield from self._parallel(feed, lazily=lazily)

    def _take_over_sample(self, feed: Feed) -> None:
        """Failures of the sample are failures of the run."""
        sample = self._planning.sample
        self.report.retries += sample.retries
        for told in sample.errors:
            self.report.fail(told)
        if sample.failure is not None:
            index, error = sample.failure
            self.judge.ended(index, error)
            feed.cut(index)

    def hold(self, held: Callable[[], int]) -> None:
        """Tell how many pieces the consumer holds back, which bounds what is in flight."""
        self._held = held

    def learn(self) -> None:
        """Let later plans of this process know what starting the backend really took, and what its
        items turned out not to be.
        """
        report = self.report
        if os.getpid() != self._home or sys.is_finalizing():
            return
        if report.moves:  # the function is not what it seemed to be
            watched.forget(self._planning.runnable)
        if self._backend is None or report.first_answer_s is None:
            return
        from amorsize import pricing

        first = pricing.started(self._backend)
        if self._is_inline() or report.moves or report.lost_workers:
            return
        if self._was_running:
            expected_s, seen_s = report.lost_to_engine()
            if expected_s is not None:
                workers = report.workers
                pricing.compare(
                    self._backend, workers=workers, expected_s=expected_s, seen_s=seen_s
                )
            return
        pricing.observe(
            self._backend,
            workers=report.workers,
            first_answer_s=report.first_answer_s,
            shutdown_s=report.shutdown_s,
            first=first,
        )

    # -- stretches ---------------------------------------------------------------------------

    def _before_workers(self, feed: Feed, *, lazily: bool) -> Generator[Piece, None, None]:
        """Data of unknown length may end before workers would have paid: work in the caller for
        as long as starting them takes, so that at most that time is ever lost. What lasts so long
        can be expected to last as long again; where workers would save little of that, it takes
        longer until it is more than they cost.
        """
        offer = self._offer()
        if offer is not None:
            chosen, profile = self._decision.chosen, self._planning.profile
            serial_s = self._decision.items * profile.item_s
            saved = 1.0 - chosen.prediction.seconds / max(serial_s, 1e-9)
            patience = max(1.0, 0.5 / max(saved, 0.05)) if self._free else 1.0
            limit = patience * _starting_s(offer, chosen.workers)
            yield from self._watched(self._loop(feed, lazily=lazily, limit_s=limit))

    def _serial(self, feed: Feed, *, lazily: bool) -> Generator[Piece, None, None]:
        stretch = self._loop(feed, lazily=lazily)
        yield from self._watched(stretch)
        if stretch.observed_s is not None:
            self._think_again(feed, stretch.observed_s)

    def _watched(self, stretch: SerialRun) -> Generator[Piece, None, None]:
        """The pieces of a stretch in the caller, which knows no chunks to tell of."""
        pieces = stretch.pieces()
        if self._journal is not None:
            pieces = self._journal.keep(pieces)
        if self.report.watch is None:
            yield from pieces
            return
        begin = time.perf_counter()
        for start, values in pieces:
            seconds = time.perf_counter() - begin
            self.report.watch.finished(start, len(values), seconds, worker_name())
            yield start, values
            begin = time.perf_counter()

    def _loop(self, feed: Feed, *, lazily: bool, limit_s: float | None = None) -> SerialRun:
        return SerialRun(
            self._planning.runnable,
            feed,
            self.report,
            self.judge,
            self._planning.profile.item_s,
            lazily=lazily,
            limit_s=limit_s,
            ends_at=self._ends_at,
            watch=limit_s is None and self._may_move(),
            keep=lazily or self._journal is not None,
        )

    def _parallel(self, feed: Feed, *, lazily: bool) -> Generator[Piece, None, None]:
        assert self._backend is not None
        planning, chosen = self._planning, self._decision.chosen
        visible = self._sees_source(self._backend)
        source = planning.source if visible else None
        assert source is None or isinstance(source, IndexedSource)
        self._cut(feed, visible=visible, lazily=lazily)
        payload = planning.payload
        shared = self._backend.traits.shares_memory or self._backend.traits.inline
        request = OpenRequest(
            planning.runnable if shared else planning.travelling,
            chosen.workers,
            source,
            self._cores_per_worker(),
            planning.options,
            payload,
        )
        offer = self._offer()
        if offer is not None:
            request.store_bytes = offer.costs.store_bytes
        run = self._run(self._backend, request, feed)
        run.ends_at = self._ends_at
        memory = planning.limits.shared_memory_bytes if planning.limits else None
        whole = self._backend.traits.remote and not lazily  # results may come many at a time
        chunk_bytes = REMOTE_CHUNK_BYTES if whole else CHUNK_BYTES
        run.window = Window(memory, planning.profile.outputs.nbytes, chunk_bytes)
        for _, values in planning.sample.results[-1:]:
            run.window.observe(values, 0, () if feed.is_indexed else planning.sample.recent_items)
        run.may_leave = self._may_work_here()
        if self._backend.traits.shares_gil:
            run.gain = self._threads_gain(run.lanes)
        run.trips = Trips(offer.costs.latency_s.value if offer else 0.0)
        if lazily:
            from amorsize.backlog import Backlog

            run.backlog = Backlog(chosen.workers)
        if planning.unsampled:
            from amorsize.pilot import Pilot

            run.pilot = Pilot(planning, chosen.workers, spread=not lazily)
        yield from run.pieces()
        yield from self._go_on_after(run, feed, lazily=lazily)

    def _run(self, backend: Backend, request: OpenRequest, feed: Feed) -> Run:
        if self._journal is None:
            return Run(backend, request, feed, self.report, self.judge, self._held)
        from amorsize.kept import KeptRun

        run = KeptRun(backend, request, feed, self.report, self.judge, self._held)
        run.keep = self._journal.add
        return run

    def _threads_gain(self, lanes: int) -> Gain:
        """What to expect of threads of one interpreter: items wait, or leave the lock to others."""
        profile, limits = self._planning.profile, self._planning.limits
        planned = Planned(
            self._decision.chosen.workers,
            profile.item_s,
            profile.item_cpu_s,
            profile.waiting_share,
            unlimited=limits is None or limits.cores >= limits.load.cpus,
        )
        return Gain(lanes, planned)

    def _cut(self, feed: Feed, *, visible: bool, lazily: bool) -> None:
        """Have what is left cut as planned; workers that do not see the source get items."""
        assert self._backend is not None
        planning, chosen = self._planning, self._decision.chosen
        item_s = planning.profile.item_s
        feed.plan(chosen.schedule, item_s, carry_items=not visible)
        feed.may_end_soon = not self._backend.traits.remote
        if self._backend.traits.shares_chunks:
            feed.singles = SINGLES
        if not lazily and not planning.unsampled:  # a stream wants the first items first
            most = GIANTS_EACH * chosen.workers
            feed.giants = giants(planning.source, item_s, feed.remaining, most)[::-1]

    def _go_on_after(self, run: Run, feed: Feed, *, lazily: bool) -> Generator[Piece, None, None]:
        """What a stretch on workers that has ended means for what is left, if anything is."""
        if run.broken is not None:
            self._do_without(run.broken, feed)
        elif run.leaving is not None and self._may_work_here():  # no worker has died since
            leaving = run.leaving
            self._move(None, leaving.why)
            if leaving.facts is not None:
                if leaving.item_s is not None and self._has_many(feed, leaving.item_s):
                    leaving = yield from self._alone(feed, leaving, lazily=lazily)
                    if self.failure.error is not None or feed.cancelled:
                        return
                again = self._planning.without(leaving, feed.remaining)
                self._decide_again(again, leaving.why)

    def _has_many(self, feed: Feed, item_s: float) -> bool:
        """Whether so many items are left that some of them may tell of the others."""
        left = feed.remaining
        return item_s <= LOOK_AGAIN_S and (left is None or left * item_s > 2 * LOOK_AGAIN_S)

    def _alone(
        self, feed: Feed, leaving: Leaving, *, lazily: bool
    ) -> Generator[Piece, None, Leaving]:
        """Run some items in the caller. Among threads that all compute it does not show how much
        of an item's time is waiting, for other things than each other.
        """
        stretch, queue = self._loop(feed, lazily=lazily, limit_s=LOOK_AGAIN_S), RunQueue()
        yield from self._watched(stretch)
        ran = stretch.ran
        return mixed(ran.own_s(queue) / ran.items, ran.cpu_s / ran.items) if ran.items else leaving

    # -- decisions ---------------------------------------------------------------------------

    def _think_again(self, feed: Feed, observed_s: float) -> None:
        """Decide anew about what remains, with the item time that the run has seen."""
        times = observed_s / max(self._planning.profile.item_s, 1e-12)
        again = self._planning.revised(observed_s, feed.remaining)
        self._decide_again(again, f"items took {times:.1f} times as long as sampled")

    def _decide_again(self, planning: Planning, why: str) -> None:
        """Leave the loop, if what is known now says so."""
        self._moves += 1
        self._planning = planning
        try:
            decision, backend = planning.automatic()
        except AmorsizeError:  # the loop that runs needs no better idea
            return
        if decision.chosen.schedule.kind != "whole":
            self._decision = decision
            self._move(backend, why)

    def _may_move(self) -> bool:
        return self._free and self._moves < MOST_MOVES and not self._broken

    def _may_work_here(self) -> bool:
        """Whether the run may go on in the caller: a limit of time cannot be enforced there, and
        what has killed workers would end it.
        """
        return self._free and self._planning.policy.timeout is None and not self.report.lost_workers

    def _do_without(self, error: BackendUnavailable, feed: Feed) -> None:
        """The engine did not start, or has gone: the next best candidate takes what is left, the
        loop before any that is slower. One that the caller named is not replaced, and no cluster
        is started instead: where processes cannot start, it cannot either.
        """
        assert self._backend is not None
        self._broken.add(self._backend.name)
        cold = {offer.name for offer in self._planning.offers if offer.cold_cluster}
        for candidate in self._decision.rejected:
            if not self._free or candidate.backend in self._broken | cold:
                continue
            backend = self._planning.backend_of(candidate)
            if backend.traits.inline:
                if self._may_work_here():
                    break
                continue
            self._decision = self._decision._replace(chosen=candidate)
            self._move(backend, str(error))
            return
        if self._may_work_here():
            self._move(None, str(error))
        else:
            self.failure.offer(AFTER_ALL, error)
            feed.cut(0)

    def _move(self, backend: Backend | None, why: str) -> None:
        before, after = self.report.backend, "serial" if backend is None else backend.name
        self._backend = backend
        if self.report.watch is not None:
            self.report.watch.moved(before, after, why)
        self.report.moves.append(f"from {before} to {after} at item {self.report.items}: {why}")
        self.report.backend = after
        self.report.workers = 1 if backend is None else self._decision.chosen.workers

    def _is_inline(self) -> bool:
        return self._backend is None or self._backend.traits.inline

    def _unknown_length(self) -> bool:
        return self._planning.profile.remaining is None

    def _sees_source(self, backend: Backend) -> bool:
        """Whether workers read items from the caller's data instead of receiving them."""
        source = self._planning.source
        if not isinstance(source, IndexedSource) or not source.anywhere:
            return False
        return backend.traits.shares_memory or backend.traits.inherits_memory

    def _cores_per_worker(self) -> float:
        offer = self._offer()
        return 1.0 if offer is None else offer.capacity.cores / self._decision.chosen.workers

    def _offer(self) -> Offer | None:
        name = self._decision.chosen.backend
        return next((offer for offer in self._planning.offers if offer.name == name), None)


def _starting_s(offer: Offer, workers: int) -> float:
    costs = offer.costs
    return costs.starting_s(workers, offer.capacity.cores) + costs.shutdown_s.value
