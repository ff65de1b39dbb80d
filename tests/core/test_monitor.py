"""What the thread that watches the sample sees, and does while the function waits."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from amorsize.monitor import Monitor

LONG_S = 0.3


def watched(work: Callable[[], object], meanwhile: Callable[[], object] | None = None) -> Monitor:
    monitor = Monitor(meanwhile=meanwhile)
    monitor.start()
    try:
        until = time.perf_counter() + LONG_S
        while time.perf_counter() < until:
            work()
    finally:
        monitor.stop()
    return monitor


def compute() -> int:
    return sum(number * number for number in range(2_000))


def wait() -> None:
    time.sleep(0.02)


@pytest.fixture
def busy_machine() -> Iterator[None]:
    """Other programs want all processors, twice over."""
    code = "print('up', flush=True)\nwhile True: pass"
    spinning = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        for _ in range(2 * (os.cpu_count() or 1))
    ]
    try:
        for process in spinning:
            assert process.stdout is not None
            process.stdout.readline()
        yield
    finally:
        for process in spinning:
            process.kill()
            process.communicate()


@pytest.mark.usefixtures("busy_machine")
def test_a_busy_machine_does_not_hide_that_the_lock_is_held() -> None:
    assert watched(compute).held_share > 0.7


def test_code_that_lets_go_of_the_lock_does_not_seem_to_hold_it() -> None:
    block = bytes(4_000_000)
    assert watched(lambda: hashlib.sha256(block).digest()).held_share < 0.3


def test_time_of_waiting_is_used_once() -> None:
    done: list[str] = []
    watched(wait, lambda: done.append("done"))
    assert done == ["done"]


def test_time_of_computing_is_not() -> None:
    done: list[str] = []
    watched(compute, lambda: done.append("done"))
    assert done == []


def test_what_is_done_meanwhile_is_not_the_functions() -> None:
    def meanwhile() -> None:
        until = time.thread_time() + 0.02
        while time.thread_time() < until:
            pass

    assert watched(wait, meanwhile).cpu_s >= 0.02
    assert sys.getswitchinterval() == pytest.approx(0.005)
