"""A backend under measurement: sessions with all workers up, and chunks of nothing.

Bursts go through amorsize's own runner: what a run pays for a chunk is what is measured.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from amorsize.asking import NOTHING, Ask, answer
from amorsize.backend import Availability, Backend, Chunk, OpenRequest, Session, Traits
from amorsize.calibration.bounded import Budget
from amorsize.collect import in_one_list
from amorsize.feed import Feed
from amorsize.judge import Judge
from amorsize.report import RunReport
from amorsize.runner import Run
from amorsize.schedule import fixed
from amorsize.source import IndexedSource, source_of
from amorsize.trips import Trips

if TYPE_CHECKING:
    from concurrent.futures import Future

MOST_ITEMS = 20_000
"""Items of the longest burst."""
_LAST = 1 << 62
_NAP_S, _GATHERING_S = 0.02, 5.0
"""Seconds that chunks wait so as not to be taken by one worker, and most seconds to try that."""


class Burst(NamedTuple):
    """What pushing many chunks through took."""

    wall_s: float
    """Seconds until all results were there."""
    cpu_s: float
    """CPU seconds of this process meanwhile."""


class Probe:
    """An open session under measurement.

    Args:
        session: the session; all its workers have answered.
        request: what it was opened with.
        traits: its backend's.
        interpreters: interpreters that its workers live in.
        budget: the time for it.
    """

    startup_s: float = 0.0
    """Seconds until all workers had answered."""
    startup_cpu_s: float = 0.0
    """CPU seconds of this process meanwhile."""
    shutdown_s: float = 0.0
    """Seconds to close it, once it is closed."""
    latency_s: float = 0.0
    """Seconds of a round trip, once they are known: the runner keeps as much in flight."""

    def __init__(
        self,
        session: Session,
        request: OpenRequest,
        traits: Traits,
        interpreters: int,
        budget: Budget,
    ) -> None:
        self._session, self._request, self._traits = session, request, traits
        self.interpreters, self._budget = interpreters, budget
        self._number = 0
        self._sent = self._back = 0.0

    @property
    def workers(self) -> int:
        """Workers asked for."""
        return self._request.workers

    @property
    def carries_items(self) -> bool:
        """Whether items travel; otherwise workers know beforehand all that they can be asked."""
        return self._request.source is None

    def trip(self, item: Any = NOTHING, count: int = 1, *, stored: bool = False) -> float:
        """Seconds to send ``count`` chunks of one item and hold all their results; whether the
        items travel within their tasks or lie ``stored`` with the engine.
        """
        self._request.store_bytes = 0.0 if stored else math.inf
        begin = time.perf_counter()
        self.answers(item, count)
        return time.perf_counter() - begin

    def trip_alone(self, item: Any = NOTHING, count: int = 1, *, stored: bool = False) -> float:
        """Seconds of a round trip of ``count`` chunks with nothing else on its way, not even what
        the engine still has to tell of the one before: some send at intervals, and a message
        would get lost in the wait for the next.
        """
        ready = max(self._sent + 2 * self.latency_s, self._back + self.latency_s)
        time.sleep(max(0.0, ready + self.latency_s / 4 - time.perf_counter()))
        return self.trip(item, count, stored=stored)

    def worker_cpu_s(self) -> float:
        """CPU seconds that a worker has used since its process was started; 0 for a thread."""
        return float(self.answers(Ask(caller=os.getpid()))[0])

    def answers(self, item: Any, count: int = 1) -> list[Any]:
        """The results of ``count`` chunks of one item."""
        results: list[Any] = []
        self._sent = time.perf_counter()
        pending = {self._submit(item) for _ in range(count)}
        while pending:
            for future in self._session.wait(pending, self._budget.left_s()):
                pending.discard(future)
                results += future.result().unpack().values
        self._back = time.perf_counter()
        return results

    def gather(self) -> None:
        """Wait until as many chunks run at once as there are workers: the first to be up would
        otherwise answer for all.
        """
        one, until = Ask(nap_s=_NAP_S), self._budget.used_s + _GATHERING_S
        alone = self.trip(one)
        while self._budget.used_s < until:
            if self.trip(one, self.workers) < alone + _NAP_S / 2:
                return

    def burst(self, chunks: int, size: int = 1, item: Any = NOTHING) -> Burst:
        """Push ``chunks`` chunks of ``size`` equal items through, as a run does."""
        count = min(MOST_ITEMS, chunks * size)
        self._request.store_bytes = math.inf
        source = self._request.source or source_of([item] * count)
        assert isinstance(source, IndexedSource)
        carry = self._request.source is None
        feed = Feed(
            source, [(count, _LAST)], fixed(size, self.workers), item_s=1e-7, carry_items=carry
        )
        report = RunReport("probe", self.workers)
        lent = _Lent(self._session, self._traits)
        run = Run(lent, self._request, feed, report, Judge(report))
        run.trips = Trips(self.latency_s)
        run.ends_at = time.perf_counter() + self._budget.left_s()
        cpu, wall = time.process_time(), time.perf_counter()
        in_one_list(run.pieces())
        found = Burst(time.perf_counter() - wall, time.process_time() - cpu)
        self._sent = self._back = time.perf_counter()
        error = run.failure.error or run.broken
        if error is not None:
            raise error
        return found

    def asked(self, count: int) -> Burst:
        """Have workers that see the caller's data do the first ``count`` things that they can be
        asked for, in one chunk.
        """
        self._number += 1
        chunk = Chunk(self._number, ((MOST_ITEMS, MOST_ITEMS + count),), None, 1e-6)
        cpu, wall = time.process_time(), time.perf_counter()
        future = self._session.submit(chunk)
        self._session.wait([future], self._budget.left_s())
        future.result()
        return Burst(time.perf_counter() - wall, time.process_time() - cpu)

    def _submit(self, item: Any) -> Future[Any]:
        self._number += 1
        source = self._request.source
        if source is None:
            return self._session.submit(Chunk(self._number, ((0, 1),), [item], 1e-6))
        position = 0
        if item is not NOTHING:
            asked: list[Any] = list(source.items(MOST_ITEMS, source.length))
            position = MOST_ITEMS + asked.index(item)
        return self._session.submit(Chunk(self._number, ((position, position + 1),), None, 1e-6))


class _Lent(Backend):
    """A session that is open already, for a run that must not close it."""

    name = "probe"

    def __init__(self, session: Session, traits: Traits) -> None:
        self._session, self._traits = session, traits

    @property
    def traits(self) -> Traits:
        """Those of the session's backend."""
        return self._traits

    def availability(self) -> Availability:
        """Up."""
        return Availability(True, running=True)

    def open(self, request: OpenRequest) -> Session:
        """The session."""
        return _Kept(self._session)


class _Kept(Session):
    """Passes everything on but ``close``."""

    def __init__(self, session: Session) -> None:
        self._session, self.workers = session, session.workers

    def submit(self, chunk: Chunk) -> Future[Any]:
        """To the session."""
        return self._session.submit(chunk)

    def wait(self, futures: Any, timeout_s: float | None) -> set[Future[Any]]:
        """By the session."""
        return self._session.wait(futures, timeout_s)

    def close(self, *, cancel: bool) -> None:
        """Left to its owner."""


@contextmanager
def opened(
    backend: Backend,
    workers: int,
    budget: Budget,
    asks: tuple[Ask, ...] = (),
    function: Callable[[Any], Any] = answer,
    *,
    cold: bool = False,
    interpreters: int | None = None,
) -> Iterator[Probe]:
    """A session with all its workers up; times its start and its end. Workers that see the
    caller's data can be asked for ``asks`` only. ``cold`` tells that the engine is started by
    this: a cluster's workers come one by one. The workers live in so many ``interpreters``, by
    default in one each.
    """
    traits = backend.traits
    visible = traits.shares_memory or traits.inherits_memory
    source = source_of([NOTHING] * MOST_ITEMS + list(asks)) if visible else None
    assert source is None or isinstance(source, IndexedSource)
    request = OpenRequest(function, workers, source)
    budget.left_s()
    cpu, begin = time.process_time(), time.perf_counter()
    session = backend.open(request)
    finished = False
    try:
        probe = Probe(session, request, traits, interpreters or workers, budget)
        probe.trip(count=workers)
        if cold and traits.remote and workers > 1:
            probe.gather()
        probe.startup_s = time.perf_counter() - begin
        probe.startup_cpu_s = time.process_time() - cpu
        yield probe
        finished = True
    finally:
        begin = time.perf_counter()
        session.close(cancel=not finished)
        if finished:
            probe.shutdown_s = time.perf_counter() - begin
