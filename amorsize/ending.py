"""The end of what an engine still runs: of its processes below this one, of chunks that it does not
stop. Public through :mod:`amorsize.backend`.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

_LEAVE_S, _SETTLE_S = 5.0, 0.2
"""Most seconds to wait until this process has left an engine, and seconds after that before the
engine's processes are killed."""
_MOMENT_S = 0.01
LATE_S = 1.0
"""Seconds that chunks on an engine of somebody else's get to end after a cancel."""


def tell_of_late_chunks(name: str, count: int) -> None:
    """Log that chunks outlive their run, if there are any: the engine cannot stop them."""
    if count:
        import logging

        text = "chunks that %s is busy with and goes on until they end: %d"
        logging.getLogger("amorsize").warning(text, name, count)


@contextmanager
def ending_processes(word: str, left: Callable[[], bool], *, hurry: bool) -> Iterator[None]:
    """Around an engine's own shut-down: kills what it leaves. In a ``hurry``, after Ctrl-C, its
    processes are killed as soon as this one has left the engine, without time to end by themselves.

    Args:
        word: part of the commands of the engine's processes and of no others, a folder of its own,
            say; what these have started belongs to them.
        left: whether this process has left the engine, and outlives it.
        hurry: whether somebody waits for the end.
    """
    killer = None
    if hurry:
        killer = threading.Thread(target=_kill_once, args=(left, _processes(word)), daemon=True)
        killer.start()
    try:
        yield
    finally:
        if killer is not None:
            killer.join()
        _kill(_processes(word))
        if hurry:  # one may have been forked just then, and be known by its command only now
            time.sleep(_SETTLE_S)
            _kill(_processes(word))


async def killing(pids: Callable[[], Iterable[int | None]], end: Awaitable[Any]) -> None:
    """Await an engine's own end of its processes, and meanwhile kill those that it knows: it may
    wait until they have started, or are done.

    Args:
        pids: children of this process, ``None`` for one that is not there.
        end: what ends when they have; its errors are dropped.
    """
    import asyncio

    task = asyncio.ensure_future(end)
    while not task.done():
        for pid in pids():
            if pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        await asyncio.wait([task], timeout=_MOMENT_S)
    with suppress(Exception):
        await task


def _processes(word: str) -> list[Any]:
    """Children with the word in their commands, and orphans: an engine's agents outlive it for a
    while, and write files into a folder that has just been removed.
    """
    import psutil

    own = psutil.Process()
    adopting = {1, own.pid, *(parent.pid for parent in own.parents())}
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.ppid() in adopting and any(word in part for part in process.cmdline()):
                found += [process, *process.children(recursive=True)]
    return found


def _kill_once(left: Callable[[], bool], processes: list[Any]) -> None:
    until = time.monotonic() + _LEAVE_S
    while not left() and time.monotonic() < until:
        time.sleep(0.01)
    time.sleep(_SETTLE_S)
    _kill(processes)


def _kill(processes: list[Any]) -> None:
    """Kill, and see to the end: an engine that has forgotten a child would leave a zombie."""
    if not processes:
        return
    import psutil

    for process in processes:
        with suppress(Exception):  # it has ended
            process.kill()
    psutil.wait_procs(processes, timeout=_SETTLE_S)
