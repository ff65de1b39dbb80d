"""A change to this process, or an engine in it, that several of its threads may need at once.
Public through :mod:`amorsize.backend`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

from amorsize.own_lock import OwnLock


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
        self._users, self._lock = 0, OwnLock()
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
        """In a child: the threads that needed it are not here."""
        self._users = 0
        self._end()


class Shared:
    """An engine of which a process has one at a time: the first run that needs it starts it, the
    last one ends it, in whatever order runs of several threads end. It may be one whose processes
    end with the thread that has started them: that is the main thread, or one of our own.

    Args:
        start: what starts it, and ends it again.
    """

    def __init__(self, start: Callable[..., AbstractContextManager[object]]) -> None:
        self._start, self._users = start, 0
        self._end, self._lock = ExitStack(), OwnLock()

    @contextmanager
    def __call__(self, is_up: Callable[[], bool], *how: Any) -> Iterator[None]:
        """The engine for the block. ``is_up`` tells whether there is one: what was not started
        here is left alone. ``how`` is what ``start`` takes.
        """
        with self._lock:
            ours = bool(self._users) or not is_up()
            if ours and not self._users:
                self._begin(how)
            self._users += ours
        try:
            yield
        finally:
            with self._lock:
                self._users -= ours
                if ours and not self._users:
                    self._end.close()

    def _begin(self, how: Sequence[Any]) -> None:
        if threading.current_thread() is threading.main_thread():
            self._end.enter_context(self._start(*how))
            return
        failures: list[BaseException] = []
        begun, over = threading.Event(), threading.Event()

        def keep() -> None:
            try:
                self._end.enter_context(self._start(*how))
            except BaseException as error:
                failures.append(error)
            begun.set()
            over.wait()

        keeper = threading.Thread(target=keep, name="amorsize-engine", daemon=True)
        with ExitStack() as stack:
            keeper.start()
            stack.callback(keeper.join)
            stack.callback(over.set)
            begun.wait()
            if failures:
                raise failures[0]
            stack.push(self._end.pop_all())
            self._end = stack.pop_all()


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
