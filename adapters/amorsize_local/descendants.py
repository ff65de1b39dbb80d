"""Processes below a worker: those that a user's function started would outlive it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress

_STILL_S = 0.1
"""Seconds that a process gets to stop. It is not asked, so it takes microseconds."""


def kill_descendants(pid: int | None) -> None:
    """End the processes below one, where the system tells them, and leave it stopped: else it would
    wait for those that end, whose numbers others get, and start more behind our back.
    """
    if pid is None or not os.path.isdir(f"/proc/{pid}/task"):
        return
    tell(pid, signal.SIGSTOP)
    _wait_until_still(pid)
    for child in _children(pid):
        kill_descendants(child)
        tell(child, signal.SIGKILL)


def tell(pid: int, number: int) -> None:
    """Send a signal, to a process that may be gone or no longer be ours."""
    with suppress(OSError):
        os.kill(pid, number)


def _wait_until_still(pid: int) -> None:
    until = time.monotonic() + _STILL_S
    while any(map(_runs, _threads(pid))) and time.monotonic() < until:
        os.sched_yield()


def _runs(thread: str) -> bool:
    """Whether a thread may go on in the program: one in an uninterruptible sleep cannot, such as
    one that waits until the child it is starting has become another program.
    """
    with suppress(OSError), open(f"{thread}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()[0] in (b"R", b"S")
    return False


def _threads(pid: int) -> Iterator[str]:
    """Where the system tells of each thread."""
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            yield f"/proc/{pid}/task/{thread}"


def _children(pid: int) -> Iterator[int]:
    """Processes that each of its threads has started; a thread may have ended."""
    for thread in _threads(pid):
        with suppress(OSError), open(f"{thread}/children") as file:
            yield from map(int, file.read().split())
