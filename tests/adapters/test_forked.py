"""Workers that are forked without multiprocessing: in programs that have not loaded it."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

import amorsize
from amorsize.backend import Backend, Chunk, OpenRequest
from amorsize.probes import fork_safety
from amorsize.source import source_of
from amorsize.testing import BackendContract
from amorsize_local import forked
from amorsize_local.processes import ProcessBackend

if not forked._can_watch():
    pytest.skip("this system does not tell the end of a process", allow_module_level=True)


@pytest.fixture(autouse=True)
def _preferred(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if multiprocessing were not loaded, which pytest does."""
    monkeypatch.setattr(forked, "preferred", lambda: True)


class TestForked(BackendContract):
    engine_modules = ("multiprocessing.pool", "concurrent.futures.process")

    @pytest.fixture
    def backend(self) -> Backend:
        return ProcessBackend("fork")


def children() -> set[psutil.Process]:
    return set(psutil.Process().children())


def run(script: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert not done.stderr
    return done.stdout


def test_multiprocessing_is_not_loaded_for_it() -> None:
    script = """
import sys, amorsize
print("written once")
print(amorsize.map(lambda x: x * x, range(5), backend="multiprocessing", workers=2))
print("multiprocessing" in sys.modules)
"""
    assert run(script) == "written once\n[0, 1, 4, 9, 16]\nFalse\n"


def test_items_may_use_multiprocessing_themselves() -> None:
    script = """
import amorsize

def nested(x):
    from multiprocessing import get_context
    with get_context("fork").Pool(2) as pool:
        return sum(pool.map(abs, range(x)))

print(amorsize.map(nested, [2, 3, 4], backend="multiprocessing", workers=2))
"""
    assert run(script) == "[1, 3, 6]\n"


def test_pools_of_threads_that_items_leave_open_hold_no_worker_back() -> None:
    script = """
import amorsize

def kept(x, pools=[]):
    from concurrent.futures import ThreadPoolExecutor
    pools.append(ThreadPoolExecutor(1))
    return pools[-1].submit(abs, -x).result()

killed = []
from amorsize_local.forked import ForkedProcess
ForkedProcess.kill = lambda self: killed.append(self)
fork = {"backend": "multiprocessing", "options": {"start_method": "fork"}}
print(amorsize.map(kept, range(1, 6), workers=2, **fork), killed)
"""
    assert run(script) == "[1, 2, 3, 4, 5] []\n"


def test_a_worker_that_exits_is_told_by_its_code() -> None:
    caller = os.getpid()

    def leaves(x: int) -> int:
        if os.getpid() != caller:
            os._exit(17)
        return x

    # Whether one item is alone often enough before all have died so often is up to the scheduler.
    deaths = (amorsize.WorkersKeepDying, amorsize.WorkerDied)
    with pytest.raises(deaths, match="code 17"):
        amorsize.map(leaves, range(60), backend="multiprocessing", workers=2, chunk_size=60)


def test_no_more_workers_are_forked_than_there_are_chunks() -> None:
    request = OpenRequest(abs, 8, source_of([-1, -2, -3]))  # type: ignore[arg-type]
    session, before = ProcessBackend("fork").open(request), children()
    futures = {session.submit(Chunk(n, ((n, n + 1),), None, 1.0)) for n in range(3)}
    done: set[Any] = session.wait(futures, 0.0)
    forked = len(children() - before)
    while done != futures:
        done |= session.wait(futures - done, None)
    session.close(cancel=False)
    assert forked == 3
    assert sorted(future.result().unpack().values for future in futures) == [[1], [2], [3]]


def test_workers_are_forked_together_once_there_are_chunks_for_them() -> None:
    request = OpenRequest(abs, 2, source_of([-1, -2]))  # type: ignore[arg-type]
    session, before = ProcessBackend("fork").open(request), children()
    first = session.submit(Chunk(0, ((0, 1),), None, 1.0))
    waiting = len(children() - before)
    second = session.submit(Chunk(1, ((1, 2),), None, 1.0))
    forked = len(children() - before)
    ended: set[Any] = set()
    while ended != {first, second}:
        ended |= session.wait({first, second} - ended, None)
    session.close(cancel=False)
    assert (waiting, forked) == (0, 2)


def test_the_workers_of_a_run_hold_no_pipes_of_each_other_open() -> None:
    script = """
import os
import amorsize

def link_of(name):
    try:
        return os.readlink(f"/proc/self/fd/{name}")
    except OSError:  # another thread has closed it since
        return ""

def pipes(_):
    links = {link_of(name) for name in os.listdir("/proc/self/fd")}
    return os.getpid(), {link for link in links if link.startswith("pipe:")}

before = pipes(0)[1]
fork = {"backend": "multiprocessing", "options": {"start_method": "fork"}}
seen = amorsize.map(pipes, range(40), workers=20, chunk_size=1, **fork)
opened = {worker: links - before for worker, links in seen if worker != os.getpid()}
print(len(opened) > 1, {len(links) for links in opened.values()})
print(len(set.intersection(*opened.values())))
"""
    # Orders, outcomes, and the lifeline that all have in common.
    assert run(script) == "True {3}\n1\n"


def test_a_run_goes_on_with_the_workers_that_could_be_started(cgroups: Any) -> None:
    name = f"amorsize-forks-{os.getpid()}"
    try:
        cgroups.make(name, tasks=3)
    except OSError as error:
        pytest.skip(f"this limit cannot be set here: {error}")
    script = f"""
{cgroups.entry(name)}
import amorsize
where = lambda x: (x, os.getpid())
fork = {{"backend": "multiprocessing", "options": {{"start_method": "fork"}}}}
plan = amorsize.plan(where, range(600), workers=6, chunk_size=20, **fork)
found = plan.run()
pids = {{pid for _, pid in found}} - {{os.getpid()}}
print([x for x, _ in found] == list(range(600)), 1 <= len(pids) <= 2)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "True True\n"
    assert "of 6 workers could be started" in done.stderr


def test_workers_leave_while_the_last_chunks_run_and_others_come_for_what_has_to_run_again(
    tmp_path: Path,
) -> None:
    marker, caller = tmp_path / "died", os.getpid()

    def last_one_dies(x: int) -> int:
        if x == 39 and os.getpid() != caller and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    fork = {"backend": "multiprocessing", "options": {"start_method": "fork"}}
    before = children()
    plan = amorsize.plan(last_one_dies, range(40), workers=2, chunk_size=5, **fork)  # type: ignore[arg-type]
    assert plan.run() == list(range(40))
    assert marker.exists()
    assert plan.report is not None
    assert plan.report.lost_workers == 1
    assert children() <= before


def test_a_worker_with_nothing_left_to_do_ends_before_the_session() -> None:
    request, before = OpenRequest(abs, 2, source_of([-1, -2])), children()  # type: ignore[arg-type]
    session = ProcessBackend("fork").open(request)
    future = session.submit(Chunk(0, ((0, 1),), None, 1.0))
    session.wait({future}, None)
    (worker,) = children() - before
    session.all_out()
    gone, _ = psutil.wait_procs([worker], timeout=10)
    assert gone or worker.status() == psutil.STATUS_ZOMBIE
    again = session.submit(Chunk(1, ((1, 2),), None, 1.0))
    while not session.wait({again}, None):
        pass
    session.close(cancel=False)
    assert again.result().unpack().values == [2]
    assert children() <= before


def test_what_a_worker_inherits_is_none_of_its_collectors_business() -> None:
    caller = os.getpid()

    def frozen(_: int) -> bool | None:
        return None if os.getpid() == caller else gc.get_freeze_count() > 1000

    before = gc.get_freeze_count()
    fork = {"backend": "multiprocessing", "options": {"start_method": "fork"}}
    found = amorsize.map(frozen, range(100), workers=2, chunk_size=5, **fork)  # type: ignore[arg-type]
    assert set(found) - {None} == {True}
    assert gc.get_freeze_count() == before


def test_no_worker_is_forked_beside_threads_that_were_not_there_before() -> None:
    if not fork_safety():
        pytest.skip("the test runner has threads of its own")
    source = source_of(range(8))
    session = ProcessBackend("fork").open(OpenRequest(abs, 2, source))  # type: ignore[arg-type]
    release = threading.Event()
    try:
        first = session.submit(Chunk(0, ((0, 2),)))
        session.wait([first], 30.0)
        theirs = threading.Thread(target=release.wait, args=(30.0,))
        theirs.start()
        before = children()
        others = [session.submit(Chunk(n, ((2 * n, 2 * n + 2),))) for n in (1, 2, 3)]
        for future in others:
            session.wait([future], 30.0)
        assert [future.result().unpack().values for future in others] == [[2, 3], [4, 5], [6, 7]]
        assert children() <= before
    finally:
        release.set()
        session.close(cancel=False)


def test_why_no_worker_can_be_started_is_told() -> None:
    script = """
import os, resource, amorsize
amorsize.map(abs, range(100), backend="multiprocessing", workers=2)
os.close(free := os.dup(0))
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (free + 3, most))
try:
    amorsize.map(abs, range(100), backend="multiprocessing", workers=2, chunk_size=1)
except amorsize.BackendUnavailable as error:
    print(error)
"""
    assert "Too many open files" in run(script)
