"""A pool of daemon threads: an item that never ends delays neither the session's end nor the
interpreter's. The standard library's pool waits for ever in both.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import Empty, SimpleQueue
from typing import Any

_PATIENCE_S = 1.0
"""Seconds that all threads together get to finish what they run."""

log = logging.getLogger("amorsize")

Job = tuple["Future[Any]", Callable[..., Any], tuple[Any, ...], dict[str, Any]]


class DaemonThreads(Executor):
    """Runs jobs in some threads, first come, first served. One is started at once, the others with
    the first jobs: these are at work while the last threads are still being started.

    Raises:
        RuntimeError: if not a single thread can be started here.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._leaving = False
        self._start_one()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Queue a job."""
        future: Future[Any] = Future()
        self._jobs.put((future, fn, args, kwargs))
        if len(self._threads) < self._workers or self._leaving:
            self._start_one()
        return future

    def all_out(self) -> None:
        """Let threads leave once the queue is empty, while the last jobs run: joining them all at
        the end takes its time. A job that comes nevertheless gets a thread of its own.
        """
        self._leaving = True
        for _ in self._threads:
            self._jobs.put(None)

    def _start_one(self) -> None:
        name = f"amorsize_{len(self._threads)}"
        thread = threading.Thread(target=_work, args=(self._jobs,), name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no more are allowed here: fewer have to do
            if not self._threads:
                raise
            self._workers = len(self._threads)
        else:
            self._threads.append(thread)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the threads. One that is still busy after a second is left to itself: it ends with
        its job, or with the process.
        """
        while cancel_futures:
            try:
                job = self._jobs.get_nowait()
            except Empty:
                break
            if job is not None:
                job[0].cancel()
        for _ in self._threads:
            self._jobs.put(None)
        until = time.monotonic() + _PATIENCE_S
        for thread in self._threads if wait else ():
            thread.join(max(0.0, until - time.monotonic()))
        if wait and (busy := sum(thread.is_alive() for thread in self._threads)):
            log.warning("threads that are busy with an item and go on until it ends: %d", busy)


def _work(jobs: SimpleQueue[Job | None]) -> None:
    while (job := jobs.get()) is not None:
        future, function, args, kwargs = job
        if not future.set_running_or_notify_cancel():
            continue
        try:
            future.set_result(function(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        del job, future  # nothing is held while waiting for the next one
