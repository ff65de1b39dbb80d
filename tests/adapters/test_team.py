"""The threads behind the backend ``threads``, which share each chunk."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import amorsize
from amorsize.backend import Chunk, OpenRequest
from amorsize.source import IndexedSource, source_of
from amorsize_local.team import TeamSession


def _team(function: Callable[[Any], Any], workers: int, items: int) -> TeamSession:
    source = source_of(range(items))
    assert isinstance(source, IndexedSource)
    return TeamSession("threads", OpenRequest(function, workers, source))


def _values(session: TeamSession, chunk: Chunk) -> list[Any]:
    values: list[Any] = session.submit(chunk).result(10.0).values
    return values


def test_no_item_waits_behind_another_one_of_its_chunk() -> None:
    together = threading.Barrier(4)  # passes only if all items run at once
    session = _team(lambda item: together.wait(10.0) >= 0, 4, 4)
    assert _values(session, Chunk(0, ((0, 4),))) == [True] * 4
    session.close(cancel=False)


def test_each_item_runs_once_whoever_takes_it() -> None:
    ran: list[int] = []

    def run(item: int) -> int:
        ran.append(item)
        return -item

    session = _team(run, 8, 6000)
    chunks = [Chunk(number, ((2000 * number, 2000 * number + 2000),)) for number in range(3)]
    futures = [session.submit(chunk) for chunk in chunks]
    session.all_out()
    values = [value for future in futures for value in future.result(30.0).values]
    session.close(cancel=False)
    assert values == [-item for item in range(6000)]
    assert sorted(ran) == list(range(6000))


def test_a_failing_item_ends_its_chunk_and_earlier_ones_still_count() -> None:
    failed = threading.Event()

    def run(item: int) -> int:
        if item == 0:
            failed.wait(10.0)
        if item == 1:
            failed.set()
            raise IndexError(item)
        if item == 2:
            failed.wait(10.0)
            raise ValueError(item)
        return item

    session = _team(run, 3, 1000)
    outcome = session.submit(Chunk(0, ((0, 1000),))).result(10.0)
    session.close(cancel=False)
    assert outcome.values == [0]
    ((position, error),) = outcome.failures
    assert position == 1
    assert isinstance(error, IndexError)


def test_data_that_cannot_be_read_fails_its_chunk_and_no_other() -> None:
    class Broken(list[int]):
        def __getitem__(self, index: Any) -> Any:
            if index == 3:
                raise OSError("unreadable")
            return super().__getitem__(index)

    class Data(IndexedSource):
        def items(self, start: int, stop: int) -> list[int]:
            return [self.data[index] for index in range(start, stop)]

    session = TeamSession("threads", OpenRequest(abs, 2, Data(Broken(range(8)))))
    bad, good = session.submit(Chunk(0, ((0, 4),))), session.submit(Chunk(1, ((4, 8),)))
    assert good.result(10.0).values == [4, 5, 6, 7]
    assert isinstance(bad.exception(10.0), OSError)
    session.close(cancel=False)


def test_threads_without_work_leave_while_the_last_item_runs() -> None:
    release = threading.Event()
    session = _team(lambda item: item or release.wait(30.0), 3, 4)
    last = session.submit(Chunk(0, ((0, 1),)))
    assert _values(session, Chunk(1, ((1, 4),))) == [1, 2, 3]
    session.all_out()
    busy = [thread for thread in session._threads if not _ends(thread)]
    release.set()
    assert last.result(10.0).values == [True]
    assert len(busy) == 1
    session.close(cancel=False)
    assert not any(thread.is_alive() for thread in session._threads)


def _ends(thread: threading.Thread) -> bool:
    thread.join(0.5)
    return not thread.is_alive()


def test_a_chunk_that_comes_when_all_have_left_still_runs() -> None:
    session = _team(abs, 2, 100)
    early = session.submit(Chunk(0, ((0, 50),)))
    session.all_out()
    for thread in list(session._threads):
        thread.join(10.0)
    assert _values(session, Chunk(1, ((99, 100),))) == [99]
    assert early.result(10.0).values == list(range(50))
    session.close(cancel=False)
    assert not any(thread.is_alive() for thread in session._threads)


def test_a_cancel_starts_no_more_items() -> None:
    begun, release, ran = threading.Event(), threading.Event(), []

    def run(item: int) -> None:
        ran.append(item)
        begun.set()
        release.wait(10.0)

    session = _team(run, 1, 100)
    session.submit(Chunk(0, ((0, 100),)))
    begun.wait(10.0)
    closing = threading.Thread(target=session.close, kwargs={"cancel": True})
    closing.start()
    while not session._turns.qsize():  # where it sends the thread home
        closing.join(0.01)
    release.set()
    closing.join(10.0)
    assert ran == [0]
    assert not any(thread.is_alive() for thread in session._threads)


def test_a_run_keeps_all_threads_busy_from_the_start() -> None:
    together: list[threading.Barrier] = []

    def run(item: int) -> int:
        if threading.current_thread() is not threading.main_thread():
            together[0].wait(10.0)  # passes only if all that is left runs at once
        return item

    plan = amorsize.plan(run, range(40), backend="threads", workers=40)
    assert plan.profile.remaining is not None
    together.append(threading.Barrier(plan.profile.remaining))
    assert plan.run() == list(range(40))


def test_results_are_let_go_of_while_threads_are_busy() -> None:
    release = threading.Event()
    session = _team(lambda item: _Result() if item else release.wait(10.0), 2, 3)
    busy = session.submit(Chunk(0, ((0, 1),)))
    outcome = session.submit(Chunk(1, ((1, 3),))).result(10.0)  # its second turn is never taken
    kept = weakref.ref(outcome.values[0])
    del outcome
    assert kept() is None
    release.set()
    busy.result(10.0)
    session.close(cancel=False)


class _Result:
    """Can be watched."""


def test_no_more_threads_are_started_while_items_hold_the_interpreter_lock() -> None:
    wanted, until = 64, time.perf_counter() + 0.3

    def computes(item: int) -> int:
        while time.perf_counter() < until:
            pass
        return item

    session = _team(computes, wanted, 200)
    future = session.submit(Chunk(0, ((0, 200),)))
    while not future.done():
        session.wait([future], 1.0)
    started = len(session._threads)
    assert future.result().values == list(range(200))
    session.close(cancel=False)
    assert 2 <= started < wanted / 2


def test_threads_that_had_to_wait_are_started_when_the_lock_is_free() -> None:
    everyone, begun = threading.Barrier(12), threading.Event()

    def run(item: int) -> int:
        if item < 2:
            while not begun.is_set():  # holds the lock until somebody waits for the others
                pass
        everyone.wait(10.0)  # passes only if all items run at once
        return item

    session = _team(run, 12, 12)
    future = session.submit(Chunk(0, ((0, 12),)))
    assert session._lacks_threads()
    begun.set()
    while not future.done():
        session.wait([future], 1.0)
    assert future.result().values == list(range(12))
    session.close(cancel=False)
