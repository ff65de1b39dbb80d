"""Processes that an item has forked, and that come back from the user's function."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import NoReturn

_forks = 0


def forks() -> int:
    """Forks between the start of the program and this process: a child has one more. Asked for each
    item, which the system would take far longer for than for all else that is done around one.
    """
    return _forks


def _count() -> None:
    global _forks
    _forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_count)


def end_if_forked(before: int, error: BaseException | None = None) -> None:
    """End this process if an item has forked it since there were so many :func:`forks`: it has left
    the function, by ``error`` or with a result. The rest of the chunk, and the pipe to the caller,
    are the worker's: a second outcome would be taken for that of another chunk.
    """
    if _forks != before:
        _end(error)


def _end(error: BaseException | None) -> NoReturn:
    code = 1
    with suppress(BaseException):
        if isinstance(error, SystemExit):
            code = _code_of(error)
        else:
            text = "amorsize: the function returned in a process that it had forked"
            error = RuntimeError(text) if error is None else error
            sys.excepthook(type(error), error, error.__traceback__)
    for stream in (sys.stdout, sys.stderr):
        with suppress(BaseException):
            stream.flush()
    os._exit(code)


def _code_of(end: SystemExit) -> int:
    """As the interpreter takes it."""
    if end.code is None or isinstance(end.code, int):
        return (end.code or 0) & 0xFF
    sys.stderr.write(f"{end.code}\n")
    return 1
