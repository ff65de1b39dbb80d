"""Reading small files: planning reads some dozens of them, and ``open`` asks the system eight times
for each. And what the C library does with memory for what is larger.
"""

from __future__ import annotations

import os
from contextlib import suppress

_PART_BYTES = 1 << 16
_KEPT_BYTES = 4 << 20
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


def keep_freed_memory() -> None:
    """Have the C library keep freed pieces of up to 4 MiB for the next use. By default it gives
    back what is larger than 128 KiB, and the system fills each page of the next piece with zeros:
    most of what a message of 1 MB takes. It learns better from the first large piece that is freed,
    so one is asked for here, in which nothing is ever written.
    """
    with suppress(OSError):
        handle = os.open(os.devnull, _FLAGS)
        try:
            os.read(handle, _KEPT_BYTES)
        finally:
            os.close(handle)
