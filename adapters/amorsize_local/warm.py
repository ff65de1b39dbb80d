"""Keeps started workers for the next run. Only those that do not inherit the caller's memory: a
forked worker would know the data of an earlier run, and starts in a millisecond anyway.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from amorsize.backend import innermost

if TYPE_CHECKING:
    from amorsize.backend import OpenRequest
    from amorsize_local.session import ProcessSession

_lock = threading.Lock()
_parked: dict[str, tuple[Place, ProcessSession]] = {}
"""One session of idle workers per start method, with what its workers took over."""


class Place(NamedTuple):
    """What fresh workers take over from the caller. Idle ones serve only while it is the same."""

    surroundings: Hashable
    """Directory, environment, module path, cores."""
    sources: dict[str, int]
    """Files of the modules whose functions were run, with the time of their last change: they
    may be edited and loaded again in the caller."""

    def joined(self, other: Place) -> Place | None:
        """Both together, ``None`` if they contradict each other."""
        if self.surroundings != other.surroundings:
            return None
        if any(self.sources.get(path, time) != time for path, time in other.sources.items()):
            return None
        return Place(self.surroundings, self.sources | other.sources)


def place_of(request: OpenRequest) -> Place:
    """What workers started now would take over."""
    environment, cores = frozenset(os.environ.items()), round(request.cores_per_worker, 3)
    sources = _source_of(request.function)
    return Place((os.getcwd(), environment, tuple(sys.path), cores), sources)


def _source_of(function: Callable[[Any], Any]) -> dict[str, int]:
    module = sys.modules.get(getattr(innermost(function), "__module__", None) or "")
    path = getattr(module, "__file__", None)
    with suppress(OSError, TypeError):
        return {path: os.stat(path).st_mtime_ns} if path else {}
    return {}


def waiting(method: str) -> int:
    """Number of idle workers, whatever they started in."""
    with _lock:
        kept = _parked.get(method)
    return 0 if kept is None else kept[1].workers


def take(method: str, place: Place) -> tuple[Place, ProcessSession] | None:
    """The idle workers that can serve in this place; others are ended."""
    with _lock:
        parked = _parked.pop(method, None)
    if parked is None:
        return None
    joined = parked[0].joined(place)
    if joined is None:
        parked[1].end(cancel=False)
        return None
    return joined, parked[1]


def keep(method: str, place: Place, session: ProcessSession) -> None:
    """Keep a session whose workers wait, instead of one kept before."""
    with _lock:
        before, _parked[method] = _parked.get(method), (place, session)
    if before is not None:
        before[1].end(cancel=False)


def release(method: str | None = None) -> None:
    """End all idle workers, or those of one start method."""
    with _lock:
        methods = list(_parked) if method is None else [method]
        kept = [_parked.pop(name)[1] for name in methods if name in _parked]
    for session in kept:
        session.end(cancel=False)


def _forget() -> None:
    """In a forked child: the workers are its parent's."""
    global _lock
    _lock = threading.Lock()
    for _, session in _parked.values():
        session.abandon()
    _parked.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
