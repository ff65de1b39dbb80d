"""The caller forks in the middle of a run: the child does no harm to it, however it ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from amorsize.interrupts import shielded

FORKS = """
import json, os, sys, amorsize
method, end, folder = sys.argv[1:]

def work(x):
    with open(f"{folder}/calls", "a") as file:
        file.write(f"{x}\\n")
    return x

def fork(stream):
    child = os.fork()
    if not child:
        if end == "closes":
            stream.close()
            os._exit(0)
        if end == "goes on":
            try:
                next(value for value in stream if value > 1000)
            except RuntimeError:
                os._exit(0)
            os._exit(3)
        sys.exit(0)
    assert os.waitpid(child, 0)[1] == 0

def main():
    how = {"backend": "multiprocessing", "options": {"start_method": method}}
    plan = amorsize.plan(work, range(2000), workers=2, chunk_size=5, **how)
    stream = plan.stream(journal=f"{folder}/journal")
    got = [next(stream) for _ in range(200)]
    fork(stream)
    there = os.path.exists(f"{folder}/journal-wal")
    got += [next(stream) for _ in range(200)]
    fork(stream)
    got += list(stream)
    with open(f"{folder}/calls") as file:
        calls = sorted(map(int, file))
    fine = got == list(range(2000))
    print(json.dumps([fine, calls == got, plan.report.lost_workers, there]))

if __name__ == "__main__":
    main()
"""


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
@pytest.mark.parametrize("end", ["exits", "closes", "goes on"])
def test_a_child_of_the_caller_does_no_harm(method: str, end: str, tmp_path: Path) -> None:
    (tmp_path / "driver.py").write_text(FORKS)
    command = [sys.executable, str(tmp_path / "driver.py"), method, end, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [True, True, 0, True], done.stderr
    assert not done.stderr


FORKED_BESIDE = """
import os, signal, sys, threading
from amorsize.interrupts import shielded

def child():
    os.kill(os.getpid(), signal.SIGTERM)
    os._exit(7)

def fork():
    pid = os.fork()
    if not pid:
        child()
    ended.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

ended = []
with shielded():
    thread = threading.Thread(target=fork)
    thread.start()
    thread.join()
print(ended[0] == -signal.SIGTERM)
"""


def test_what_other_threads_fork_while_a_run_ends_can_be_ended() -> None:
    """A pool of the user's own waited for ever for a worker that it had forked just then."""
    call = [sys.executable, "-W", "ignore", "-c", FORKED_BESIDE]
    ended = subprocess.run(call, capture_output=True, text=True, timeout=60)
    assert ended.stdout == "True\n", ended.stderr


@pytest.fixture
def own_handlers() -> Iterator[dict[int, Any]]:
    """Handlers that know Ctrl-C and SIGTERM; those before come back."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    own: dict[int, Any] = {signal.SIGINT: interrupt, signal.SIGTERM: lambda *_: None}
    before = {kind: signal.signal(kind, handler) for kind, handler in own.items()}
    yield own
    for kind, handler in before.items():
        signal.signal(kind, handler)


@pytest.mark.parametrize("late", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_that_comes_as_soon_as_it_may_leaves_no_signal_held_back(
    late: signal.Signals, own_handlers: dict[int, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    put_back = signal.signal

    def and_interrupt(kind: int, handler: Any) -> Any:
        before = put_back(kind, handler)
        if kind == late and handler is own_handlers[kind]:
            own_handlers[signal.SIGINT]()
        return before

    monkeypatch.setattr(signal, "signal", and_interrupt)
    with pytest.raises(KeyboardInterrupt), shielded():
        pass
    assert {kind: signal.getsignal(kind) for kind in own_handlers} == own_handlers


WHILE_PACKED = """
import os, signal, threading
import amorsize

reached, go = threading.Event(), threading.Event()
how = {"backend": "multiprocessing", "options": {"start_method": "spawn"}, "workers": 2}

class Slow:
    def __reduce__(self):
        if threading.current_thread() is not threading.main_thread():
            reached.set()
            go.wait()
        return int, ()

slow = Slow()

def captures(x):
    return x if slow is not None else 0

def same(x):
    return x

if __name__ == "__main__":
    thread = threading.Thread(target=lambda: amorsize.map(captures, range(6), **how))
    thread.start()
    reached.wait()
    child = os.fork()
    if not child:
        signal.alarm(20)
        os._exit(amorsize.map(same, range(6), **how) != list(range(6)))
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    go.set()
    thread.join()
    print(ended)
"""


def test_a_child_maps_although_another_thread_was_packing_a_function(tmp_path: Path) -> None:
    (tmp_path / "driver.py").write_text(WHILE_PACKED)
    call = [sys.executable, "-W", "ignore", str(tmp_path / "driver.py")]
    ended = subprocess.run(call, capture_output=True, text=True, timeout=60)
    assert ended.stdout == "0\n", ended.stderr
