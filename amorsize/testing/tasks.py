"""Functions that the contract maps. They run inside workers, so this module imports nothing of
the kit, and they can be imported there by name.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from amorsize.worker import host_name

ITEM_S = 0.0002
"""Seconds of an ordinary item: short enough for hundreds, long enough that a sample of some
milliseconds leaves most of them to the workers."""


def spin(seconds: float) -> None:
    """Compute for some seconds, without waiting."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def append_line(path: str, text: object) -> None:
    """Append a line in one system call, which the system does not interleave with others."""
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(handle, f"{text}\n".encode())
    finally:
        os.close(handle)


def lines_of(path: str) -> list[str]:
    """The lines appended so far."""
    file = Path(path)
    return file.read_text().splitlines() if file.exists() else []


def square(item: int) -> int:
    """An ordinary function of an ordinary item."""
    spin(ITEM_S)
    return item * item


def slow_start(item: int) -> int:
    """The first items take longest, so that the first chunk is finished last."""
    spin(0.01 if item < 5 else ITEM_S)
    return -item


def itself(item: Any) -> Any:
    """Return the item."""
    return item


def reversed_bytes(item: bytes) -> bytes:
    """Payloads of the same size both ways, different from each other."""
    return item[::-1]


class Box:
    """Something with a method to map."""

    def __init__(self, content: int) -> None:
        self.content = content

    def add(self, item: int) -> int:
        """Add to the content."""
        spin(ITEM_S)
        return self.content + item


@dataclass(frozen=True)
class Recorded:
    """Returns the item, and appends it to a file: counts calls across processes."""

    path: str
    item_s: float = ITEM_S

    def __call__(self, item: int) -> int:
        """Append and return the item."""
        append_line(self.path, item)
        spin(self.item_s)
        return item

    @property
    def calls(self) -> list[int]:
        """The items of all calls so far, sorted."""
        return sorted(int(line) for line in lines_of(self.path))


@dataclass(frozen=True)
class RecordedWaiting(Recorded):
    """The same for items that wait: threads that compute may keep the caller from the interpreter
    lock until all is done.
    """

    def __call__(self, item: int) -> int:
        """Append, wait and return the item."""
        append_line(self.path, item)
        time.sleep(self.item_s)
        return item


class OddError(Exception):
    """Pickles by ``args``, which its constructor does not take back."""

    def __init__(self, left: int, right: int) -> None:
        super().__init__(f"odd: {left} and {right}")
        self.left, self.right = left, right


class StubbornError(Exception):
    """Cannot be pickled at all."""

    def __reduce__(self) -> NoReturn:
        raise TypeError("a stubborn error does not travel")


@dataclass(frozen=True)
class Failing:
    """Raises at some items: ``kind`` is the exception's class, or a name of one of the above."""

    first: int
    kind: type[BaseException]

    def __call__(self, item: int) -> int:
        """Raise, or return the item."""
        spin(ITEM_S)
        if item < self.first:
            return item
        if self.kind is OddError:
            raise OddError(item, 2)
        raise self.kind(f"bad {item}")


GRACE_S = 5.0
"""Seconds in which a signal has ended its process."""


@dataclass(frozen=True)
class Deadly:
    """Ends its worker at one item, never the caller ``home``; with a ``marker`` file only once."""

    index: int
    home: int
    by_signal: int = 0
    """The signal that ends it; 0 for the worker's own exit."""
    marker: str = ""

    def __call__(self, item: int) -> int:
        """Die, or return the item."""
        spin(2 * ITEM_S)
        if item == self.index and os.getpid() != self.home and self._is_due():
            if self.by_signal:
                os.kill(os.getpid(), self.by_signal)
                time.sleep(GRACE_S)  # the signal may be for another thread
            os._exit(3)
        return item

    def _is_due(self) -> bool:
        if not self.marker:
            return True
        try:
            os.close(os.open(self.marker, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        return True


@dataclass(frozen=True)
class Meeting:
    """Returns where it ran and whether it met others: it waits until ``number`` items run at
    once, or for ``patience_s``.
    """

    path: str
    number: int
    patience_s: float

    def __call__(self, item: int) -> tuple[bool, tuple[str, int, int]]:
        """Come to the meeting."""
        append_line(self.path, item)
        until = time.monotonic() + self.patience_s
        while len(lines_of(self.path)) < self.number and time.monotonic() < until:
            time.sleep(0.005)
        met = len(lines_of(self.path)) == self.number
        return met, (host_name(), os.getpid(), id(sys.modules))


class Weighed:
    """A function that notes in a file each time it is rebuilt, with the process that did it."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __call__(self, item: int) -> int:
        """Add one."""
        return item + 1

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.path,)


def _rebuild(path: str) -> Weighed:
    append_line(path, os.getpid())
    return Weighed(path)


class Stuck:
    """An item or result that cannot be pickled: it holds a lock, as a connection would."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.lock = threading.Lock()


def stuck_at(index: int) -> Any:
    """A function whose result for one item cannot be pickled."""

    def call(item: int) -> Any:
        spin(ITEM_S)
        return Stuck(item) if item == index else item

    return call


def interrupt(home: int) -> Any:
    """A function of which one item presses Ctrl-C in the caller, once a worker runs it."""

    def call(item: int) -> int:
        spin(ITEM_S)
        in_worker = os.getpid() != home or threading.current_thread() is not _main_thread()
        if item == INTERRUPTING and in_worker:
            os.kill(home, signal.SIGINT)
        return item

    return call


INTERRUPTING = 150
"""The item of :func:`interrupt` that interrupts."""


def _main_thread() -> threading.Thread:
    return threading.main_thread()


def plus_one(item: Any) -> Any:
    """Change an array in place and return another."""
    item += 1
    return item + 0


def ignoring(item: Any) -> int:
    """Return a number whatever the item is."""
    spin(ITEM_S)
    return item if isinstance(item, int) else -1
