"""Items that never end: deadlines, timers that others use, and the end of a run around them."""

from __future__ import annotations

import concurrent.futures
import multiprocessing.pool
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import amorsize

AUTOMATIC: dict[str, Any] = {}
SERIAL: dict[str, Any] = {"backend": "serial"}


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
    results = amorsize.map(sleeps_at(index), range(100), deadline=0.3, on_error="return", **how)
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
    stream.close()  # type: ignore[attr-defined]
    assert not work.go.is_set()
    work.go.set()
    if isinstance(engine, concurrent.futures.Executor):
        engine.shutdown()
    elif not isinstance(engine, str):
        engine.terminate()
        engine.join()
