"""Memory for large items that arrive read-only, used again once nobody holds them any more."""

from __future__ import annotations

import sys
from typing import Any

LEAST_BYTES = 256_000
"""Smaller buffers come from memory that the allocator keeps."""
MOST_BYTES = 32_000_000
"""Bytes that a process keeps at most."""
_COUNTS = sys.implementation.name == "cpython" and getattr(sys, "_is_gil_enabled", lambda: True)()
"""Whether references are counted as they are taken."""


class Rooms:
    """Makes writable copies of buffers of which many have the same size.

    Most of what a copy of megabytes costs is the system's work for each page of fresh memory; and
    a function whose arrays come and go beside it has the allocator give its pages back, too. So a
    copy of an earlier item makes room for a later one, if nothing refers to it: neither an array
    nor a view.

    Args:
        most_bytes: bytes to keep at most.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most, self._rooms = most_bytes, list[bytearray]()
        self._unused = 0
        for room in [bytearray()]:
            self._unused = sys.getrefcount(room)

    @property
    def nbytes(self) -> int:
        """Bytes that are kept."""
        return sum(map(len, self._rooms))

    def copied(self, buffer: Any) -> bytearray:
        """A copy that belongs to the caller for as long as it, or a view of it, is referred to."""
        size = memoryview(buffer).nbytes
        if size < LEAST_BYTES or not _COUNTS:
            return bytearray(buffer)
        # The count includes the variable's reference: another thread that looks at the same room
        # sees one more, and leaves it.
        for room in self._rooms:
            if len(room) == size and sys.getrefcount(room) == self._unused:
                room[:] = buffer
                return room
        made = bytearray(buffer)
        self._rooms.append(made)
        while self.nbytes > self._most:
            del self._rooms[0]
        return made
