"""A worker process as its caller sees it: its pipes, its chunks, its end."""

from __future__ import annotations

import os
import select
import sys
import time
import weakref
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from amorsize.backend import Chunk, FunctionPayload
from amorsize_local import channel
from amorsize_local.arena import TO_WORKER
from amorsize_local.link import Link, ours
from amorsize_local.server import FUNCTIONS_KEPT, Assignment

if TYPE_CHECKING:  # the first workers would wait for its definition
    from typing import Protocol

    class Process(Protocol):
        """A child process: multiprocessing's, or a forked one of our own."""

        @property
        def pid(self) -> int | None:
            """Its number."""

        @property
        def exitcode(self) -> int | None:
            """How it ended."""

        @property
        def sentinel(self) -> int:
            """Readable once it has ended."""

        def start(self) -> None:
            """Start it."""

        def join(self) -> None:
            """Wait for its end."""

        def terminate(self) -> None:
            """Ask it to end."""

        def kill(self) -> None:
            """End it at once."""

        def close(self) -> None:
            """Forget it."""


PATIENCE_S = 1.0
"""Seconds that all workers together get to end by themselves."""
_MORE_S = 0.1
"""Seconds to wait for the rest of a message; others may have sent something meanwhile."""
TAKES_S = 30.0
"""Seconds in which a worker that has nothing to do takes something of what it is sent."""

Ticket = tuple[Chunk, "Future[Any]"]

_processes: weakref.WeakSet[Process] = weakref.WeakSet()
"""The workers' processes of all sessions."""


def _forget() -> None:
    """In a forked child: the workers are its parent's. They must see the end of the parent, and not
    end with this process, whose multiprocessing would see to that.
    """
    for end in list(ours):
        end.close()
    known = sys.modules.get("multiprocessing.process")
    children: set[Process] = getattr(known, "_children", set())
    children.difference_update(list(_processes))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


class Worker:
    """A process with its two pipes and shared memory, and the chunks that it has."""

    def __init__(self, process: Process, link: Link) -> None:
        self.process, self.link = process, link
        self.orders, self.outcomes, self.arena = link.orders, link.outcomes, link.arena
        self.tickets: deque[Ticket] = deque()
        self.gone = False
        """Whether it has been buried."""
        self.leaves = False
        """Whether it ends once it has done what it has."""
        self.functions: deque[str] = deque(maxlen=FUNCTIONS_KEPT)
        """Functions that it has, packed."""
        _processes.add(process)
        self.end = _handle_of(process.pid)
        """Readable once the process has ended: children of its own may keep its pipes open."""
        for end in (self.orders, self.outcomes):
            os.set_blocking(end.fileno(), False)
        ends = process.sentinel if self.end is None else self.end
        self._more, self._room = select.poll(), select.poll()
        self._more.register(self.outcomes.fileno(), select.POLLIN)
        self._more.register(ends, select.POLLIN)
        self._room.register(self.orders.fileno(), select.POLLOUT)
        self._room.register(ends, select.POLLIN)
        self._arriving: Generator[None, None, list[bytearray]] | None = None
        """The message of which a part has come."""

    def told(self, assignment: Assignment) -> Assignment:
        """What to send of an assignment: not the function, if it came with an earlier one."""
        function = assignment.function
        if not isinstance(function, FunctionPayload):
            return assignment
        if function.digest in self.functions:
            return assignment.with_function(FunctionPayload(function.digest, b""))
        self.functions.append(function.digest)
        return assignment

    def send(self, frames: Sequence[Any]) -> None:
        """Send it a message. A large one may go to a worker that has nothing to do only.

        Raises:
            OSError: if it is dead, or was stopped: then it is ended.
        """
        channel.send(self.orders, frames, self.arena, TO_WORKER, self._write)

    def _write(self, fd: int, view: memoryview) -> None:
        while view.nbytes:
            with suppress(BlockingIOError):
                view = view[os.write(fd, view) :]
                continue
            self._until_room(fd)

    def _until_room(self, fd: int) -> None:
        """Wait until it has taken some. A child of the worker's own may hold the pipe open: it is
        the worker's end that tells that nothing is taken any more.
        """
        ready = dict(self._room.poll(TAKES_S * 1000))
        if fd not in ready:
            if not ready:
                self.process.kill()
            raise BrokenPipeError("the worker takes nothing")

    def receive(self) -> list[bytearray] | None:
        """Receive a message from it, ``None`` if the rest does not come: it may be stopped. What
        has come is kept.

        Raises:
            EOFError: if it is dead.
        """
        message = self._arriving or channel.arriving(self.outcomes, self.arena)
        while (frames := channel.now(message)) is None:
            self._arriving = message
            if not self._comes_more():
                return None
        self._arriving = None
        return frames

    def _comes_more(self) -> bool:
        """Whether more of a message is there now. A child of the worker's own may hold the pipe
        open: it is the worker's end that tells that nothing comes any more.
        """
        outcomes = self.outcomes.fileno()
        ready = dict(self._more.poll(_MORE_S * 1000))
        if not ready or outcomes in ready:
            return bool(ready)
        if outcomes not in dict(self._more.poll(0)):  # nor has it come between the two looks
            raise EOFError("the worker has ended")
        return True

    def leave(self) -> None:
        """Let it end by itself once it has done what it has."""
        self.leaves = True
        self.orders.close()

    def rest(self) -> None:
        """Hold no memory while it waits for another run."""
        if self.arena is not None:
            self.arena.clear()

    def let_go(self) -> None:
        """Close what this process has of it, and leave it alone."""
        self.link.let_go()

    def reap(self, until: float) -> None:
        """Wait for its end, and make it end if it has not until then. ``join`` with a time-out
        would do the same after a costly import, and wait for its children, too, as the sentinel
        does, which they have inherited.
        """
        end = select.poll()
        end.register(self.process.sentinel if self.end is None else self.end, select.POLLIN)
        if not end.poll(max(0.0, until - time.monotonic()) * 1000):
            self.process.kill()
        self.process.join()

    def dispose(self) -> None:
        """Close what belongs to a process that has ended."""
        self.rest()  # a child of its own may have the memory mapped
        self.let_go()
        with suppress(ValueError):  # somebody else has waited for it: its exit code is lost
            self.process.close()
        if self.end is not None:
            os.close(self.end)


def confirms(worker: Worker) -> bool:
    """Whether a worker that was told of another run is there for it."""
    answer = select.poll()
    answer.register(worker.outcomes.fileno(), select.POLLIN)
    if not answer.poll(PATIENCE_S * 1000):
        return False
    try:
        return worker.receive() == [bytearray()]
    except (EOFError, OSError):
        return False


def _handle_of(pid: int | None) -> int | None:
    """A file descriptor that becomes readable when a process ends, where the system has it."""
    try:
        return os.pidfd_open(pid or 0)
    except (AttributeError, OSError):
        return None
