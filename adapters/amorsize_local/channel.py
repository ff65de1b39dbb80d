"""Frames of bytes over a pair of one-way pipes.

Like ``multiprocessing.connection``, but several buffers make one message without being joined,
and large ones are received straight into their final memory.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

_HEADER = struct.Struct("<I")
_LENGTH = struct.Struct("<Q")
_PIPE_BYTES = 1 << 20
"""Wanted capacity of a pipe (Linux): fewer switches between the two ends of a large message."""
_FEW_BYTES = 1 << 16


def enlarge(connection: Connection) -> None:
    """Give a pipe more room, where the system allows it."""
    try:
        import fcntl

        fcntl.fcntl(connection.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    except (ImportError, AttributeError, OSError):  # not Linux, or the user's limit is reached
        pass


def send(connection: Connection, frames: Sequence[Any]) -> None:
    """Send some bytes-like objects as one message."""
    views = [memoryview(frame).cast("B") for frame in frames]
    lengths = b"".join(_LENGTH.pack(view.nbytes) for view in views)
    head = _HEADER.pack(len(views)) + lengths
    fd = connection.fileno()
    if sum(view.nbytes for view in views) < _FEW_BYTES:  # one system call is worth a small copy
        _write(fd, memoryview(b"".join([head, *views])))
        return
    _write(fd, memoryview(head))
    for view in views:
        _write(fd, view)


def receive(connection: Connection) -> list[bytearray]:
    """Receive one message; the frames are writable and belong to the caller.

    Raises:
        EOFError: if the other end is closed.
    """
    fd = connection.fileno()
    (count,) = _HEADER.unpack(_read(fd, _HEADER.size))
    lengths = _read(fd, _LENGTH.size * count)
    return [_read(fd, length) for (length,) in _LENGTH.iter_unpack(lengths)]


def _write(fd: int, view: memoryview) -> None:
    while view.nbytes:
        view = view[os.write(fd, view) :]


def _read(fd: int, length: int) -> bytearray:
    data = bytearray(length)
    view = memoryview(data)
    while view.nbytes:
        got = os.readv(fd, [view])
        if got == 0:
            raise EOFError("the other end of the pipe is closed")
        view = view[got:]
    return data
