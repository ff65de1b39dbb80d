"""What an item has started ends with its worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import psutil
import pytest

import amorsize
from amorsize_local.descendants import kill_descendants
from amorsize_local.processes import ProcessBackend

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the system tells no children")


def test_all_end_though_some_threads_and_children_are_gone_before_their_turn() -> None:
    """A program whose threads end and whose children are reaped all the time."""
    script = """if True:
        import subprocess, threading
        def churn():
            while True:
                subprocess.run(["/bin/true"])
        def passes():
            threading.Thread(target=lambda: None).start()
        for _ in range(4):
            threading.Thread(target=churn, daemon=True).start()
        started = [subprocess.Popen(["sleep", "600"]) for _ in range(40)]
        print(*(child.pid for child in started), flush=True)
        while True:
            passes()
    """
    program = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    sleepers = [psutil.Process(int(pid)) for pid in program.stdout.readline().split()]
    kill_descendants(program.pid)
    program.kill()
    program.communicate(timeout=10)
    _, left = psutil.wait_procs(sleepers, timeout=10)
    for process in left:
        process.kill()
    assert len(sleepers) == 40
    assert not left


def test_a_child_that_is_gone_keeps_no_other_alive(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with subprocess.Popen(["sleep", "600"]) as parent:
        told: list[tuple[int, int]] = []
        monkeypatch.setattr(
            "amorsize_local.descendants._children",
            lambda pid: [2**22 + 1, 2**22 + 2] if pid == parent.pid else [],
        )
        kill = os.kill

        def noted(pid: int, number: int) -> None:
            told.append((pid, number))
            kill(pid, number)

        monkeypatch.setattr(os, "kill", noted)
        kill_descendants(parent.pid)
        monkeypatch.undo()
        parent.kill()
    assert [pid for pid, _ in told] == [parent.pid, 2**22 + 1, 2**22 + 2]


def test_of_a_process_that_is_gone_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "kill")
    kill_descendants(None)
    kill_descendants(2**22 + 1)


def goes_on(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_what_items_of_a_sample_in_a_worker_leave_running_goes_on(method: str) -> None:
    """As in the plain loop: only what is cut short takes along what it has started."""

    def start(_: int) -> int:
        nowhere = subprocess.DEVNULL
        return subprocess.Popen(["sleep", "600"], stdout=nowhere, stderr=nowhere).pid

    backend = ProcessBackend(method)
    pids = amorsize.map(start, range(6), backend=backend, workers=2, timeout=60)
    backend.release()
    going = [pid for pid in pids if goes_on(pid)]
    for pid in going:
        os.kill(pid, signal.SIGKILL)
    assert going == pids
