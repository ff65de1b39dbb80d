"""What a worker is surrounded by: items may change it, and another run must not meet that."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any


class Surroundings:
    """Those of this process when this is made: directory, environment, module path, handlers of
    the signals that end it, limits of the interpreter and of the system, standard files. Further
    variables of the environment do not count: modules set some when they are imported.
    """

    def __init__(self) -> None:
        self._environment, self._rest = dict(os.environ), _rest()

    def changed(self) -> bool:
        """Whether they are others now."""
        now = os.environ.get
        other = any(now(name) != value for name, value in self._environment.items())
        return other or _rest() != self._rest


def _rest() -> tuple[Any, ...]:
    mask = os.umask(0o077)
    os.umask(mask)
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    limits = sys.getrecursionlimit(), sys.getswitchinterval(), mask
    files = [_identity(fd) for fd in range(3)]
    own = _directory(), [*sys.path], handlers, limits, files, sys.stdout, sys.stderr
    return *own, _of_the_system()


def _of_the_system() -> tuple[Any, ...]:
    """What it allows this process, signals that wait, and an alarm that is still to ring."""
    try:
        import resource

        names = [name for name in dir(resource) if name.startswith("RLIMIT_")]
        limits = [resource.getrlimit(getattr(resource, name)) for name in names]
        rank = os.getpriority(os.PRIO_PROCESS, 0), signal.getitimer(signal.ITIMER_REAL)[0] > 0
        return limits, *rank, signal.pthread_sigmask(signal.SIG_BLOCK, ()), _processors()
    except (ImportError, AttributeError, OSError, ValueError):  # not of this system
        return ()


def _processors() -> set[int]:
    """CPUs that this process may use, where the system tells."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()


def _directory() -> str:
    try:
        return os.getcwd()
    except OSError:  # it has been removed
        return ""


def _identity(fd: int) -> tuple[int, ...]:
    """Of an open file; empty if it is closed."""
    try:
        found = os.fstat(fd)
    except OSError:
        return ()
    return found.st_dev, found.st_ino
