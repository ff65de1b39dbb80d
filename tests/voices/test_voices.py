"""What items print, log and warn about is heard in the caller, wherever they ran."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import warnings
from typing import Any

import pytest

import amorsize

log = logging.getLogger("tests.voices.talk")
WHERE: list[dict[str, Any]] = [
    {"backend": "serial"},
    {"backend": "threads", "workers": 2, "chunk_size": 4},
    {"backend": "multiprocessing", "workers": 2, "chunk_size": 4},
    {"backend": "multiprocessing", "workers": 2, "options": {"start_method": "spawn"}},
    {"backend": "multiprocessing", "workers": 2, "options": {"start_method": "forkserver"}},
]


class Odd(Warning):
    """A warning of our own."""


def talk(x: int) -> int:
    print("out", x)
    print("err", x, file=sys.stderr)
    log.info("item %d", x)
    log.debug("quiet %d", x)
    warnings.warn(f"warn {x}", Odd, stacklevel=1)
    return x


def check(where: dict[str, Any], hears: Any) -> None:
    warned = hears(log.name, lambda: amorsize.plan(talk, range(40), **where).run())
    assert {told for kind, told in warned if kind is Odd} == {f"warn {x}" for x in range(40)}


@pytest.mark.parametrize("where", WHERE)
def test_everything_is_heard_once(where: dict[str, Any], hears: Any) -> None:
    check(where, hears)


def several(x: int) -> int:
    for part in range(3):
        print(x, part)
        print(os.getpid(), end="\n", file=sys.stdout)
    return os.getpid()


def test_in_order_for_each_worker(capsys: pytest.CaptureFixture[str]) -> None:
    pids = amorsize.map(several, range(30), backend="multiprocessing", workers=2, chunk_size=3)
    lines = capsys.readouterr().out.splitlines()
    told: dict[str, list[str]] = {}
    for what, sayer in zip(lines[::2], lines[1::2], strict=True):
        told.setdefault(sayer, []).append(what)
    for pid in set(pids):
        mine = [x for x in range(30) if pids[x] == pid]
        ours = [f"{x} {part}" for x in mine for part in range(3)]
        assert sorted(told[str(pid)], key=lambda s: int(s.split()[0])) == ours
        if pid != os.getpid():  # the sample is spread over the data
            assert told[str(pid)] == ours


def fails(x: int) -> int:
    print("before the end")
    log.warning("trouble", exc_info=ValueError("inner"), extra={"lock": threading.Lock()})
    log.warning("bad %d %d", x)
    raise KeyError(x)


def test_failing_items_and_odd_records(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    how: dict[str, Any] = {"backend": "multiprocessing", "workers": 2, "on_error": "skip"}
    assert amorsize.map(fails, range(8), **how) == []
    assert capsys.readouterr().out.count("before the end") == 8
    ours = [record for record in caplog.records if record.name == log.name]
    assert len(ours) >= 8
    assert any("ValueError: inner" in (record.exc_text or "") for record in ours)


def test_records_with_large_buffers(caplog: pytest.LogCaptureFixture) -> None:
    numpy = pytest.importorskip("numpy")

    def measured(x: int) -> int:
        log.warning("item %d", x, extra={"array": numpy.full(5000, x)})
        return x

    amorsize.map(measured, range(8), backend="multiprocessing", workers=2, chunk_size=2)
    ours = [record for record in caplog.records if record.name == log.name]
    assert sorted(record.__dict__["array"][-1] for record in ours) == list(range(8))


def threaded(x: int) -> int:
    thread = threading.Thread(target=print, args=("from a thread", x))
    thread.start()
    thread.join()
    sys.stdout.flush()
    assert sys.stdout.writable()
    sys.stdout.writelines(["a\n", "b\n"])
    return x


def test_threads_of_items_and_other_methods(capsys: pytest.CaptureFixture[str]) -> None:
    amorsize.map(threaded, range(6), backend="multiprocessing", workers=2)
    out = capsys.readouterr().out
    assert out.count("from a thread") == out.count("a\nb\n") == 6


SCRIPT = """
import amorsize, sys
def f(x):
    print("said", x, flush=True)
    return x
amorsize.map(f, range(20), backend="multiprocessing", workers=2, voices=False)
sys.stdout.flush()
"""


def test_without_voices_output_is_the_workers_own() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert done.stdout.count("said") == 20
    planning = amorsize.plan(str, range(3), voices=False)._planning
    assert planning.travelling is planning.runnable


FLUSHES = """
import amorsize, os, sys
def f(x):
    print("said", x, flush=True)
    print("not flushed", x, file=sys.stderr, end="")
    print("wrote", x, file=sys.stderr, flush=True)
    return x
amorsize.map(f, range(20), backend="multiprocessing", workers=2, chunk_size=3)
os._exit(0)  # what has not been flushed is lost
"""


def test_what_an_item_flushes_is_flushed_here() -> None:
    buffered = {**os.environ, "PYTHONUNBUFFERED": ""}
    done = subprocess.run(
        [sys.executable, "-c", FLUSHES], capture_output=True, text=True, env=buffered
    )
    said = [line for line in done.stdout.splitlines() if line.startswith("said")]
    assert sorted(said) == sorted(f"said {x}" for x in range(20))
    assert done.stderr.count("not flushed") == done.stderr.count("wrote") == 20


def test_a_run_within_a_worker_is_heard(capsys: pytest.CaptureFixture[str]) -> None:
    amorsize.map(_nested, range(4), backend="multiprocessing", workers=2, chunk_size=1)
    assert capsys.readouterr().out.count("inner") == 12


def _inner(x: int) -> None:
    print("inner", x)


def _nested(x: int) -> None:
    amorsize.map(_inner, range(3), backend="multiprocessing", workers=2, chunk_size=1)


FORKS = """
import amorsize, logging, os, warnings
from multiprocessing import get_context
def child(x):
    print("said by the child of", x)
def f(x):
    print("said by", x)
    process = get_context("fork").Process(target=child, args=(x,))
    process.start()
    process.join()
    if not (pid := os.fork()):
        print("forked by", x, flush=True)
        logging.warning("logged by the child of %d", x)
        os._exit(0)
    os.waitpid(pid, 0)
amorsize.map(f, range(8), backend="multiprocessing", workers=2, chunk_size=2)
"""


def test_children_of_items_are_not_silenced() -> None:
    buffered = {**os.environ, "PYTHONUNBUFFERED": ""}  # else lines of two children may mix
    done = subprocess.run(
        [sys.executable, "-c", FORKS], capture_output=True, text=True, env=buffered
    )
    told = sorted(done.stdout.splitlines() + done.stderr.splitlines())
    whats = ("forked by", "said by", "said by the child of")
    expected = [f"{what} {x}" for what in whats for x in range(8)]
    logged = [f"WARNING:root:logged by the child of {x}" for x in range(8)]
    assert told == sorted(expected + logged)
