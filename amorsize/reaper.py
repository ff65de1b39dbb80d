"""Ends this process when an item is beyond its limit, whatever the item does: it may hold the
interpreter lock and never return.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Protocol


class Timer(Protocol):
    """Ends this process after a while."""

    def set(self, seconds: float) -> None:
        """So many seconds from now; earlier settings are forgotten."""

    def cancel(self) -> None:
        """Not at all."""


class KernelTimer:
    """A timer of the kernel whose signal is SIGKILL. It needs no thread, and a process that was
    forked does not have it.

    Raises:
        AttributeError, OSError: where the system's C library has no such timers.
    """

    def __init__(self) -> None:
        import ctypes

        class Event(ctypes.Structure):
            """``struct sigevent``; the signal of the process is SIGEV_SIGNAL, 0."""

            _fields_ = (
                ("value", ctypes.c_void_p),
                ("signal", ctypes.c_int),
                ("kind", ctypes.c_int),
                ("rest", ctypes.c_byte * 64),
            )

        self._setting = ctypes.c_long * 4  # struct itimerspec: the interval, and the first time
        library = ctypes.CDLL(None, use_errno=True)
        self._settime, self._id = library.timer_settime, ctypes.c_void_p()
        event, monotonic = Event(None, signal.SIGKILL, 0), ctypes.c_int(time.CLOCK_MONOTONIC)
        if library.timer_create(monotonic, ctypes.byref(event), ctypes.byref(self._id)) != 0:
            raise OSError(ctypes.get_errno(), "timer_create failed")

    def set(self, seconds: float) -> None:
        """So many seconds from now."""
        whole = int(seconds)
        self._set(whole, max(1, int((seconds - whole) * 1e9)))

    def cancel(self) -> None:
        """Not at all."""
        self._set(0, 0)

    def _set(self, seconds: int, nanoseconds: int) -> None:
        self._settime(self._id, 0, self._setting(0, 0, seconds, nanoseconds), None)


class DumpTimer:
    """The timer of ``faulthandler``, a thread that runs without the interpreter. Setting it starts
    the thread. In a process that was forked while its parent had set it, it would wait for ever.
    """

    def __init__(self) -> None:
        self._nowhere = open(os.devnull, "w")  # noqa: SIM115 - as long as the process

    def set(self, seconds: float) -> None:
        """So many seconds from now."""
        import faulthandler

        faulthandler.dump_traceback_later(seconds, exit=True, file=self._nowhere)

    def cancel(self) -> None:
        """Not at all."""
        import faulthandler

        faulthandler.cancel_dump_traceback_later()


class Reaper:
    """Watches the items of all threads of this process. The timer is set anew only once it would
    be too early for the running items: most items cost a dictionary's change.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew, as in a forked child: its parent's items and timer are not its own."""
        self._limits: dict[int, float] = {}
        self._set_to: float | None = None
        self._lock = threading.Lock()
        self._timer: Timer | None = None

    def watch(self, seconds: float, grace_s: float) -> None:
        """An item begins in this thread."""
        with self._lock:
            self._limits[threading.get_ident()] = time.monotonic() + seconds
            first = min(self._limits.values())
            if self._set_to is None or not first <= self._set_to <= first + grace_s:
                self._set_to = first + grace_s
                self._timer = self._timer or _timer()
                self._timer.set(max(0.001, self._set_to - time.monotonic()))

    def unwatch(self) -> None:
        """It has ended. The timer stays: the next item follows at once."""
        with self._lock:
            self._limits.pop(threading.get_ident(), None)

    def rest(self) -> None:
        """No next item follows in this thread."""
        with self._lock:
            if not self._limits and self._set_to is not None and self._timer is not None:
                self._set_to = None
                self._timer.cancel()


def _timer() -> Timer:
    try:
        return KernelTimer()
    except (AttributeError, OSError):
        return DumpTimer()


reaper = Reaper()
"""That of this process."""


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=reaper.forget)
