"""Runs chunks on a session of any backend: bounded window, faults, errors, clean shut-down."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any

from amorsize.backend import Backend, Chunk, OpenRequest, Session
from amorsize.errors import WorkerDied, WorkerLost
from amorsize.feed import Feed
from amorsize.loop import annotate
from amorsize.report import RunReport
from amorsize.worker import Outcome

if TYPE_CHECKING:
    from concurrent.futures import Future

Piece = tuple[int, list[Any]]
"""Index of the first item, and the results of consecutive items."""

MOST_QUEUED_PER_WORKER = 16
ATTEMPTS = 2
"""Times an item may cost its worker before it is held guilty."""
REVISE = 1.25
"""Change of the estimated item time, up or down, from which what remains is re-chunked."""
GIVE_UP_AFTER_S, GIVE_UP_RATIO = 0.05, 1.1
"""After this many seconds, workers whose items took together less than the elapsed time over
this ratio have gained nothing: the caller goes on alone."""
AFTER_ALL = 1 << 62
"""Index of an error of the data itself: any item before it that fails comes first."""


class FirstFailure:
    """Error state of a run: the lowest index that failed, as the plain loop would meet it."""

    index: int = -1
    error: BaseException | None = None

    def offer(self, index: int, error: BaseException) -> None:
        """Keep the error if no earlier item has failed."""
        if self.error is None or index < self.index:
            self.index, self.error = index, error


class Run:
    """One execution of a plan on a backend. ``pieces`` may be iterated once.

    An error never leaves ``pieces`` as an exception (a user's ``StopIteration`` would not
    survive a generator): it is in ``failure`` once the pieces end.

    Args:
        backend: where to run.
        request: what its session needs to know.
        feed: what is left to run.
        report: takes the measurements.
        failure: takes the error.
        held: tells how many pieces the consumer has not passed on; bounds what is in flight.
    """

    latency_s: float = 0.0
    """Round trip of a chunk, which decides how many are queued ahead."""
    may_give_up: bool = False
    """Whether to stop when the workers prove slower than the plain loop."""
    gave_up: bool = False
    """Whether the run ended for that reason, with items left."""

    def __init__(
        self,
        backend: Backend,
        request: OpenRequest,
        feed: Feed,
        report: RunReport,
        failure: FirstFailure,
        held: Callable[[], int] = lambda: 0,
    ) -> None:
        self.backend, self.request, self.feed = backend, request, feed
        self.report, self.failure, self.held = report, failure, held
        self._flying: dict[Future[Any], Chunk] = {}
        self._deaths: dict[int, int] = {}
        self._began = self._computed_s = self._chunk_wall_s = 0.0

    def pieces(self) -> Generator[Piece, None, None]:
        """Results as they arrive, in any order. Closing the iterator cancels the run."""
        begin = time.perf_counter()
        session = self.backend.open(self.request)
        self._began = time.perf_counter()
        self.report.startup_s += self._began - begin
        finished = False
        try:
            yield from self._pump(session)
            finished = self.failure.error is None
        finally:
            begin = time.perf_counter()
            session.close(cancel=not finished)
            self.report.shutdown_s += time.perf_counter() - begin

    def _pump(self, session: Session) -> Iterator[Piece]:
        self._fill(session)
        while self._flying:
            for future in session.wait(self._flying.keys(), None):
                chunk = self._flying.pop(future, None)
                if chunk is None:
                    continue
                yield from self._arrived(future, chunk)
            if self.failure.error is not None:
                self._drop_undecided()
            self._fill(session)

    def _fill(self, session: Session) -> None:
        """Submit until the window is full or nothing is left."""
        begin = time.perf_counter()
        while not self.gave_up and (
            not self._flying or len(self._flying) + self.held() < self._window(session)
        ):
            try:
                chunk = self.feed.next()
            except BaseException as error:  # the data's own: after all items before it
                self.failure.offer(AFTER_ALL, error)
                break
            if chunk is None:
                break
            try:
                self._flying[session.submit(chunk)] = chunk
            except Exception as error:  # an item that cannot travel, or an engine that gave up
                index = getattr(error, "index", chunk.first_index)
                self.failure.offer(index, error)
                self.feed.cut(index)
        self.report.driver_s += time.perf_counter() - begin

    def _window(self, session: Session) -> int:
        """Chunks in flight: one running and one queued per worker, more where the round trip is
        long against a chunk.
        """
        workers = max(1, session.workers)
        chunk_s = max(self._chunk_s(), 1e-6)
        ahead = min(MOST_QUEUED_PER_WORKER, max(1, math.ceil(self.latency_s / chunk_s)))
        return workers * (1 + ahead)

    def _chunk_s(self) -> float:
        if self._chunk_wall_s:
            return self._chunk_wall_s
        return next((chunk.expected_s for chunk in self._flying.values()), 1.0)

    def _arrived(self, future: Future[Any], chunk: Chunk) -> Iterator[Piece]:
        begin = time.perf_counter()
        try:
            outcome: Outcome = future.result().unpack()
        except WorkerLost as lost:
            self._lost(chunk, lost)
            return
        except BaseException as error:  # the engine failed, or a result cannot be rebuilt
            self.failure.offer(getattr(error, "index", chunk.first_index), error)
            return
        finally:
            self.report.driver_s += time.perf_counter() - begin
        self.report.record(chunk.first_index, len(outcome.values), outcome.times, outcome.nbytes)
        self._observe(chunk, outcome)
        if outcome.failures:
            self._note_failure(chunk, outcome)
        yield from _pieces(chunk, outcome.values)

    def _observe(self, chunk: Chunk, outcome: Outcome) -> None:
        """Compare what a chunk took with what was expected of it: re-chunk what remains, and
        give up if all workers together take longer than their items would one by one.
        """
        if not outcome.values:
            return
        wall_s = outcome.times.wall_s
        self._chunk_wall_s, self._computed_s = wall_s, self._computed_s + wall_s
        seen = wall_s / len(outcome.values)
        if self.feed.item_s > 0:
            mixed = (self.feed.item_s + seen) / 2
            if not 1 / REVISE < mixed / self.feed.item_s < REVISE:
                self.feed.rescale(mixed)
        elapsed = time.perf_counter() - self._began
        if (
            self.may_give_up
            and elapsed > GIVE_UP_AFTER_S
            and chunk.number >= 4 * self.request.workers
        ):
            self.gave_up = elapsed > GIVE_UP_RATIO * self._computed_s

    def _note_failure(self, chunk: Chunk, outcome: Outcome) -> None:
        first = outcome.failures[0]
        index = list(chunk.indices())[first.position]
        annotate(
            first.exception, index, self._item(chunk, first.position, index), outcome.times.worker
        )
        self.failure.offer(index, first.exception)
        self.feed.cut(index)

    def _item(self, chunk: Chunk, position: int, index: int) -> object:
        """The item for a message; user data may raise anything."""
        try:
            if chunk.items is not None:
                return chunk.items[position]
            return self.request.source.item(index) if self.request.source else None
        except Exception:
            return None

    def _drop_undecided(self) -> None:
        """Forget chunks behind the failing item; those before it may hold an earlier one."""
        for future, chunk in list(self._flying.items()):
            if chunk.first_index > self.failure.index:
                future.cancel()
                del self._flying[future]

    def _lost(self, chunk: Chunk, lost: WorkerLost) -> None:
        """A worker vanished with this chunk: run its items again, in halves, so that an item
        that kills workers is found; blame it when it is alone.
        """
        self.report.lost_workers += 1
        self.report.rerun_items += chunk.count
        if chunk.count > 1:
            self.feed.put_back(self.feed.split(chunk))
            return
        index = chunk.first_index
        self._deaths[index] = self._deaths.get(index, 0) + 1
        if self._deaths[index] < ATTEMPTS:
            self.feed.put_back([chunk])
            return
        error = WorkerDied(index, lost.reason, self._deaths[index])
        error.__cause__ = lost
        annotate(error, index, self._item(chunk, 0, index))
        self.failure.offer(index, error)
        self.feed.cut(index)


def _pieces(chunk: Chunk, values: list[Any]) -> Iterator[Piece]:
    """A chunk's results by span."""
    position = 0
    for start, stop in chunk.spans:
        part = values[position : position + stop - start]
        position += stop - start
        if part:
            yield start, part
