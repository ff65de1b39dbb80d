"""A change to this process that several of its threads may need at once. Public through
:mod:`amorsize.backend`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack


class Meanwhile:
    """A change to this process while any of its threads needs it: the first one makes it, the last
    one takes it back. Saved and restored by each thread, it could stay for good. A forked child is
    without it.

    Args:
        change: makes it; returns what takes it back.
    """

    def __init__(self, change: Callable[[], Callable[[], None]]) -> None:
        self._change = change
        self._take_back: Callable[[], None] | None = None
        # Signals and finalizers may need it, too, in the thread that has the lock.
        self._users, self._lock = 0, threading.RLock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forked)

    def __enter__(self) -> None:
        with self._lock:
            if self._take_back is None:
                self._take_back = self._change()
            self._users += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users = max(0, self._users - 1)  # a child may be forked within, and go on
            if not self._users:
                self._end()

    def _end(self) -> None:
        take_back, self._take_back = self._take_back, None
        if take_back is not None:
            take_back()

    def _forked(self) -> None:
        """In a child: the threads that needed it, and may have held the lock, are not here."""
        self._users, self._lock = 0, threading.RLock()
        self._end()


def jointly(*blocks: tuple[Callable[..., AbstractContextManager[object]], object]) -> Meanwhile:
    """A change that context managers make and take back, each given as its function and what that
    is called with: left by several threads in another order than entered, they would not.
    """

    def change() -> Callable[[], None]:
        with ExitStack() as stack:
            for enter, what in blocks:
                stack.enter_context(enter(what))
            return stack.pop_all().close

    return Meanwhile(change)
