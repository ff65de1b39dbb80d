"""The runs whose sessions are open. What is still among them when the interpreter exits is closed
then: streams that nobody has closed; what an engine needs for its end is gone when these are
finalized.
"""

from __future__ import annotations

import atexit
from typing import Protocol

from amorsize.interrupts import before_termination


class _Run(Protocol):
    def close(self, *, cancel: bool) -> None: ...


_open: set[_Run] = set()


def add(run: _Run) -> None:
    """A session is open. Its engine is loaded now, and what that does at exit comes after this."""
    if not _open:
        atexit.unregister(_end_all)
        atexit.register(_end_all)
        before_termination(_end_all)
    _open.add(run)


def remove(run: _Run) -> None:
    """It is closed, if it was open."""
    _open.discard(run)


def _end_all() -> None:
    for run in list(_open):
        run.close(cancel=True)
