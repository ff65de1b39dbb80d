"""Streams end when they are closed, whoever closes them and wherever their consumer is."""

from __future__ import annotations

import itertools
import multiprocessing
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import amorsize
from amorsize.streaming import Stream

PARALLEL = ["threads", "multiprocessing"]
LOCAL = ["serial", *PARALLEL]


def brief(x: int) -> int:
    time.sleep(0.001)
    return x


class FirstIsStuck:
    """The first item that a worker runs takes a minute, and tells that it has begun."""

    def __init__(self, folder: Path) -> None:
        self.here = folder / "here"

    def __call__(self, x: int) -> int:
        thread = threading.current_thread().name.startswith("amorsize_")
        if thread or multiprocessing.parent_process() is not None:
            try:
                self.here.touch(exist_ok=False)
            except FileExistsError:
                return x
            time.sleep(60)
        return x


def workers() -> set[Any]:
    """Threads and processes that runs have started, some of other tests; not the helpers of
    multiprocessing, which stay.
    """
    found: set[Any] = {t for t in threading.enumerate() if t.name.startswith("amorsize")}
    for child in psutil.Process().children():
        command = " ".join(child.cmdline())
        helper = "resource_tracker" in command or "multiprocessing.forkserver" in command
        found |= {*child.children(recursive=True)} | (set() if helper else {child})
    return found


@pytest.mark.parametrize("backend", LOCAL)
def test_a_with_block_closes_it(backend: str) -> None:
    def consume(stream: Any) -> None:
        with stream:
            for x in stream:
                1 / (200 - x)

    before = workers()
    stream = amorsize.imap(brief, itertools.count(), backend=backend, workers=2)
    with pytest.raises(ZeroDivisionError):
        consume(stream)
    assert workers() <= before
    assert list(stream) == []


@pytest.mark.parametrize("backend", LOCAL)
def test_another_thread_may_close_it(backend: str) -> None:
    before = workers()
    stream = amorsize.imap(brief, itertools.count(), backend=backend, workers=2)
    for _ in range(200):
        next(stream)
    thread = threading.Thread(target=stream.close)
    thread.start()
    thread.join()
    assert workers() <= before
    assert next(stream, None) is None


@pytest.mark.parametrize("backend", PARALLEL)
@pytest.mark.parametrize("ordered", [True, False])
def test_it_may_be_closed_while_its_consumer_waits(
    backend: str, ordered: bool, tmp_path: Path
) -> None:
    got: list[int] = []
    work, before = FirstIsStuck(tmp_path), workers()
    stream = amorsize.imap(
        work, itertools.count(), backend=backend, workers=2, chunk_size=5, ordered=ordered
    )
    consumer = threading.Thread(target=lambda: got.extend(stream), daemon=True)
    consumer.start()
    while not work.here.exists():
        assert consumer.is_alive()
    stream.close()
    consumer.join(30)  # not a minute later: its items are stopped, or left alone
    assert not consumer.is_alive()
    assert len(set(got)) == len(got)
    if backend == "multiprocessing":
        assert workers() <= before


@pytest.mark.parametrize("backend", LOCAL)
def test_no_more_is_read_once_it_is_closed(backend: str) -> None:
    """Data that has no more to give would hold up its reader for ever."""
    read: list[int] = []

    def data() -> Iterator[int]:
        yield from range(60)
        stream.close()  # as another thread does while the run waits for an item
        for item in range(60, 10_000):
            read.append(item)
            yield item

    stream = amorsize.imap(brief, data(), backend=backend, workers=2, chunk_size=1)
    got = []
    for result in stream:
        got.append(result)
        time.sleep(0.01)  # results lie ready for it
    assert got == list(range(len(got)))
    assert read == [60]  # that which was being read


@pytest.mark.parametrize("backend", LOCAL)
def test_its_report_tells_what_has_failed(backend: str) -> None:
    def refuse(item: int) -> int:
        if item % 10 == 5:
            raise ValueError(item)
        return item

    with amorsize.imap(refuse, iter(range(40)), on_error="skip", backend=backend) as stream:
        results = list(stream)
    assert results == [item for item in range(40) if item % 10 != 5]
    assert sorted(failure.index for failure in stream.report.failures) == [5, 15, 25, 35]


def test_an_error_of_the_end_is_told() -> None:
    """A ``ValueError`` does not always say that another thread is in the stream."""

    def results() -> Iterator[Any]:
        try:
            yield 1
        finally:
            raise ValueError("the end")

    made: Any = results()
    stream: Stream[Any] = Stream(made, pytest.fail, amorsize.plan(brief, [1]).stream().report)
    assert next(stream) == 1
    with pytest.raises(ValueError, match="the end"):
        stream.close()


def test_an_observer_may_close_it() -> None:
    box: list[Any] = []
    stream = amorsize.plan(brief, itertools.count(), backend="threads", workers=2).stream(
        observers=[lambda event: box[0].close() if len(got) > 300 else None]
    )
    box.append(stream)
    got: list[int] = []
    for x in stream:
        got.append(x)
    assert got == list(range(len(got)))
    assert len(got) > 300


SCRIPT = """
import os, signal, threading, amorsize
def streams(backend):
    for _ in range(2):
        stream = amorsize.imap(abs, iter(range(100_000)), backend=backend, workers=2)
        for _ in range(3000):
            next(stream)
        yield stream
"""
ELSEWHERE = """
one, other = streams("threads")
for stream in (one, other):
    thread = threading.Thread(target=stream.close)
    thread.start()
    thread.join()
try:
    os.kill(os.getpid(), signal.SIGTERM)
finally:
    print("not reached")
"""
IN_TURNS = """
one, other = streams("threads")
one.close()
try:
    os.kill(os.getpid(), signal.SIGTERM)
finally:
    print("unwound")
"""


@pytest.mark.parametrize(("script", "said"), [(ELSEWHERE, ""), (IN_TURNS, "unwound\n")])
def test_sigterm_is_taken_care_of_as_long_as_a_stream_is_open(script: str, said: str) -> None:
    """Also if one is closed in another thread, where no handler can be put back."""
    done = subprocess.run([sys.executable, "-c", SCRIPT + script], capture_output=True, text=True)
    assert done.stdout == said
    assert done.returncode in (-signal.SIGTERM, 128 + signal.SIGTERM), done.stderr
