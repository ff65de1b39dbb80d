"""What runs around the user's function where retries or a time limit are asked for.

Without them the function itself runs: a guarded call is a call more for each item.

An item's time limit has two stages. Where the item runs in a process's main thread, an alarm
raises :class:`ItemTimeout` in it, which costs nothing else. Code that does not return to the
interpreter, or that catches the exception, is ended with its process a little later by a thread
that needs no interpreter lock; only in a worker, never in the caller.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from amorsize.errors import ItemTimeout
from amorsize.policy import Policy

GRACE_S = 1.0
"""Seconds after an item's alarm until its process is ended."""
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
        policy, attempt = self.policy, 1
        while True:
            try:
                return self._attempt(item)
            except policy.retry_on as error:
                if attempt > policy.retries:
                    if attempt > 1:
                        error.add_note(f"amorsize: failed in {attempt} attempts")
                    raise
            time.sleep(policy.pause_s(attempt))
            attempt += 1
            _tries.again = getattr(_tries, "again", 0) + 1

    def _attempt(self, item: Any) -> Any:
        seconds = self.policy.timeout
        if seconds is None:
            return self.function(item)
        alarmed = threading.current_thread() is threading.main_thread() and hasattr(
            signal, "setitimer"
        )
        if _is_home(self.home):
            return _alarmed(self.function, item, seconds) if alarmed else self.function(item)
        grace = GRACE_S if alarmed else _UNALARMED_GRACE_S
        _reaper.watch(seconds, grace)
        try:
            return _alarmed(self.function, item, seconds) if alarmed else self.function(item)
        finally:
            _reaper.unwatch()


def guarded(function: Callable[[Any], Any], policy: Policy) -> Callable[[Any], Any]:
    """The function as a policy wants it called: itself if there is nothing to guard."""
    if not policy.guards:
        return function
    from amorsize.worker import worker_name

    return Guarded(function, policy, worker_name())


def rest(function: object) -> int:
    """A chunk's items are through: nothing is watched in this thread any more. Returns the
    further attempts that its items took.
    """
    if not isinstance(function, Guarded):
        return 0
    _reaper.rest()
    again: int = getattr(_tries, "again", 0)
    _tries.again = 0
    return again


def _is_home(home: str) -> bool:
    from amorsize.worker import worker_name

    return worker_name() == home


def _alarmed(function: Callable[[Any], Any], item: Any, seconds: float) -> Any:
    """Call with an alarm set. An alarm of the caller's own is put off while it lasts."""
    armed = True

    def ring(*_: Any) -> None:
        if armed:
            raise ItemTimeout(seconds)

    previous = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            return function(item)
        finally:
            armed = False  # from here on a late ring is not heard
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL if previous is None else previous)


class Reaper:
    """Ends this process when an item of any thread is beyond its limit. Built on the timer of
    ``faulthandler``, which runs without the interpreter. Setting it starts a thread: it is set
    anew only once it would be too early for the running items.
    """

    def __init__(self) -> None:
        self._limits: dict[int, float] = {}
        self._set_to: float | None = None
        self._lock = threading.Lock()

    def watch(self, seconds: float, grace_s: float) -> None:
        """An item begins in this thread."""
        with self._lock:
            self._limits[threading.get_ident()] = time.monotonic() + seconds
            first = min(self._limits.values())
            if self._set_to is None or not first <= self._set_to <= first + grace_s:
                self._set_to = first + grace_s
                self._set()

    def unwatch(self) -> None:
        """It has ended. The timer stays: the next item follows at once."""
        with self._lock:
            self._limits.pop(threading.get_ident(), None)

    def rest(self) -> None:
        """No next item follows in this thread."""
        with self._lock:
            if not self._limits and self._set_to is not None:
                import faulthandler

                self._set_to = None
                faulthandler.cancel_dump_traceback_later()

    def _set(self) -> None:
        import faulthandler

        assert self._set_to is not None
        left = max(0.001, self._set_to - time.monotonic())
        faulthandler.dump_traceback_later(left, exit=True, file=_nowhere())


_reaper = Reaper()
_null: Any = None


def _nowhere() -> Any:
    """Where the dying process's traceback goes."""
    global _null
    if _null is None:
        import os

        _null = open(os.devnull, "w")  # noqa: SIM115 - as long as the process
    return _null
