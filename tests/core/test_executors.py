"""Executors as backends: large functions, workers that do not see this host's files."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import amorsize
from amorsize.backend import ExecutorBackend, Shipment, Traits, run_shipped
from amorsize.interrupts import terminating
from amorsize.packing import FunctionPayload, pack_function

LARGE = os.urandom(1_000_000)


class Pool(ExecutorBackend):
    name = "pool"

    def executor(self, workers: int) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(workers)


class FarAway(ThreadPoolExecutor):
    """Workers on a host of their own: the caller's files are not there."""

    sent = 0

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        function, _cores, *chunk = args
        if isinstance(function, FunctionPayload):
            FarAway.sent += 1
        else:
            function = type(function)(function.digest, "/not/on/this/host")
        # its workers are threads of this process, which must not be held to a worker's share
        return super().submit(fn, function, None, *chunk)


class Far(ExecutorBackend):
    name = "far"
    traits = Traits(remote=True)

    def executor(self, workers: int) -> Executor:
        return FarAway(workers)


def left_behind() -> list[Path]:
    return list(Path(tempfile.gettempdir()).glob("amorsize-function-*"))


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.mark.parametrize("ends", ["well", "badly"])
def test_the_file_of_a_large_function_is_private_and_removed(ends: str) -> None:
    seen: list[int] = []

    def work(item: int) -> int:
        if ends == "badly" and item == 280:
            raise ValueError(item)
        return item + len(LARGE)

    plan = amorsize.plan(work, iter(range(300)), backend=Pool(), workers=2, chunk_size=10)
    stream = plan.stream()
    for value in stream:
        seen.append(value)
        if len(seen) == 100:
            (file,) = left_behind()
            assert file.stat().st_mode & 0o777 == 0o600
        if len(seen) == 250 and ends == "badly":
            break
    stream.close()
    assert seen[:250] == [item + len(LARGE) for item in range(250)]
    assert not left_behind()


def test_a_worker_that_does_not_see_the_file_is_sent_the_function(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def work(item: int) -> int:
        return item + len(LARGE)

    monkeypatch.setattr("amorsize.packing._loaded", {})
    plan = amorsize.plan(work, range(300), backend=Far(), workers=2, chunk_size=10)
    assert plan.run() == [item + len(LARGE) for item in range(300)]
    assert FarAway.sent > 0


def test_a_file_of_other_content_is_not_loaded() -> None:
    shipment = Shipment(pack_function(lambda item: item + len(LARGE)))
    (file,) = left_behind()
    file.write_bytes(b"something else")
    assert run_shipped(shipment.function, None, [1], 0, True) is None
    shipment.close()


def test_small_functions_make_no_file() -> None:
    shipment = Shipment(pack_function(abs))
    assert not left_behind()
    outcome = run_shipped(shipment.function, None, [-1], 0, True)
    assert outcome is not None
    assert outcome.unpack().values == [1]


def deadly(item: int) -> int:
    if item in (60, 61) and multiprocessing.parent_process() is not None:
        os._exit(3)
    return item


@pytest.mark.parametrize("chunk_size", [1, 7])
def test_a_broken_executor_is_replaced_and_only_the_guilty_are_blamed(chunk_size: int) -> None:
    plan = amorsize.plan(
        deadly,
        iter(range(100)),
        backend=Pool(),
        workers=2,
        chunk_size=chunk_size,
        on_error="return",
    )
    results: list[Any] = plan.run()
    assert [value for value in results if isinstance(value, int)] == [
        item for item in range(100) if item not in (60, 61)
    ]
    for index in (60, 61):
        assert isinstance(results[index].exception, amorsize.WorkerDied)
        assert results[index].index == index


def test_an_item_that_cannot_travel_is_named_also_while_suspects_run() -> None:
    data: list[Any] = list(range(100))
    data[61], data[62] = threading.Lock(), threading.Lock()
    plan = amorsize.plan(
        deadly, iter(data), backend=Pool(), workers=2, chunk_size=1, on_error="skip"
    )
    results = plan.run()
    assert results == [item for item in range(100) if item not in (60, 61, 62)]
    assert plan.report is not None
    assert {failed.index for failed in plan.report.failures} == {60, 61, 62}


def test_the_users_own_executor_is_not_replaced_and_nobody_is_blamed_wrongly() -> None:
    with ProcessPoolExecutor(2) as executor:
        plan = amorsize.plan(deadly, iter(range(100)), backend=executor, workers=2, chunk_size=1)
        with pytest.raises(amorsize.BackendUnavailable, match=r"items .*60 to 60.* new executor"):
            plan.run()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_sigterm_ends_a_process_forked_during_a_run_wherever_it_arrives() -> None:
    """Also while Python cleans up after the fork, when it ignores what is raised."""
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)  # not one that an engine has left
    with terminating():
        child = os.fork()
        if child == 0:
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(60)
            except BaseException:  # as the at-fork hooks do
                os._exit(7)
            os._exit(8)
        _, status = os.waitpid(child, 0)
    signal.signal(signal.SIGTERM, before)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGTERM


DROPPING = """
import os, signal, sys, amorsize

class Odd:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        for _ in range(1000):  # the handler runs here, where nothing can be raised
            pass

def data():
    for item in range(3_000_000):
        if item == 2_000_000:
            Odd()
        yield item

if __name__ == "__main__":
    sys.unraisablehook = lambda told: None
    amorsize.plan(abs, data(), backend="threads", workers=2, chunk_size=1000).run()
    print("ran on")
"""


def test_a_sigterm_whose_exception_is_dropped_still_ends_the_run() -> None:
    done = subprocess.run(
        [sys.executable, "-c", DROPPING], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == ""
    assert done.returncode == -signal.SIGTERM, done.stderr
