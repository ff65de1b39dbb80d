"""The contract over executors and pools of the user's own, which no run may end."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import nullcontext
from multiprocessing.pool import Pool, ThreadPool
from typing import Any

import pytest

import amorsize
from amorsize.backend import Backend, Chunk, OpenRequest
from amorsize.errors import BackendNotFound, BackendUnavailable
from amorsize.plugins import registry
from amorsize.testing import BackendContract
from amorsize_local.live import PoolSession

SPAWN = multiprocessing.get_context("forkserver")


class Strange(Executor):
    """An executor nobody has heard of; like ``mpi4py.futures``, it tells its size."""

    num_workers = 3

    def __init__(self) -> None:
        self._inner = ProcessPoolExecutor(2, SPAWN)
        self.calls = 0

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.calls += 1
        return self._inner.submit(fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._inner.shutdown(wait, cancel_futures=cancel_futures)


class TestThreadPoolExecutor(BackendContract):
    @pytest.fixture
    def backend(self) -> Iterator[Backend]:
        with ThreadPoolExecutor(2) as executor:
            yield registry().resolve(executor)
            assert executor.submit(abs, -1).result() == 1


class TestProcessPoolExecutor(BackendContract):
    @pytest.fixture
    def backend(self) -> Iterator[Backend]:
        with ProcessPoolExecutor(2, SPAWN) as executor:
            yield registry().resolve(executor)


class TestThreadPool(BackendContract):
    @pytest.fixture
    def backend(self) -> Iterator[Backend]:
        with ThreadPool(2) as pool:
            yield registry().resolve(pool)
            assert pool.apply(abs, (-1,)) == 1


class TestPool(BackendContract):
    @pytest.fixture
    def backend(self) -> Iterator[Backend]:
        with SPAWN.Pool(2) as pool:
            yield registry().resolve(pool)


def double(item: int) -> int:
    return 2 * item


@pytest.mark.parametrize(
    "make",
    [
        lambda: ThreadPoolExecutor(2),
        lambda: ThreadPool(2),
        lambda: SPAWN.Pool(2),
        lambda: amorsize.Executor(2),
    ],
)
def test_accepted_everywhere_and_never_shut_down(make: Any) -> None:
    expected = [double(x) for x in range(200)]
    with make() as engine:
        assert amorsize.map(double, range(200), backend=engine) == expected
        assert list(amorsize.imap(double, range(200), backend=engine)) == expected
        plan = amorsize.plan(double, range(200), backend=engine)
        assert plan.backend == type(engine).__name__
        assert plan.run() == expected
        assert amorsize.plan(double, range(200)).run(backend=engine) == expected
        assert list(amorsize.plan(double, range(200)).stream(backend=engine)) == expected
        assert list(engine.map(double, [1])) == [2]


def test_an_unknown_executor_is_asked_where_its_workers_are() -> None:
    with Strange() as strange:
        backend = registry().resolve(strange)
        assert not backend.traits.shares_memory
        assert not backend.traits.remote
        plan = amorsize.plan(double, range(300), backend=strange, workers=2)
        assert plan.run() == [double(x) for x in range(300)]
        assert strange.submit(abs, -1).result() == 1
        assert plan.what_if([2, 3], "Strange")[1].workers == 3


def test_lokys_reusable_executor_stays_up() -> None:
    loky = pytest.importorskip("loky")
    executor = loky.get_reusable_executor(2, timeout=60)
    try:
        assert amorsize.map(double, range(200), backend=executor) == [2 * x for x in range(200)]
        assert executor.submit(abs, -1).result() == 1
    finally:
        executor.shutdown(wait=True)


def closed_executor() -> Executor:
    with ThreadPoolExecutor(1) as executor:
        return executor


def closed_pool() -> Pool:
    pool = ThreadPool(1)
    pool.close()
    pool.join()
    return pool


def closed_executor_of_ours() -> Executor:
    with amorsize.Executor() as executor:
        return executor


@pytest.mark.parametrize("make", [closed_executor, closed_pool, closed_executor_of_ours])
def test_one_that_was_ended_is_refused_before_anything_runs(make: Any) -> None:
    ran: list[int] = []
    with pytest.raises(BackendUnavailable, match="make a new one"):
        amorsize.map(ran.append, range(10), backend=make())
    assert not ran


def test_anything_else_is_not_found() -> None:
    with pytest.raises(BackendNotFound, match="no backend for"):
        amorsize.map(double, range(10), backend=object())


def eventually(look: Callable[[], Any]) -> Any:
    until = time.monotonic() + 20
    while not (seen := look()) and time.monotonic() < until:
        time.sleep(0.01)
    return seen


def test_a_worker_that_a_pool_has_started_meanwhile_is_watched() -> None:
    request = OpenRequest(double, 1)
    with SPAWN.Pool(1, maxtasksperchild=1) as pool:
        (first,) = workers = pool._pool  # type: ignore[attr-defined]
        session = PoolSession("Pool", nullcontext(pool), request, shares=False)
        assert pool.apply(double, (1,)) == 2
        assert eventually(lambda: workers and workers[0] is not first)
        assert session.vanished() is None
        # At work: killed while it waits for some, it holds a lock that the pool needs to end.
        pool.apply_async(os._exit, (3,))
        gone = eventually(session.vanished)
        session.close(cancel=True)
    assert "exited with code 3" in str(gone)


def _leave(item: int) -> int:
    if multiprocessing.parent_process() is not None and item > 150:
        os._exit(0)
    return item


def test_a_worker_that_an_item_ends_in_order_ends_the_run() -> None:
    with (
        SPAWN.Pool(2) as pool,
        pytest.raises(BackendUnavailable, match="exited with code 0, and its chunk is lost"),
    ):
        amorsize.map(_leave, range(300), backend=pool, chunk_size=1)


def test_a_closed_pool_sends_its_workers_away_and_loses_nothing() -> None:
    request = OpenRequest(double, 1)
    with SPAWN.Pool(1) as pool:
        session = PoolSession("Pool", nullcontext(pool), request, shares=False)
        chunk = session.submit(Chunk(0, ((0, 1),), [3]))
        pool.close()
        pool.join()
        assert session.vanished() is None
        assert chunk.result(60) is not None
        session.close(cancel=False)


def test_a_pool_of_threads_that_is_terminated_ends_the_run() -> None:
    """Its calls in flight never end, and no thread tells."""
    pool = ThreadPool(1)

    def end(item: int) -> int:
        if threading.current_thread() is not threading.main_thread():
            pool.terminate()
        return item

    with pytest.raises(BackendUnavailable, match="was terminated"):
        amorsize.map(end, range(40), backend=pool, chunk_size=40)


@pytest.mark.parametrize("make", [ThreadPoolExecutor, ThreadPool, amorsize.Executor])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_task_of_a_pool_does_not_wait_for_itself(make: Any, threads: int) -> None:
    """One of two threads may wait for the other, which runs the items; of one, nobody is left."""
    pool = make(threads)

    def inner(number: int) -> list[int]:
        return amorsize.map(double, range(number, number + 50), backend=pool)

    def outer() -> Any:
        return (
            pool.submit(inner, 3).result()
            if isinstance(pool, Executor)
            else pool.apply(inner, (3,))
        )

    if threads > 1:
        assert outer() == [double(item) for item in range(3, 53)]
    else:
        with pytest.raises(BackendUnavailable, match="its own tasks"):
            outer()
    assert amorsize.map(double, range(50), backend=pool) == [double(item) for item in range(50)]
    pool.shutdown() if isinstance(pool, Executor) else pool.terminate()
