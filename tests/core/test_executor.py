"""``amorsize.Executor`` where any other executor would do."""

from __future__ import annotations

import concurrent.futures
import gc
import itertools
import operator
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import amorsize
from amorsize.executor import STARTS_AT_EXIT

COUNT = 300


def spin(item: int) -> int:
    end = time.perf_counter() + 0.0005
    while time.perf_counter() < end:
        pass
    return item * item


@pytest.fixture(params=["auto", "serial", "threads", "multiprocessing"])
def backend(request: pytest.FixtureRequest) -> Any:
    return request.param


def make(backend: str = "auto") -> amorsize.Executor:
    return amorsize.Executor(2, backend=backend)


def test_is_an_executor() -> None:
    assert isinstance(make(), concurrent.futures.Executor)


def test_map_returns_the_loops_results(backend: str) -> None:
    with make(backend) as executor:
        assert list(executor.map(spin, range(COUNT))) == [x * x for x in range(COUNT)]
        assert list(executor.map(spin, iter([]))) == []
        assert list(executor.map(pow, range(50), itertools.count(2))) == [
            x**y for x, y in zip(range(50), itertools.count(2), strict=False)
        ]


def test_results_outlive_the_executor(backend: str) -> None:
    with make(backend) as executor:
        never_read = executor.map(spin, range(COUNT))
        half_read = executor.map(spin, range(COUNT))
        first = [next(half_read) for _ in range(COUNT // 2)]
    assert first + list(half_read) == [x * x for x in range(COUNT)]
    assert list(never_read) == [x * x for x in range(COUNT)]


def test_what_nobody_reads_runs_too(backend: str, calls: Callable[..., Any]) -> None:
    with make(backend) as executor:
        executor.map(calls, range(100))
    assert calls.items == list(range(100))  # type: ignore[attr-defined]


def test_a_map_runs_while_the_caller_does_something_else() -> None:
    ran = threading.Event()
    with make("threads") as executor:
        results = executor.map(lambda _: ran.set(), range(10))
        assert ran.wait(30), "the map did not start by itself"
        assert list(results) == [None] * 10


def test_data_is_taken_as_it_is() -> None:
    with make() as executor:
        data = [1, 2, 3]
        results = executor.map(operator.neg, data)
        data.clear()
        assert list(results) == [-1, -2, -3]


@pytest.mark.parametrize("patient", [True, False])
def test_an_exception_is_raised_in_its_place(backend: str, patient: bool) -> None:
    def fail(item: int) -> int:
        if item == 200:
            raise KeyError(item)
        return spin(item)

    with make(backend) as executor:
        results = executor.map(fail, range(COUNT), timeout=None if patient else 60)
        got = list(itertools.islice(results, 200))
        with pytest.raises(KeyError) as raised:
            next(results)
        assert "item 200" in "".join(raised.value.__notes__)
        assert list(results) == []
    assert got == [x * x for x in range(200)]


def test_time_out() -> None:
    release = threading.Event()
    with make("threads") as executor:
        results = executor.map(lambda item: item < 5 or release.wait(60), range(10), timeout=0.2)
        with pytest.raises(TimeoutError):
            list(results)
        release.set()


def test_an_abandoned_map_is_cancelled(calls: Callable[..., Any]) -> None:
    def slow(item: int) -> None:
        calls(item)
        time.sleep(0.005)

    with make("threads") as executor:
        results = executor.map(slow, range(2000))
        next(results)
        del results
        gc.collect()
    assert len(calls.items) < 1000  # type: ignore[attr-defined]


def test_cancel_futures_drops_what_has_not_run(calls: Callable[..., Any]) -> None:
    executor = make("threads")
    results = executor.map(calls, range(10))
    executor.shutdown(cancel_futures=True)
    with pytest.raises(concurrent.futures.CancelledError):
        list(results)
    assert list(results) == []


def test_results_that_are_ready_come_before_the_cancellation() -> None:
    """The map has a thread of its own, which is at an item that waits."""
    executor, there, release = make("serial"), threading.Event(), threading.Event()

    def item(number: int) -> int:
        if number == 900:
            there.set()
            release.wait(20)
        return number

    results = executor.map(item, range(1000), timeout=600)
    got = [next(results)]
    assert there.wait(30)
    executor.shutdown(wait=False, cancel_futures=True)
    with pytest.raises(concurrent.futures.CancelledError):
        got.extend(results.__next__() for _ in range(1000))
    release.set()
    assert got == list(range(len(got)))
    assert 1 < len(got) <= 900


def test_what_was_read_to_its_end_is_not_cancelled() -> None:
    executor = make()
    results, none = executor.map(abs, range(3)), executor.map(abs, [])
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    executor.shutdown(cancel_futures=True)
    assert list(results) == list(none) == []


class Reader(threading.Thread):
    """Reads a map whose items wait for ``release``; it waits itself once it is made."""

    def __init__(self, executor: amorsize.Executor) -> None:
        super().__init__(daemon=True)
        self.executor = executor
        self.error: BaseException | None = None
        self.got: list[bool] = []
        self.begun, self.release = threading.Event(), threading.Event()
        self.start()
        assert self.begun.wait(30)

    def item(self, _: int) -> bool:
        self.begun.set()
        return self.release.wait(20)

    def run(self) -> None:
        try:
            self.got.extend(self.executor.map(self.item, range(400)))
        except BaseException as error:
            self.error = error

    def let(self) -> None:
        self.release.set()
        self.join(60)


@pytest.mark.parametrize("named", ["serial", "threads"])
def test_a_reader_in_another_thread_is_told_of_the_cancellation(named: str) -> None:
    reader = Reader(make(named))
    reader.executor.shutdown(wait=False, cancel_futures=True)
    reader.let()
    assert isinstance(reader.error, concurrent.futures.CancelledError)
    assert len(reader.got) < 400


@pytest.mark.parametrize("named", ["serial", "threads"])
def test_shutdown_need_not_wait_for_a_reader(named: str) -> None:
    reader = Reader(make(named))
    reader.executor.shutdown(wait=False)  # comes back though no item ends before ``let``
    reader.let()
    assert reader.error is None
    assert reader.got == [True] * 400


def test_an_item_may_cancel_its_own_map() -> None:
    with make("serial") as executor:

        def cancel(item: int) -> int:
            executor.shutdown(wait=False, cancel_futures=True)
            return item

        results = executor.map(cancel, range(10))
        assert next(results) == 0
        with pytest.raises(concurrent.futures.CancelledError):
            next(results)


def test_several_readers_share_a_map() -> None:
    with make("threads") as executor:
        results = executor.map(spin, range(COUNT))
        with concurrent.futures.ThreadPoolExecutor(4) as readers:
            shares = [readers.submit(list, results) for _ in range(4)]
        got = itertools.chain.from_iterable(share.result() for share in shares)
        assert sorted(got) == [x * x for x in range(COUNT)]


def test_buffersize_reads_as_it_goes() -> None:
    with make() as executor:
        results = executor.map(operator.neg, itertools.count(), buffersize=4)
        assert list(itertools.islice(results, 500)) == [-x for x in range(500)]


def test_buffersize_holds_with_a_time_limit() -> None:
    """Such a map runs in a thread of its own, ahead of its reader: no further than asked for."""
    read: list[int] = []

    def data() -> Iterator[int]:
        for item in range(20_000):
            read.append(item)
            yield item

    before = set(threading.enumerate())
    with make("serial") as executor:
        results = executor.map(operator.neg, data(), buffersize=4, timeout=60)
        assert list(itertools.islice(results, 500)) == [-x for x in range(500)]
        own = set(threading.enumerate()) - before
    assert len(read) < 2000  # the sample, and some
    assert next(results) == -500
    del results
    gc.collect()
    for thread in own:  # nobody has the map any more
        thread.join(60)
    assert not any(thread.is_alive() for thread in own)


def test_submit() -> None:
    with make() as executor:
        futures = [executor.submit(pow, base, exp=2) for base in range(20)]
        done = concurrent.futures.wait(futures).done
        assert sorted(future.result() for future in done) == [x * x for x in range(20)]
        failed = executor.submit(int, "x")
        assert isinstance(failed.exception(), ValueError)
        assert executor.submit(os.getpid).result() == os.getpid()


def test_after_shutdown_nothing_is_taken() -> None:
    executor = make()
    executor.shutdown()
    executor.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(abs, 1)
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.map(abs, [1])


def test_wrong_arguments_are_told_at_once() -> None:
    with pytest.raises(ValueError, match="max_workers"):
        amorsize.Executor(0)
    with make() as executor, pytest.raises(ValueError, match="chunksize"):
        executor.map(abs, [1], chunksize=0)


def test_no_thread_is_left() -> None:
    before = set(threading.enumerate())
    with make("multiprocessing") as executor:
        executor.submit(abs, 1).result()
        assert list(executor.map(spin, range(COUNT)))
        executor.map(spin, range(10))
    assert set(threading.enumerate()) <= before


def run_script(body: str) -> str:
    """What a script prints that ends with ``body``."""
    head = """
        import itertools, os
        from concurrent.futures import ThreadPoolExecutor
        import amorsize
        def say(item):
            os.write(1, f"{item} ".encode())
            return item
    """
    script = textwrap.dedent(head) + textwrap.dedent(body)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert not done.stderr
    return done.stdout


starts_at_exit = pytest.mark.skipif(
    not STARTS_AT_EXIT, reason="this Python starts no thread and no process at its exit"
)


@starts_at_exit
@pytest.mark.parametrize("how", ["'serial'", "'threads'", "'multiprocessing'", "POOL"])
def test_the_exit_of_the_interpreter_waits_for_maps(how: str) -> None:
    how = how.replace("POOL", "ThreadPoolExecutor(2)")
    said = run_script(f"""
        executor = amorsize.Executor(2, backend={how})
        executor.map(say, range(50))
        half = executor.map(say, range(50, 100))
        next(half)
    """)
    assert sorted(map(int, said.split())) == list(range(100))


def test_the_exit_of_the_interpreter_runs_no_other_maps() -> None:
    said = run_script("""
        executor = amorsize.Executor(2, backend="serial")
        read = executor.map(say, range(3))
        list(read)
        endless = executor.map(abs, itertools.count(), buffersize=2)
        next(endless)
        timed = executor.map(abs, itertools.count(), buffersize=2, timeout=600)
        next(timed)
        other = amorsize.Executor(2, backend="serial")
        closed = other.map(say, range(10))
        other.shutdown(cancel_futures=True)
    """)
    assert said.split() == ["0", "1", "2"]


@starts_at_exit
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_forked_process_does_not_run_its_parents_maps() -> None:
    said = run_script("""
        import multiprocessing
        executor = amorsize.Executor(2, backend="serial")
        results = executor.map(say, range(20))
        next(results)
        child = multiprocessing.get_context("fork").Process(target=abs, args=(1,))
        child.start()
        child.join()
    """)
    assert sorted(map(int, said.split())) == list(range(20))


def test_a_library_that_takes_an_executor_may_have_this_one() -> None:
    def library(executor: concurrent.futures.Executor, words: Iterator[str]) -> int:
        return sum(executor.map(len, words))

    with make() as executor:
        assert library(executor, iter(["a", "bb", "ccc"])) == 6
