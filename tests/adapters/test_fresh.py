"""What is changed in the caller while fresh interpreters start, whichever of its threads do it."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from multiprocessing import current_process
from types import ModuleType
from typing import Any

import pytest

from amorsize_local.fresh import hidden_main, undaemonic
from tests.scripts import is_fine


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module: Any = ModuleType("__main__")
    module.__file__ = "script.py"
    module.Thing = type("Thing", (), {"__module__": "__main__"})
    monkeypatch.setitem(sys.modules, "__main__", module)
    return sys.modules["__main__"]


def test_the_last_thread_brings_the_main_module_back(main: ModuleType) -> None:
    entered, may_leave = threading.Event(), threading.Event()

    def start() -> None:
        with hidden_main:
            entered.set()
            may_leave.wait(10.0)

    other = threading.Thread(target=start)
    with hidden_main:
        other.start()
        assert entered.wait(10.0)
    assert sys.modules["__main__"] is not main
    may_leave.set()
    other.join()
    assert sys.modules["__main__"] is main


def test_the_script_is_hidden_and_nothing_else(main: Any) -> None:
    with hidden_main:
        hidden: Any = sys.modules["__main__"]
        assert hidden.__spec__ is None
        assert not hasattr(hidden, "__file__")
        assert type(pickle.loads(pickle.dumps(main.Thing()))) is main.Thing
        hidden.later = 1
        assert "later" in vars(hidden)
    assert main.later == 1
    assert main.__file__ == "script.py"


def test_a_child_forked_meanwhile_has_its_main_module(main: ModuleType) -> None:
    with hidden_main:
        if not (child := os.fork()):
            fine = sys.modules["__main__"] is main
            with hidden_main:
                fine = fine and sys.modules["__main__"] is not main
            os._exit(0 if fine and sys.modules["__main__"] is main else 1)
        assert os.waitpid(child, 0)[1] == 0


def test_a_daemon_is_one_again_when_the_last_thread_has_started_workers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config: dict[str, Any] = current_process()._config  # type: ignore[attr-defined]
    monkeypatch.setitem(config, "daemon", True)
    with undaemonic:
        with undaemonic:
            assert not current_process().daemon
        assert not current_process().daemon
    assert current_process().daemon


SCRIPT = """
import amorsize, pickle, sys, threading
class Thing: pass
def run(): amorsize.map(abs, range(100), backend="multiprocessing", workers=2,
                        options={"start_method": "spawn"})
if __name__ == "__main__":
    main = sys.modules["__main__"]
    for _ in range(2):
        threads = [threading.Thread(target=run) for _ in range(2)]
        for thread in threads: thread.start()
        while any(thread.is_alive() for thread in threads): pickle.loads(pickle.dumps(Thing()))
    assert sys.modules["__main__"] is main
    print("fine")
"""


def test_two_threads_map_while_a_third_one_pickles(tmp_path: Any) -> None:
    is_fine(tmp_path, SCRIPT)


def test_a_caller_that_blocks_the_signal_of_ended_children_does_not_hang() -> None:
    script = """
import signal, amorsize
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
how = dict(backend="multiprocessing", options={"start_method": "forkserver"}, workers=2)
print(amorsize.map(abs, range(100), **how) == list(range(100)))
print(signal.pthread_sigmask(signal.SIG_BLOCK, []) == {signal.SIGCHLD})
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.stdout == "True\nTrue\n"
    assert not done.stderr
    assert done.returncode == 0
