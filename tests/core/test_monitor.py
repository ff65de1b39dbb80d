"""What the thread that watches the sample sees, and does while the function waits."""

from __future__ import annotations

import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median

import pytest

from amorsize.monitor import Monitor, queued_s

pytestmark = pytest.mark.measures

LONG_S = 0.3
BLOCK = bytes(4_000_000)


def watched(work: Callable[[], object], meanwhile: Sequence[Callable[[], object]] = ()) -> Monitor:
    monitor = Monitor(meanwhile=meanwhile)
    monitor.start()
    try:
        until = time.perf_counter() + LONG_S
        while time.perf_counter() < until:
            work()
    finally:
        monitor.stop()
    return monitor


def seen(watch: Callable[[], Monitor], most_held: float) -> Monitor:
    """A watch that saw the lock held for at most that share of the time, or else the last of some:
    what disturbs a watch, a host that takes a processor away, makes threads late and never early.
    """
    for _ in range(5):
        monitor = watch()
        if monitor.held_share < most_held:
            break
    return monitor


def compute() -> int:
    return sum(number * number for number in range(2_000))


def wait() -> None:
    time.sleep(0.02)


@pytest.mark.usefixtures("busy_machine")
def test_a_busy_machine_does_not_hide_that_the_lock_is_held() -> None:
    assert watched(compute).held_share > 0.7


def test_code_that_lets_go_of_the_lock_does_not_seem_to_hold_it() -> None:
    assert seen(lambda: watched(digest), 0.3).held_share < 0.5


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts the waits of a thread")
def test_a_lock_that_is_let_go_for_moments_only_is_told_from_one_that_is_free() -> None:
    rows = [(number, number * 7 % 13) for number in range(1_000)]

    def insert() -> None:  # the database lets go of the lock for each row
        database = sqlite3.connect(":memory:")
        database.execute("create table t(a, b)")
        database.executemany("insert into t values(?, ?)", rows)
        database.close()

    queued = queued_s()
    told = any(watched(insert).for_moments for _ in range(5))
    if not told and queued_s() - queued > 0.1 * LONG_S:  # it wanted a processor, not the lock
        pytest.skip("other programs have the processors")
    assert told
    assert not watched(digest).for_moments


def digest() -> bytes:
    return hashlib.sha256(BLOCK).digest()


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
def test_no_thread_is_left_by_the_end_of_the_watch() -> None:
    for _ in range(200):  # the system takes its time about a thread that has ended
        before = len(os.listdir("/proc/self/task"))
        monitor = Monitor()
        monitor.start()
        monitor.stop()
        monitor.leave()
        assert len(os.listdir("/proc/self/task")) <= before


def test_what_is_done_meanwhile_may_ask_for_the_current_thread() -> None:
    """``threading`` would list one that it has not started for ever: forking would seem unsafe."""
    before = threading.enumerate()
    asked: list[threading.Thread] = []
    for _ in range(30):  # on a busy machine there may be no room for it
        watched(wait, [lambda: asked.append(threading.current_thread())])
        if asked:
            break
    assert asked
    assert threading.enumerate() == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_that_an_item_has_forked_waits_for_no_watch() -> None:
    monitor = Monitor()
    monitor.start()
    child = os.fork()
    if not child:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(20)  # ends one that waits
        monitor.stop()
        os._exit(0)
    monitor.stop()
    assert os.waitpid(child, 0)[1] == 0


def test_time_of_waiting_is_used_once() -> None:
    done: list[str] = []
    watched(wait, [lambda: done.append("one"), lambda: done.append("two")])
    assert done == ["one", "two"]


@pytest.mark.parametrize("work", [compute, digest])
def test_time_of_computing_is_not(work: Callable[[], object]) -> None:
    """Also without the lock: a sort that shares its cores and caches would seem to be slower, and
    to wait.
    """
    done: list[str] = []
    watched(work, [lambda: done.append("done")])
    assert done == []


def spend(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def test_what_is_done_meanwhile_is_not_the_functions() -> None:
    monitor = seen(lambda: watched(wait, [lambda: spend(0.02)]), 0.3)
    assert monitor.cpu_s >= 0.02
    assert monitor.held_share < 0.5
    assert sys.getswitchinterval() == pytest.approx(0.005)


def test_handing_the_watch_over_is_not_the_functions() -> None:
    """Two threads leave no more than twice what one does, its start and end, and some for chance:
    many a function that waits computes for no longer than making a thread takes.
    """

    def unexplained_s(meanwhile: Sequence[Callable[[], object]] = ()) -> float:
        everything, mine = time.process_time(), time.thread_time()
        monitor = Monitor(meanwhile=meanwhile)
        monitor.start()
        wait()
        monitor.stop()
        monitor.leave()
        others_s = time.process_time() - everything - (time.thread_time() - mine)
        return others_s - monitor.cpu_s

    one = median(unexplained_s() for _ in range(15))
    assert median(unexplained_s([lambda: spend(0.002)]) for _ in range(15)) < 3 * one


def test_a_function_that_begins_to_compute_meanwhile_is_seen_to_hold_the_lock() -> None:
    begun: list[float] = []

    def waits_first() -> None:
        if not begun:
            wait()
            begun.append(time.perf_counter())
        compute()

    assert watched(waits_first, [lambda: spend(0.03)]).held_share > 0.5


def test_what_the_end_of_the_sample_finds_undone_stays_undone() -> None:
    done: list[str] = []
    ended = threading.Event()
    one, two = partial(done.append, "one"), partial(done.append, "two")
    monitor = Monitor(meanwhile=[one, ended.wait, two])
    monitor.start()
    while not done:
        time.sleep(0.001)
    threading.Timer(0.05, ended.set).start()
    monitor.stop()
    assert done == ["one"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a thread's CPU seconds")
def test_a_host_that_stops_the_process_does_not_hold_the_lock() -> None:
    script = """
import time
from amorsize.monitor import Monitor
for _ in range(8):
    monitor = Monitor()
    monitor.start()
    print("watching", flush=True)
    time.sleep(0.03)
    monitor.stop()
    print(monitor.held_share, flush=True)
"""
    shares = []
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip() == "watching":
                process.send_signal(signal.SIGSTOP)
                time.sleep(0.012)
                process.send_signal(signal.SIGCONT)
            else:
                shares.append(float(line))
    assert len(shares) == 8
    assert sorted(shares)[4] < 0.5


def test_code_that_holds_the_lock_while_it_sleeps_is_seen() -> None:
    ctypes = pytest.importorskip("ctypes")
    if not hasattr(ctypes.PyDLL(None), "usleep"):
        pytest.skip("the C library has no usleep")
    sleep = ctypes.PyDLL(None).usleep
    assert watched(lambda: sleep(20_000)).held_share > 0.7
