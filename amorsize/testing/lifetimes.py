"""Lifetimes: whatever a session starts, its end ends."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

from amorsize.backend import Backend
from amorsize.testing.driving import Settings, chunks_of, needs, same_results
from amorsize.testing.tasks import itself, square

HELPERS = ("multiprocessing.resource_tracker", "multiprocessing.forkserver", "resource_tracker")
"""Direct children that may stay: the standard library (and loky) starts one of each for the life
of the program. Their own children are workers and may not."""
GRACE_S = 10.0
"""Seconds that a process or thread which has been told to end may take for it."""


@dataclass(frozen=True)
class Belongings:
    """What this process has at one moment."""

    processes: frozenset[psutil.Process]
    """Its descendants, helpers left out."""
    threads: frozenset[threading.Thread]
    """Its threads."""
    files: int
    """Number of open file descriptors, 0 where the system does not tell."""


def belongings() -> Belongings:
    """What this process has now."""
    gc.collect()
    me = psutil.Process()
    files = me.num_fds() if psutil.POSIX else 0
    return Belongings(frozenset(_descendants(me)), frozenset(threading.enumerate()), files)


def _descendants(me: psutil.Process) -> Iterator[psutil.Process]:
    for process in me.children(recursive=True):
        try:
            if process.status() == psutil.STATUS_ZOMBIE or _is_helper(process, me):
                continue
        except psutil.NoSuchProcess:
            continue
        yield process


def _is_helper(process: psutil.Process, me: psutil.Process) -> bool:
    command = " ".join(process.cmdline())
    return process.ppid() == me.pid and any(helper in command for helper in HELPERS)


@contextmanager
def nothing_stays(backend: Backend, what: str) -> Iterator[None]:
    """Fail if processes or threads outlive the block. An engine that was up before is not the
    session's: it may start and stop workers as it likes, but must stay up.
    """
    backend.release()
    running = backend.availability().running
    before = belongings()
    yield
    backend.release()
    if running:
        assert backend.availability().running, f"{what} took down an engine that was up before"
        return
    processes = belongings().processes - before.processes
    _, alive = psutil.wait_procs(processes, timeout=GRACE_S)
    assert not alive, (
        f"{_count(len(alive), 'process', 'processes')} outlived {what}: {_told(alive)}"
    )
    threads = belongings().threads - before.threads
    for thread in threads:
        thread.join(GRACE_S)
    names = sorted(thread.name for thread in threads if thread.is_alive())
    assert not names, f"{_count(len(names), 'thread', 'threads')} outlived {what}: {names}"


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _told(processes: list[psutil.Process]) -> list[str]:
    told = []
    for process in processes:
        try:
            told.append(f"{process.pid} {' '.join(process.cmdline())[:80]}")
        except psutil.NoSuchProcess:
            continue
    return told


class Lifetimes(Settings):
    """Lifetimes"""

    def test_nothing_outlives_a_run(self, backend: Backend) -> None:
        """No process or thread outlives a run"""
        plan = self._plan(backend, square, range(300))
        with nothing_stays(backend, "the run"):
            plan.run()

    def test_nothing_outlives_a_failed_run(self, backend: Backend) -> None:
        """No process or thread outlives a run that an item's error ended"""

        def fail(item: int) -> int:
            if item == 280:
                raise ValueError(item)
            return square(item)

        plan = self._plan(backend, fail, iter(range(300)))
        with nothing_stays(backend, "the failed run"):
            try:
                plan.run()
            except ValueError:
                return
        raise AssertionError("the item's error was not raised")

    def test_an_unused_session_ends(self, backend: Backend) -> None:
        """A session to which nothing was submitted closes cleanly"""
        for cancel in (False, True):
            with (
                nothing_stays(backend, f"close(cancel={cancel})"),
                self._open(backend, itself, cancel=cancel),
            ):
                pass

    def test_sessions_follow_each_other(self, backend: Backend) -> None:
        """Sessions can be opened one after the other; files do not pile up"""
        counts = []
        for _ in range(4):
            with self._open(backend, square) as driver:
                outcomes = driver.run(chunks_of(range(8), 2))
            same_results([v for o in outcomes for v in o.values], [x * x for x in range(8)])
            counts.append(belongings().files)
        needs(not backend.availability().running, "files of an engine that is up are its own")
        piled = min(counts[2:]) - max(counts[:2])
        assert piled <= 0, f"open files grew from session to session: {counts}"

    def test_the_callers_process_is_left_as_it_was(self, backend: Backend) -> None:
        """A run does not change the caller's environment, directory or signal handlers"""
        import signal

        plan = self._plan(backend, square, range(300))
        watched = (signal.SIGINT, signal.SIGTERM)

        def state() -> tuple[object, ...]:
            return dict(os.environ), os.getcwd(), [signal.getsignal(s) for s in watched]

        before = state()
        plan.run()
        environment, directory, handlers = state()
        assert environment == before[0], "the run changed os.environ"
        assert directory == before[1], "the run changed the working directory"
        assert handlers == before[2], "the run changed a signal handler"
