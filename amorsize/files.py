"""Reading small files: planning reads some dozens of them, and ``open`` asks the system eight times
for each.
"""

from __future__ import annotations

import os

_PART_BYTES = 1 << 16
_FLAGS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def content(path: str, most_bytes: int = 1 << 24) -> bytes:
    """The bytes of a file; it is cut off soon after ``most_bytes``.

    Raises:
        OSError: if it cannot be read.
        ValueError: for a path with a NUL in it.
    """
    handle = os.open(path, _FLAGS)
    try:
        found = part = os.read(handle, _PART_BYTES)
        # Files of /proc come in parts of a page or so, whatever one asks for.
        while part and len(found) < most_bytes:
            part = os.read(handle, _PART_BYTES)
            found += part
    finally:
        os.close(handle)
    return found
