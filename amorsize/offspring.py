"""What children that an item forks must not keep of the worker. Public through
:mod:`amorsize.backend`.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from functools import cache


@cache
def kept_from_children(end: str) -> None:
    """Have children that this process forks close its connections to a peer whose path ends so.

    An engine may know by the end of a connection that a worker has died. A child that outlives the
    worker would hold it open, and the engine would wait for the child instead.
    """
    own = [(fd, os.fstat(fd).st_ino) for fd in _connections(end)]
    if own and hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: _close(own))


def _connections(end: str) -> Iterator[int]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(None)  # else a look at a socket would make it one that does not block
    try:
        for fd in map(int, os.listdir("/dev/fd")):
            with suppress(OSError):  # no socket, or not connected
                looked_at = socket.socket(fileno=fd)
                try:
                    if str(looked_at.getpeername()).endswith(end):
                        yield fd
                finally:
                    looked_at.detach()
    finally:
        socket.setdefaulttimeout(before)


def _close(own: list[tuple[int, int]]) -> None:
    for fd, number in own:
        with suppress(OSError):
            if os.fstat(fd).st_ino == number:
                os.close(fd)
