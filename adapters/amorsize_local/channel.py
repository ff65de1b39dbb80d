"""Frames of bytes over a pair of one-way pipes.

Like ``multiprocessing.connection``, but several buffers make one message without being joined,
large ones are received straight into their final memory, and the import is a tenth. Where the two
ends share memory, large messages are left there, and the pipe only tells of them.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Generator, Sequence
from pickle import PickleBuffer
from typing import TYPE_CHECKING, Any, cast

from amorsize.backend import room

if TYPE_CHECKING:
    from amorsize_local.arena import Arena

_HEADER = struct.Struct("<IB")
"""Number of frames, and where they are: 0 for in the pipe, else one more than the slot."""
_LENGTH = struct.Struct("<Q")
_PIPE_BYTES = 1 << 20
"""Wanted capacity of a pipe (Linux): fewer switches between the two ends of a large message."""
_FEW_BYTES = 1 << 16


class End:
    """One end of a pipe. Travels to a process that multiprocessing starts, like a connection."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def fileno(self) -> int:
        """The file descriptor.

        Raises:
            OSError: if the end is closed.
        """
        if self._fd < 0:
            raise OSError("this end of the pipe is closed")
        return self._fd

    def close(self) -> None:
        """Close it, once."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __reduce__(self) -> tuple[Any, ...]:
        from multiprocessing.reduction import DupFd

        return _arrived, (DupFd(self.fileno()),)


def _arrived(duplicate: Any) -> End:
    return End(duplicate.detach())


def pipe() -> tuple[End, End]:
    """A new pipe: the end to read from and the end to write to. Not inherited by programs."""
    readable, writable = os.pipe()
    return End(readable), End(writable)


def enlarge(end: End) -> None:
    """Give a pipe more room, where the system allows it."""
    try:
        import fcntl

        fcntl.fcntl(end.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    except (ImportError, AttributeError, OSError):  # not Linux, or the user's limit is reached
        pass


def send(
    end: End,
    frames: Sequence[Any],
    arena: Arena | None = None,
    slot: int = 0,
    write: Callable[[int, memoryview], None] | None = None,
) -> None:
    """Send some bytes-like objects as one message; a large one through a slot of ``arena``.
    ``write`` does it where the end does not block.
    """
    write = write or _write
    views = [_raw(frame) for frame in frames]
    lengths = b"".join(_LENGTH.pack(view.nbytes) for view in views)
    fd = end.fileno()
    few = sum(view.nbytes for view in views) < _FEW_BYTES
    if arena is not None and not few and arena.put(slot, views):
        write(fd, memoryview(_HEADER.pack(len(views), slot + 1) + lengths))
        return
    head = _HEADER.pack(len(views), 0) + lengths
    if few:  # one system call is worth a small copy
        write(fd, memoryview(b"".join([head, *views])))
        return
    write(fd, memoryview(head))
    for view in views:
        write(fd, view)


def receive(end: End, arena: Arena | None = None) -> list[bytearray]:
    """Receive one message from an end that blocks. See :func:`arriving`."""
    return cast("list[bytearray]", now(arriving(end, arena)))


def arriving(end: End, arena: Arena | None) -> Generator[None, None, list[bytearray]]:
    """Receive one message; the frames are writable and belong to the caller. Yields where the rest
    is not there yet, if the end does not block.

    Raises:
        EOFError: if the other end is closed.
    """
    fd = end.fileno()
    head = yield from _read(fd, _HEADER.size)
    count, place = _HEADER.unpack(head)
    packed = yield from _read(fd, _LENGTH.size * count)
    lengths = [length for (length,) in _LENGTH.iter_unpack(packed)]
    if place:
        assert arena is not None
        return arena.take(place - 1, lengths)
    frames = []
    for length in lengths:
        frames.append((yield from _read(fd, length)))
    return frames


def now(message: Generator[None, None, list[bytearray]]) -> list[bytearray] | None:
    """What is arriving, if the rest is there."""
    try:
        next(message)
    except StopIteration as whole:
        frames: list[bytearray] = whole.value
        return frames
    return None


def _raw(frame: Any) -> memoryview:
    return frame.raw() if isinstance(frame, PickleBuffer) else memoryview(frame).cast("B")


def _write(fd: int, view: memoryview) -> None:
    while view.nbytes:
        view = view[os.write(fd, view) :]


def _read(fd: int, length: int) -> Generator[None, None, bytearray]:
    data = room(length)
    view = memoryview(data)
    while view.nbytes:
        try:
            got = os.readv(fd, [view])
        except BlockingIOError:
            yield
            continue
        if got == 0:
            raise EOFError("the other end of the pipe is closed")
        view = view[got:]
    return data
