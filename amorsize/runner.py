"""Runs chunks on a session of any backend: bounded window, faults, errors, clean shut-down."""

from __future__ import annotations

import math
import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from amorsize import open_runs
from amorsize.backend import Backend, Chunk, OpenRequest, Session
from amorsize.errors import (
    BackendUnavailable,
    DeadlineExceeded,
    ItemNotLoaded,
    ResultNotLoaded,
    UnpicklableItem,
    WorkerLost,
    WorkersKeepDying,
)
from amorsize.feed import Feed
from amorsize.gain import Gain, aloft_s
from amorsize.interrupts import heeded, raise_if_terminated, shielded, terminating
from amorsize.judge import AFTER_ALL, FirstFailure, Judge
from amorsize.leaving import Leaving, unsendable
from amorsize.recovery import Recovery, most_deaths
from amorsize.report import RunReport
from amorsize.source import Piece
from amorsize.starting import open_session
from amorsize.trips import Trips
from amorsize.voices import replay
from amorsize.window import PATIENCE_S, Window
from amorsize.work import pieces_of
from amorsize.worker import Outcome, finished, rebuilt

if TYPE_CHECKING:
    from concurrent.futures import Future

    from amorsize.backlog import Backlog
    from amorsize.pilot import Pilot


REVISE, REVISE_SHARED = 1.25, 5.0
"""Change of the estimated item time, up or down, from which what remains is re-chunked; and of
chunks that all workers share, which may be of any size.
"""
BUSY_S = 0.001
"""Seconds of the consumer after which a run looks whether workers want more."""
LOOK_S = 0.1
"""Seconds without news after which a run looks whether it is still wanted."""


class Run:
    """One execution of a plan on a backend. ``pieces`` may be iterated once.

    An error never leaves ``pieces`` as an exception (a user's ``StopIteration`` would not
    survive a generator): it is in ``failure`` once the pieces end.

    Args:
        backend: where to run.
        request: what its session needs to know.
        feed: what is left to run.
        report: takes the measurements.
        judge: decides about failed items, and takes the error that ends the run.
        held: tells how many pieces the consumer has not passed on; bounds what is in flight.
    """

    ends_at: float = math.inf
    """``time.perf_counter()`` at which the run must be over."""
    may_leave: bool = False
    """Whether what cannot be sent, or gains nothing by workers of this host, may leave them."""
    leaving: Leaving | None = None
    """Why the run ended with items left, if it did."""
    gain: Gain
    """What the workers gain."""
    pilot: Pilot | None = None
    """Hands out the first chunks of a run without a sample."""
    backlog: Backlog | None = None
    """Of a stream: what its consumer does not need in flight."""
    broken: BackendUnavailable | None = None
    """Why the engine cannot go on, if that is so; unfinished items are back in the feed."""

    def __init__(
        self,
        backend: Backend,
        request: OpenRequest,
        feed: Feed,
        report: RunReport,
        judge: Judge,
        held: Callable[[], int] = lambda: 0,
    ) -> None:
        self.backend, self.request, self.feed = backend, request, feed
        self.report, self.judge, self.held = report, judge, held
        self._recovery = Recovery(report, judge.policy)
        self._flying: dict[Future[Any], Chunk] = {}
        self._submitted: dict[int, tuple[float, float]] = {}
        self._away_s = 0.0
        """Seconds that the consumer has had the thread."""
        self._ready: deque[Piece] = deque()
        self._cancel = self._all_out = False
        self._began = self._open_s = self._chunk_wall_s = 0.0
        self._shared = backend.traits.shares_chunks
        self.lanes = 1 if self._shared else request.workers
        """Chunks that are worked on at once, at most."""
        self.gain = Gain(self.lanes)
        self.window, self.trips = Window(), Trips()
        self._home = os.getpid()
        self._session: Session | None = None

    @property
    def failure(self) -> FirstFailure:
        """The error that ends the run."""
        return self.judge.failure

    def pieces(self) -> Generator[Piece, None, None]:
        """Results as they arrive, in any order. Closing the iterator cancels the run."""
        finished = False
        with terminating():
            try:
                if (session := self._start()) is not None:
                    yield from self._pump(session)
                finished = self.failure.error is None and not self._cancel
            finally:
                self.close(cancel=not finished)

    def _start(self) -> Session | None:
        """Open the session, ``None`` if it cannot be. From then on :meth:`close` ends it."""
        begin = time.perf_counter()
        with heeded():
            opened = open_session(self.backend, self.request)
            if isinstance(opened, BackendUnavailable):
                self.broken = opened
                return None
            session = self._session = opened
        open_runs.add(self)
        self._began = time.perf_counter()
        self._open_s = self._began - begin
        self.report.startup_s += self._open_s
        if self.report.watch is not None:
            self.report.watch.workers_started(self.backend.name, session.workers, self._open_s)
        return session

    def close(self, *, cancel: bool) -> None:
        """End the session, once; not in a forked child, whose parent goes on with the run."""
        if self._session is None:
            return
        with shielded():  # from the start: interrupted in between nobody would know the session
            session, self._session = self._session, None
            open_runs.remove(self)
            if session is None or os.getpid() != self._home:
                return
            begin = time.perf_counter()
            session.close(cancel=cancel)
            self.report.shutdown_s += time.perf_counter() - begin

    def _pump(self, session: Session) -> Iterator[Piece]:
        self._fit()
        more, busy = self._fill(session), False
        while self._flying or self._ready:
            if not self._ready:
                if self.backlog is not None:
                    self._tell_if_none(self.backlog, session, busy=busy)
                self._await(session, 0.0 if more or self._ready else math.inf)
            busy = yield from self._hand_out()
            if os.getpid() != self._home:
                raise RuntimeError("the run belongs to the process that this one was forked from")
            if self.failure.error is not None:
                self._drop_undecided()
            more = self._fill(session)

    def _hand_out(self) -> Generator[Piece, None, bool]:
        """What is ready, until the consumer has been busy long enough for workers to want more;
        whether it was.
        """
        begin, busy_s = time.perf_counter(), 0.0
        while self._ready and busy_s <= BUSY_S:
            yield self._ready.popleft()
            busy_s = time.perf_counter() - begin
        self._away_s += busy_s
        busy = busy_s > BUSY_S
        if busy and self.backlog is not None:
            ended = len(self._ready) + sum(future.done() for future in self._flying)
            self.backlog.found(ended, self.held() + len(self._ready) + len(self._flying))
        return busy

    def _tell_if_none(self, backlog: Backlog, session: Session, *, busy: bool) -> None:
        """A stream's consumer may have to wait. Where it was busy results may be there that the
        session takes only while it waits.
        """
        if busy and not any(future.done() for future in self._flying):
            self._await(session, 0.0)
        if not self._ready and not any(future.done() for future in self._flying):
            backlog.found_none()

    def _await(self, session: Session, most_s: float) -> None:
        """Wait until chunks end, ``most_s`` seconds are over, or the run's time is."""
        raise_if_terminated()
        if self.feed.cancelled:
            self._abandon()
            self.feed.cut(0)
            return
        left = self.ends_at - time.perf_counter()
        if left > 0:
            self._take_ended(session, min(left, most_s, LOOK_S))
            return
        while self._take_ended(session, 0.0):  # what has ended while nobody looked is finished
            pass
        self._expire()

    def _take_ended(self, session: Session, most_s: float) -> bool:
        """Wait until chunks end, no longer than ``most_s`` seconds; whether there are some."""
        ended = self._flying.keys() & session.wait(self._flying, most_s)
        in_turn = sorted(ended, key=lambda future: self._flying[future].first_index, reverse=True)
        ended.clear()
        some = bool(in_turn)
        while in_turn:  # looked at and not kept: they hold the results
            if (chunk := self._flying.pop(future := in_turn.pop(), None)) is not None:
                self._arrived(future, chunk, session)
        return some

    def _fill(self, session: Session) -> bool:
        """Submit until the window is full or nothing is left. True if that was interrupted,
        because it takes long and results may have arrived meanwhile.
        """
        begin = time.perf_counter()
        interrupted = False
        if self.pilot is not None and self.pilot.look(
            self.feed, self.report, list(self._flying.values())
        ):
            self._fit()
        least, room = 0 if self._ready else 1, self._room(session)
        while not (self.leaving or self.broken) and len(self._flying) < max(least, room):
            try:
                chunk = self._next()
            except Exception as error:  # the data's own: after all items before it
                self.failure.offer(AFTER_ALL, error)
                break
            if chunk is None:
                if not self._all_out:
                    self._all_out = True
                    session.all_out()
                break
            self._submit(session, chunk)
            # The window knows more now, or a giant is ahead.
            if len(self._flying) == 1 or self._shared or self.pilot is not None:
                room = self._room(session)
            if time.perf_counter() - begin > PATIENCE_S:
                interrupted = True
                break
        self.report.driver_s += time.perf_counter() - begin
        return interrupted

    def _submit(self, session: Session, chunk: Chunk) -> None:
        try:
            self._flying[session.submit(chunk)] = chunk
        except UnpicklableItem as error:
            self._refused(chunk, error)
        except Exception as error:
            self._engine_failed(chunk, error)
        else:
            self._submitted[chunk.number] = time.perf_counter(), self._away_s
            if self.report.watch is not None:
                self.report.watch.submitted(chunk.first_index, chunk.count)

    def _next(self) -> Chunk | None:
        if self.pilot is not None and not self.pilot.over:
            return self.pilot.next(self.feed)
        return self.feed.next()

    def _room(self, session: Session) -> int:
        """Chunks that may be in flight beside those that are here and wait for the consumer."""
        feed, ahead = self.feed, 0
        if self._shared:  # a chunk of one item keeps one worker busy, others all of them
            numbers = [chunk.number for chunk in self._flying.values()]
            ahead = sum(number < feed.singles or number in feed.apart for number in numbers)
        return self._window(session) + ahead + feed.singles_left - self.held() - len(self._ready)

    def _window(self, session: Session) -> int:
        """Chunks in flight."""
        workers = max(1, session.workers)
        if self._shared:  # as many as keep all of them busy
            size = self.feed.schedule.next_size(self.feed.remaining)
            workers = math.ceil(workers / max(1, size))
        most = self._recovery.most_workers
        if most is not None:  # memory is short: nothing waits at a worker
            return min(workers, most)
        if self.pilot is not None and not self.pilot.over:
            return self.pilot.window(workers, self.trips.seconds)
        largest = self.feed.schedule.largest
        chunks = self.window.chunks(workers, self.trips.seconds, self._chunk_s(), largest)
        return chunks if self.backlog is None else min(chunks, self.backlog.most)

    def _fit(self) -> None:
        """Make chunks small enough for the memory."""
        if (smaller := self.window.fitting(self.feed.schedule)) is not None:
            self.feed.schedule = smaller

    def _chunk_s(self) -> float:
        if self._chunk_wall_s:
            return self._chunk_wall_s
        return next((chunk.expected_s for chunk in self._flying.values()), 1.0)

    def _arrived(self, future: Future[Any], chunk: Chunk, session: Session) -> None:
        begin = time.perf_counter()
        since, away_s = self._submitted.pop(chunk.number, (begin, self._away_s))
        flown_s, away_s = begin - since, self._away_s - away_s
        try:
            outcome = rebuilt(future.result())
        except WorkerLost as lost:
            self._lost(chunk, lost, flown_s, session)
        except UnpicklableItem as error:
            self._refused(chunk, error)
        except (ItemNotLoaded, ResultNotLoaded) as error:
            self._suspect(chunk, error)
        except (KeyboardInterrupt, SystemExit):  # Ctrl-C: waits for no other chunk
            raise
        except BaseException as error:
            self._engine_failed(chunk, error)
        else:
            self._recovery.progressed()
            self.trips.observe(flown_s, outcome.times, away_s)
            if self.report.first_answer_s is None:
                # Since it was submitted: reading the data may have taken long before.
                self.report.first_answer_s = self._open_s + flown_s - outcome.times.lasted_s
            self._take(chunk, outcome)
            if self.leaving:
                session.withdraw()
                self._leave_rest(chunk, outcome)
        self.report.driver_s += time.perf_counter() - begin

    def _take(self, chunk: Chunk, outcome: Outcome) -> None:
        """Take over what a chunk has brought."""
        if outcome.voices:
            replay(outcome.voices)
        count = len(outcome.values)
        self.report.record(chunk.first_index, count, outcome.times, outcome.nbytes)
        self._observe(chunk, outcome)
        values = self._judged(chunk, outcome) if outcome.failures else outcome.values
        self._ready.extend(pieces_of(chunk, values))

    def _leave_rest(self, chunk: Chunk, outcome: Outcome) -> None:
        """Items of this chunk that have not been started are left, as those of others will be."""
        if not (outcome.failures and chunk.stop_on_error):
            rest = self.feed.part(chunk, len(outcome.values), chunk.count)
            self.feed.put_back(() if rest is None else (rest,))

    def _observe(self, chunk: Chunk, outcome: Outcome) -> None:
        """Compare what a chunk took with what was expected of it: re-chunk what remains, and
        leave them if workers gain nothing.
        """
        if not outcome.values:
            return
        held = () if self.feed.is_indexed else chunk.items or ()
        self.window.observe(outcome.values, outcome.nbytes, held)
        self._chunk_wall_s = outcome.times.lasted_s
        self.gain.observe(len(outcome.values), outcome.times)
        seen = outcome.times.wall_s / len(outcome.values)
        apart = chunk.number in self.feed.apart
        if self.pilot is not None:
            self.pilot.observe(chunk, outcome, apart=apart)
        most = REVISE_SHARED if self._shared else REVISE
        before = None if apart else self.feed.observe(seen, self.lanes, most)
        if before is not None and self.report.watch is not None:
            self.report.watch.revised(before, self.feed.item_s)
        self._fit()
        # Deaths take time, and the caller must survive what causes them.
        may_leave = self.may_leave and self.leaving is None and not self.report.lost_workers
        if may_leave and not self.backend.traits.remote:
            now, first = time.perf_counter(), islice(self._flying.values(), self.lanes)
            flying_s = aloft_s(first, self._submitted, now)
            self.leaving = self.gain.objection(now - self._began, flying_s)

    # -- failures ----------------------------------------------------------------------------

    def _judged(self, chunk: Chunk, outcome: Outcome) -> list[Any]:
        """A chunk's results, with placeholders for forgiven items; up to the item that ends the
        run if one does.
        """
        values, indices = list(outcome.values), list(chunk.indices())
        for position, error in outcome.failures:
            index = indices[position]
            item = self.request.item_of(chunk, position, index)
            instead = self.judge.failed(index, error, item, outcome.times.worker)
            if not instead:
                self.feed.cut(index)
                return values[:position]
            values[position : position + 1] = instead
        return values

    def _blame(self, chunk: Chunk, error: BaseException) -> None:
        """The only item of a chunk has failed."""
        index = chunk.first_index
        instead = self.judge.failed(index, error, self.request.item_of(chunk, 0, index))
        if instead:
            self._ready.append((index, instead))
        else:
            self.feed.cut(index)

    def _refused(self, chunk: Chunk, error: UnpicklableItem) -> None:
        """An item cannot travel: the others of its chunk go without it."""
        if self._goes_elsewhere(chunk, error):
            return
        indices = list(chunk.indices())
        at = indices.index(error.index) if error.index in indices else 0
        self._blame(self.feed.put_back_around(chunk, at), error)

    def _goes_elsewhere(self, chunk: Chunk, error: UnpicklableItem | ItemNotLoaded) -> bool:
        """Whether all that is left, this chunk included, goes where no item has to be sent."""
        if not self.may_leave or self.report.lost_workers or self._session is None:
            return False
        self.leaving = unsendable(error)
        self.feed.put_back([chunk])
        self._session.withdraw()
        return True

    def _suspect(self, chunk: Chunk, error: ItemNotLoaded | ResultNotLoaded) -> None:
        """Something of a chunk cannot be rebuilt at the other end: find out what."""
        if isinstance(error, ItemNotLoaded) and self._goes_elsewhere(chunk, error):
            return
        if chunk.count == 1:
            self._blame(chunk, error)
            return
        self.report.rerun_items += chunk.count if isinstance(error, ResultNotLoaded) else 0
        self.feed.put_back(self.feed.split(chunk))

    def _lost(self, chunk: Chunk, lost: WorkerLost, flown_s: float, session: Session) -> None:
        """A worker vanished with this chunk: run its items again, in parts, so that an item
        that kills workers is found; blame it when it is alone.
        """
        recovery = self._recovery
        recovery.lost(chunk)
        if self.report.watch is not None:
            self.report.watch.lost(chunk.first_index, chunk.count, lost.reason)
        limit = most_deaths(session.workers)
        if recovery.in_a_row > limit:
            error = WorkersKeepDying(self.backend.name, recovery.in_a_row, lost.reason)
            self.failure.offer(0, error)
            self.feed.cut(0)
            return
        if lost.out_of_memory and (fewer := recovery.shrink(session.workers)) is not None:
            session.shrink(fewer)
            self.feed.put_back([chunk])
        elif chunk.count > 1:
            self.feed.put_back(self.feed.split(chunk, recovery.parts(flown_s)))
        elif (guilt := recovery.verdict(chunk.first_index, lost, flown_s)) is None:
            self.feed.put_back([chunk])
        else:
            self._blame(chunk, guilt)

    def _engine_failed(self, chunk: Chunk, error: BaseException) -> None:
        """The engine itself failed. If it has gone, others may run what is left."""
        if isinstance(error, BackendUnavailable):
            self.broken = error
            self._take_finished()
            self.feed.put_back([chunk, *self._flying.values()])
            self._abandon()
        else:
            index = getattr(error, "index", chunk.first_index)
            self.failure.offer(index, error)
            self.feed.cut(index)

    def _take_finished(self) -> None:
        """What has come back before the engine went need not run again."""
        for future in list(self._flying):
            if (outcome := finished(future)) is not None:
                chunk = self._flying.pop(future)
                self._take(chunk, outcome)
                self._leave_rest(chunk, outcome)

    def _expire(self) -> None:
        """The run's time is over: what is not finished is given up."""
        policy = self.judge.policy
        error = DeadlineExceeded(policy.deadline or 0.0)
        spans = [span for chunk in self._flying.values() for span in chunk.spans]
        self._abandon()
        spans += self.feed.give_up()
        if policy.forgives and self.feed.is_indexed:
            self._ready += self.judge.given_up(spans, error)
        else:
            self.failure.offer(min((start for start, _ in spans), default=AFTER_ALL), error)

    def _abandon(self) -> None:
        """Wait for nothing any more; what runs is stopped when the session closes."""
        for future in self._flying:
            future.cancel()
        self._flying.clear()
        self._cancel = True

    def _drop_undecided(self) -> None:
        """Forget chunks behind the failing item; those before it may hold an earlier one."""
        for future, chunk in list(self._flying.items()):
            if chunk.first_index > self.failure.index:
                future.cancel()
                del self._flying[future]
