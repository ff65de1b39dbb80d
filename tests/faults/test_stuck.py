"""Items that never end: deadlines, timers that others use, and the end of a run around them."""

from __future__ import annotations

import concurrent.futures
import multiprocessing.pool
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import amorsize
from amorsize.testing.tasks import append_line, lines_of
from amorsize_local import channel

AUTOMATIC: dict[str, Any] = {}
SERIAL: dict[str, Any] = {"backend": "serial"}

pytestmark = pytest.mark.measures  # limits of fractions of a second


def sleeps_at(index: int) -> Callable[[int], int]:
    def work(x: int) -> int:
        if x == index:
            time.sleep(1000)
        return x

    return work


@pytest.mark.parametrize("index", [0, 90], ids=["in the sample", "later"])
@pytest.mark.parametrize("how", [AUTOMATIC, SERIAL, {"backend": "multiprocessing", "workers": 2}])
def test_a_deadline_ends_an_item_that_sleeps(index: int, how: dict[str, Any]) -> None:
    with pytest.raises(amorsize.DeadlineExceeded):
        amorsize.map(sleeps_at(index), iter(range(100)), deadline=0.3, **how)
    results: list[Any] = amorsize.map(
        sleeps_at(index), range(100), deadline=0.3, on_error="return", **how
    )
    assert [r for r in results if not isinstance(r, amorsize.ItemError)][:50] == [
        x for x in range(100) if x != index
    ][:50]
    assert isinstance(results[index].exception, amorsize.DeadlineExceeded)


def test_an_alarm_of_the_callers_own_rings_later() -> None:
    rang = []
    before = signal.signal(signal.SIGALRM, lambda *_: rang.append(True))
    try:
        signal.setitimer(signal.ITIMER_REAL, 600.0, 700.0)
        amorsize.map(str, range(50), timeout=100, **SERIAL)
        amorsize.map(str, range(50), deadline=100, **SERIAL)
        left, every = signal.getitimer(signal.ITIMER_REAL)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
    assert 0 < left <= 600
    assert every == 700
    assert not rang


STUBBORN = """
import faulthandler, time, amorsize
def work(x):
    while x == 30:
        try:
            time.sleep(1000)
        except BaseException:
            pass
    return x
faulthandler.dump_traceback_later(1000)
for how in ({"options": {"start_method": "fork"}, "backend": "multiprocessing", "workers": 2}, {}):
    done = amorsize.map(work, range(60), timeout=0.3, on_error="return", **how)
    assert [x for x in range(60) if done[x] != x] == [30], done
print("fine")
"""


def test_a_caller_whose_faulthandler_is_set_has_time_limits() -> None:
    done = subprocess.run([sys.executable, "-c", STUBBORN], capture_output=True, text=True)
    assert done.stdout == "fine\n", done.stderr


class Busy:
    """One item in a thread goes on until it is let go."""

    def __init__(self) -> None:
        self.here, self.go = threading.Event(), threading.Event()

    def __call__(self, x: int) -> int:
        if threading.current_thread() is not threading.main_thread() and not self.here.is_set():
            self.here.set()
            self.go.wait()
        return x


@pytest.mark.parametrize(
    "make",
    [
        lambda: "threads",
        lambda: concurrent.futures.ThreadPoolExecutor(2),
        lambda: multiprocessing.pool.ThreadPool(2),
    ],
    ids=["threads", "an executor", "a pool"],
)
def test_closing_a_stream_does_not_wait_for_a_thread_that_is_stuck(make: Any) -> None:
    work, engine = Busy(), make()
    stream = amorsize.imap(work, iter(range(100_000)), backend=engine, workers=2, ordered=False)
    for _ in stream:
        if work.here.is_set():
            break
    stream.close()
    assert not work.go.is_set()
    work.go.set()
    if isinstance(engine, concurrent.futures.Executor):
        engine.shutdown()
    elif not isinstance(engine, str):
        engine.terminate()
        engine.join()


class FirstIsStuck:
    """The first item that a worker runs takes half a minute."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __call__(self, x: int) -> int:
        caller = multiprocessing.parent_process() is None
        if caller and threading.current_thread() is threading.main_thread():
            return x
        try:
            Path(self.folder, "here").touch(exist_ok=False)
        except FileExistsError:
            return x
        time.sleep(30)
        Path(self.folder, "over").touch()
        return x


@pytest.mark.parametrize("backend", ["threads", "multiprocessing"])
def test_ctrl_c_while_data_is_read_waits_for_no_item(backend: str, tmp_path: Path) -> None:
    """As when the signal arrives in the iterator: no error of the data's, which comes last."""

    def items() -> Iterator[int]:
        for x in range(100_000):
            if Path(tmp_path, "here").exists():
                raise KeyboardInterrupt
            yield x

    plan = amorsize.plan(FirstIsStuck(tmp_path), items(), backend=backend, workers=2, chunk_size=2)
    with pytest.raises(KeyboardInterrupt):
        plan.run()
    assert not Path(tmp_path, "over").exists()


class NeverPacked:
    """Its pickling does not end."""

    def __reduce__(self) -> Any:
        time.sleep(1000)


def test_a_result_whose_pickling_never_ends_is_the_items_fault() -> None:
    def work(x: int) -> Any:
        time.sleep(0.001)
        return NeverPacked() if x == 70 else x

    how: dict[str, Any] = {"backend": "multiprocessing", "workers": 2, "timeout": 0.3}
    results = amorsize.map(work, range(100), on_error="return", **how)
    assert [x for x in range(100) if results[x] != x] == [70]
    assert isinstance(results[70].exception, amorsize.ItemTimeout)


def test_children_of_a_dead_worker_hold_up_nothing(tmp_path: Path) -> None:
    """They keep what they have inherited open: its end must not be told by that."""
    home = os.getpid()

    def work(x: int) -> int:
        if x == 70 and os.getpid() != home:
            leave_a_child(tmp_path / "children")
            os._exit(1)
        return x

    only_70_is_lost(work, tmp_path / "children", deadline=5.0)


def leave_a_child(children: Path) -> None:
    """Start one that has inherited all that is open here, and that lives on."""
    child = os.fork()
    if not child:
        time.sleep(60)
        os._exit(0)
    append_line(str(children), child)


def end(children: Path) -> None:
    for child in lines_of(str(children)):
        os.kill(int(child), signal.SIGKILL)


def only_70_is_lost(work: Callable[[int], Any], children: Path, deadline: float) -> None:
    """Run items, one of which starts the ``children`` and ends its worker."""
    how: dict[str, Any] = {"backend": "multiprocessing", "workers": 2, "deadline": deadline}
    try:
        results: list[Any] = amorsize.map(work, range(100), on_error="return", **how)
    finally:
        end(children)
    assert [x for x in range(100) if results[x] != x] == [70]
    assert isinstance(results[70].exception, amorsize.WorkerDied)


def test_children_of_a_worker_that_dies_while_it_sends_hold_up_nothing(tmp_path: Path) -> None:
    """They hold the pipe open in the middle of a result that is too large for shared memory."""
    home = os.getpid()

    def work(x: int) -> Any:
        if x != 70 or os.getpid() == home:
            return x
        leave_a_child(tmp_path / "children")
        write = channel._write

        def begin_and_die(fd: int, view: memoryview) -> None:
            write(fd, view[: 1 << 22])
            if view.nbytes > 1 << 22:
                os._exit(1)

        channel._write = begin_and_die
        return bytes(400_000_000)

    only_70_is_lost(work, tmp_path / "children", deadline=20.0)


def test_children_of_a_worker_that_dies_while_it_is_sent_something_hold_up_nothing(
    tmp_path: Path,
) -> None:
    """They hold the other end of the pipe, from which nobody reads an item of 200 MB."""
    home = os.getpid()

    def work(item: bytes) -> int:
        if item[:1] == b"f" and os.getpid() != home:
            leave_a_child(tmp_path / "children")
            readv = os.readv

            def die_of_large(fd: int, buffers: Any) -> int:
                return os._exit(1) if buffers[0].nbytes > 1 << 24 else readv(fd, buffers)

            os.readv = die_of_large
        return len(item)

    sizes = [1] * 30 + [200_000_000]
    items = (b"f" * size if size == 1 else bytes(size) for size in sizes)
    how: dict[str, Any] = {"backend": "multiprocessing", "workers": 1, "chunk_size": 1}
    try:
        assert amorsize.map(work, items, deadline=30.0, **how) == sizes
    finally:
        end(tmp_path / "children")


def test_a_deadline_ends_a_worker_that_is_stopped_while_it_sends() -> None:
    """In the middle of a result that is too large for shared memory."""
    home = os.getpid()

    def work(x: int) -> Any:
        if x != 70 or os.getpid() == home:
            return x
        write = channel._write

        def begin_and_stop(fd: int, view: memoryview) -> None:
            write(fd, view[: 1 << 22])
            if view.nbytes > 1 << 22:
                os.kill(os.getpid(), signal.SIGSTOP)

        channel._write = begin_and_stop
        return bytes(100_000_000)

    how: dict[str, Any] = {"backend": "multiprocessing", "workers": 2, "chunk_size": 1}
    results: list[Any] = amorsize.map(work, range(100), on_error="return", deadline=1.0, **how)
    assert results[:70] == list(range(70))
    assert isinstance(results[70].exception, amorsize.DeadlineExceeded)
