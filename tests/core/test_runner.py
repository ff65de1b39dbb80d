"""What a run makes of chunks that have come back when something else ends it."""

from __future__ import annotations

import math
import signal
import time
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest

from amorsize import open_runs
from amorsize.backend import BackendUnavailable, Chunk, OpenRequest, Outcome, Session, Traits
from amorsize.errors import DeadlineExceeded, ItemError
from amorsize.feed import Feed
from amorsize.judge import Judge
from amorsize.policy import Policy
from amorsize.report import RunReport
from amorsize.runner import Run
from amorsize.schedule import fixed
from amorsize.source import source_of
from amorsize.worker import run_chunk

ITEMS, EACH = 40, 2


class AtOnce(Session):
    """Chunks have ended once they are submitted; the first one with an engine that goes."""

    def __init__(self, *, goes: bool = False) -> None:
        self.workers, self.goes, self.closed = 2, goes, 0
        self.ran: list[int] = []

    def submit(self, chunk: Chunk) -> Future[Outcome]:
        future: Future[Outcome] = Future()
        if self.goes and not chunk.number:
            future.set_exception(BackendUnavailable("at once", "it has gone"))
            return future
        self.ran += chunk.indices()
        future.set_result(run_chunk(abs, chunk.items or (), stop_on_error=chunk.stop_on_error))
        return future

    def close(self, *, cancel: bool) -> None:
        self.closed += 1


def run_on(session: Session, policy: Policy) -> Run:
    backend: Any = SimpleNamespace(name="at once", traits=Traits(), open=lambda _: session)
    report = RunReport("at once", 2)
    schedule = fixed(EACH, 2)
    feed = Feed(source_of(range(ITEMS)), [], schedule, item_s=1.0, stop_on_error=False)
    return Run(backend, OpenRequest(abs, 2), feed, report, Judge(report, policy))


def results_of(run: Run) -> dict[int, Any]:
    """Results by index."""
    found = [(start + at, v) for start, values in run.pieces() for at, v in enumerate(values)]
    assert len(found) == len(dict(found))
    return dict(found)


def test_what_ended_before_the_deadline_is_finished() -> None:
    """However long the consumer of a stream was busy meanwhile."""
    session = AtOnce()
    run = run_on(session, Policy(on_error="return", deadline=1.0))
    run.ends_at = time.perf_counter() - 1.0
    results = results_of(run)
    assert session.ran
    assert [results.pop(index) for index in session.ran] == session.ran
    assert len(results) == ITEMS - len(session.ran) > 0
    assert all(isinstance(late, ItemError) for late in results.values())


def test_not_forgiven_it_comes_before_the_error() -> None:
    session = AtOnce()
    run = run_on(session, Policy(deadline=1.0))
    run.ends_at = -math.inf
    assert sorted(results_of(run)) == session.ran
    assert isinstance(run.failure.error, DeadlineExceeded)


def test_what_ended_before_the_engine_went_does_not_run_again() -> None:
    session = AtOnce(goes=True)
    run = run_on(session, Policy())
    results = results_of(run)
    assert session.ran
    assert sorted(results) == session.ran
    assert run.broken is not None
    left = [index for start, stop in run.feed.give_up() for index in range(start, stop)]
    assert sorted([*left, *session.ran]) == list(range(ITEMS))


def test_an_interrupted_end_ends_the_session_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    session, remove = AtOnce(), open_runs.remove

    def interrupted(run: Run) -> None:
        remove(run)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(open_runs, "remove", interrupted)
    # A shell's background job, as these tests may be, ignores it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            results_of(run_on(session, Policy()))
    finally:
        signal.signal(signal.SIGINT, before)
    assert session.closed == 1
