"""Memory that a worker and its caller share: large messages are copied in and out of it, which
takes a fraction of what a pipe does. It has no name, so none can be left behind, however the two
end; its pages exist only once they have been written.
"""

from __future__ import annotations

import mmap
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from amorsize.backend import copied

SLOT_BYTES = 64 << 20
"""Largest message; larger ones take the pipe."""
TO_WORKER, _FROM_WORKER = 0, (1, 2)
"""Slots: of what goes to the worker, and of what comes from it."""
_BYTES = 3 * SLOT_BYTES
_ALIGNMENT = 64


class Arena:
    """Slots of shared memory, one message in each.

    Args:
        memory: the mapping.
        fd: its file, where the other process does not inherit the mapping; -1 otherwise.
    """

    def __init__(self, memory: mmap.mmap, fd: int = -1) -> None:
        self._memory, self._fd = memory, fd

    def put(self, slot: int, frames: Sequence[memoryview]) -> bool:
        """Copy a message into a slot, whose last one must have been taken. ``False``: too large."""
        places, end = _places([frame.nbytes for frame in frames])
        if end > SLOT_BYTES:
            return False
        base = slot * SLOT_BYTES
        for place, frame in zip(places, frames, strict=True):
            self._memory[base + place : base + place + frame.nbytes] = frame
        return True

    def take(self, slot: int, lengths: Sequence[int]) -> list[bytearray]:
        """The frames of a message, copied: the slot is free again."""
        places, _ = _places(lengths)
        base = slot * SLOT_BYTES
        with memoryview(self._memory) as whole:
            frames = []
            for place, length in zip(places, lengths, strict=True):
                with whole[base + place : base + place + length] as view:
                    frames.append(copied(view))
        return frames

    def clear(self) -> None:
        """Give the pages back to the system; messages that have not been taken are lost."""
        with suppress(OSError, ValueError, AttributeError):
            self._memory.madvise(mmap.MADV_REMOVE)

    def sent(self) -> None:
        """The other process has been started: the file is of no more use here."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def close(self) -> None:
        """Unmap it, once; its pages go with the last process that has it mapped."""
        self.sent()
        with suppress(BufferError):  # in a forked process, where another thread was copying
            self._memory.close()

    def __reduce__(self) -> tuple[Any, ...]:
        from multiprocessing.reduction import DupFd

        return _arrived, (DupFd(self._fd),)


class Outbox:
    """Which slot a worker may use for an outcome. At most one outcome is unread when it works:
    the caller gives a worker a chunk only if it has no more than one, and takes outcomes in order.
    """

    def __init__(self) -> None:
        self._last = _FROM_WORKER[0]

    def slot(self, ahead: bool) -> int:
        """Of the next outcome; ``ahead`` tells that the last one may still be unread."""
        first, second = _FROM_WORKER
        self._last = second if ahead and self._last == first else first
        return self._last


def arena(*, inherited: bool) -> Arena | None:
    """A new one, for a forked process if ``inherited``; ``None`` where the system has none."""
    if sys.platform != "linux" or _is_limited():
        return None
    try:
        fd = os.memfd_create("amorsize")
    except OSError as error:
        _tell(error)
        return None
    try:
        os.ftruncate(fd, _BYTES)
        made = Arena(_mapped(fd), fd)
    except (OSError, ValueError) as error:  # no address space left, or a limit on files
        os.close(fd)
        _tell(error)
        return None
    if inherited:
        made.sent()
    return made


def _tell(error: Exception) -> None:
    import logging

    log = logging.getLogger("amorsize")
    log.debug("no memory can be shared with workers, large results take a pipe: %s", error)


def _arrived(duplicate: Any) -> Arena | None:
    fd = duplicate.detach()
    try:
        return Arena(_mapped(fd))
    finally:
        os.close(fd)


def _mapped(fd: int) -> mmap.mmap:
    options: Any = {"trackfd": False} if sys.version_info >= (3, 13) else {}
    return mmap.mmap(fd, _BYTES, **options)


def _is_limited() -> bool:
    """Whether address space is short by order: it is the user's then."""
    import resource

    return resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY


def _places(lengths: Sequence[int]) -> tuple[list[int], int]:
    """Where in a slot frames of such lengths start, and where the last one ends."""
    places, at = [], 0
    for length in lengths:
        places.append(at)
        at += -(-length // _ALIGNMENT) * _ALIGNMENT
    return places, at
