"""What runs around the user's function where retries or a time limit are asked for.

Without them the function itself runs: a guarded call is a call more for each item.

An item's time limit has two stages. Where the item runs in a process's main thread, an alarm
raises :class:`ItemTimeout` in it, which costs nothing else. Code that does not return to the
interpreter, or that catches the exception, is ended with its process a little later, which needs
no interpreter lock; only in a worker, never in the caller.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

from amorsize.errors import DeadlineExceeded, ItemTimeout
from amorsize.exceptions import note
from amorsize.loop import Failures, ForgivingLoop, LoopResult
from amorsize.policy import Policy
from amorsize.reaper import reaper
from amorsize.strays import forks

GRACE_S = 1.0
"""Seconds after an item's alarm until its process is ended."""
AGAIN_S = 0.05
"""Seconds that each further item gets which the caller itself begins after a deadline."""
_UNALARMED_GRACE_S = 0.1
"""The same where no alarm can ring: only what keeps the timer from being set for each item."""

_tries = threading.local()


class Guarded:
    """The user's function with retries and a time limit for each item.

    Args:
        function: the user's function.
        policy: how often and how long.
        home: name of the caller's process, which is never ended.
    """

    __slots__ = ("function", "home", "policy")

    def __init__(self, function: Callable[[Any], Any], policy: Policy, home: str) -> None:
        self.function, self.policy, self.home = function, policy, home

    @property
    def user_function(self) -> Callable[[Any], Any]:
        """What travels by value if its module cannot be imported elsewhere."""
        return self.function

    def __reduce__(self) -> tuple[Any, ...]:
        return Guarded, (self.function, self.policy, self.home)

    def __call__(self, item: Any) -> Any:
        """The function's result, at the latest attempt that is allowed."""
        policy, attempt, before = self.policy, 1, forks()
        while True:
            try:
                return self._attempt(item)
            except policy.retry_on as error:
                if forks() != before:  # a child that the item has forked
                    raise
                if attempt > policy.retries:
                    if attempt > 1:
                        note(error, f"amorsize: failed in {attempt} attempts")
                    raise
            time.sleep(policy.pause_s(attempt))
            attempt += 1
            _tries.again = getattr(_tries, "again", 0) + 1

    def _attempt(self, item: Any) -> Any:
        seconds = self.policy.timeout
        if seconds is None:
            return self.function(item)
        if _is_home(self.home):
            return self._in_time(item, seconds)
        reaper.watch(seconds, GRACE_S if can_ring() else _UNALARMED_GRACE_S)
        try:
            return self._in_time(item, seconds)
        finally:
            reaper.unwatch()

    def _in_time(self, item: Any, seconds: float) -> Any:
        if not can_ring():
            return self.function(item)
        return alarmed(seconds, partial(ItemTimeout, seconds), self.function, item)


def guarded(function: Callable[[Any], Any], policy: Policy) -> Callable[[Any], Any]:
    """The function as a policy wants it called: itself if there is nothing to guard."""
    if not policy.guards:
        return function
    from amorsize.worker import worker_name

    return Guarded(function, policy, worker_name())


@contextmanager
def packing(function: object, items_s: float) -> Iterator[None]:
    """While a worker pickles the results of a chunk whose items took so many seconds: it may take
    as long, and one item's time limit beyond. A user's class may never end with it.
    """
    seconds = function.policy.timeout if isinstance(function, Guarded) else None
    if seconds is None or _is_home(cast("Guarded", function).home):
        yield
        return
    reaper.watch(seconds + items_s, _UNALARMED_GRACE_S)
    try:
        yield
    finally:
        reaper.unwatch()
        reaper.rest()


def rest(function: object) -> int:
    """A chunk's items are through: nothing is watched in this thread any more. Returns the
    further attempts that its items took.
    """
    if not isinstance(function, Guarded):
        return 0
    reaper.rest()
    again: int = getattr(_tries, "again", 0)
    _tries.again = 0
    return again


def _is_home(home: str) -> bool:
    from amorsize.worker import worker_name

    return worker_name() == home


def alarmed(
    seconds: float,
    error: Callable[[], Exception],
    function: Callable[..., Any],
    *args: Any,
    again_s: float = 0.0,
) -> Any:
    """``function(*args)``, in which ``error()`` is raised after so many seconds, and from then on
    each ``again_s`` if that is not 0. An alarm of the caller's own is put off while it lasts. Only
    where :func:`can_ring`.
    """
    armed = True

    def ring(*_: Any) -> None:
        if armed:
            raise error()

    began, own = time.monotonic(), (0.0, 0.0)
    previous = signal.signal(signal.SIGALRM, ring)
    try:
        own = signal.setitimer(signal.ITIMER_REAL, seconds, again_s)
        try:
            return function(*args)
        finally:
            armed = False  # from here on a late ring is not heard
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL if previous is None else previous)
        if own[0]:
            left = own[0] - (time.monotonic() - began)
            signal.setitimer(signal.ITIMER_REAL, max(left, 1e-6), own[1])


def can_ring() -> bool:
    """Whether an alarm can raise something in this thread."""
    main = threading.current_thread() is threading.main_thread()
    return main and hasattr(signal, "setitimer")


def in_time(left_s: float, deadline: float | None, function: Callable[..., Any], *args: Any) -> Any:
    """``function(*args)`` in the caller. In what it still runs after ``left_s`` seconds
    :class:`DeadlineExceeded` is raised, where that can be.
    """
    if deadline is None or not can_ring():
        return function(*args)
    return alarmed(
        max(left_s, 1e-3), partial(DeadlineExceeded, deadline), function, *args, again_s=AGAIN_S
    )


def forgiving_in_time(
    left_s: float,
    deadline: float | None,
    function: Callable[[Any], Any],
    items: Iterable[Any],
    first_index: int = 0,
) -> tuple[LoopResult, Failures]:
    """The loop that goes on after an item has raised, until an alarm rings between two items:
    its results, and the failures among them.
    """
    loop = ForgivingLoop(first_index)
    try:
        error = in_time(left_s, deadline, loop.run, function, items)
    except DeadlineExceeded as late:  # it has rung beside the loop
        error = late
    position = -1 if error is None else len(loop.values)
    return LoopResult(loop.values, position, error), loop.failures
