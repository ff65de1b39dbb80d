"""What happens in a run, as one stream of facts for whoever watches. Nobody watching costs
nothing: events are made only for observers.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from amorsize.report import RunReport

log = logging.getLogger("amorsize")

MOST_SHARE = 0.02
"""Share of a run's time that an observer may take; beyond it, it misses events of chunks."""
_FREE_S = 0.1
"""Seconds an observer may take in any case."""


@dataclass(frozen=True, slots=True)
class Event:
    """Base class of all events."""


@dataclass(frozen=True, slots=True)
class RunStarted(Event):
    """A run begins; no worker has been started."""

    backend: str
    """Name of the backend, ``"serial"`` for the plain loop."""
    workers: int
    """Workers planned."""
    items: int | None
    """Items of the data, ``None`` if it does not tell."""
    ready: int
    """Items that have a result already: from the sample, from a journal."""
    predicted_s: float | None
    """Predicted seconds of the run, ``None`` where the length is unknown."""


@dataclass(frozen=True, slots=True)
class WorkersStarted(Event):
    """An engine is up."""

    backend: str
    """Name of the backend."""
    workers: int
    """Workers alive."""
    startup_s: float
    """Seconds it took."""


@dataclass(frozen=True, slots=True)
class ChunkSubmitted(Event):
    """A chunk is on its way to a worker."""

    first_index: int
    """Position of its first item in the data."""
    items: int
    """Number of items."""


@dataclass(frozen=True, slots=True)
class ChunkFinished(Event):
    """Results of a chunk, or of a block of the plain loop, are in the caller."""

    first_index: int
    """Position of its first item in the data."""
    items: int
    """Number of results."""
    seconds: float
    """Seconds its items took."""
    worker: str
    """``host:pid`` of the process, with the thread's name where a process has several."""
    nbytes: int
    """Bytes the results took on their way; 0 if they did not travel."""


@dataclass(frozen=True, slots=True)
class ChunkLost(Event):
    """A worker vanished with a chunk; its items will run again."""

    first_index: int
    """Position of its first item in the data."""
    items: int
    """Number of items."""
    reason: str
    """What became of the worker."""


@dataclass(frozen=True, slots=True)
class ItemFailed(Event):
    """An item has failed for good."""

    index: int
    """Position of the item in the data."""
    error: BaseException
    """What it raised."""


@dataclass(frozen=True, slots=True)
class Revised(Event):
    """Items take another time than expected: what remains is cut into other chunks."""

    before_s: float
    """Seconds per item expected so far."""
    after_s: float
    """Seconds per item expected from now on."""


@dataclass(frozen=True, slots=True)
class Moved(Event):
    """The run changes the backend."""

    before: str
    """Name of the backend so far."""
    after: str
    """Name of the next."""
    reason: str
    """Why."""


@dataclass(frozen=True, slots=True)
class RunFinished(Event):
    """The run is over."""

    report: RunReport
    """Predicted against actual."""
    error: BaseException | None
    """What it raises, ``None`` if it succeeded."""
    complete: bool
    """Whether all items have been run; not if it failed, or was closed early."""


Observer = Callable[[Event], object]
"""Anything that takes an event."""

_OFTEN = (ChunkSubmitted, ChunkFinished)
"""Events that come so often that a slow observer must miss some."""


class Bus:
    """Passes events on. An observer that raises is switched off, and one that is slow misses
    events of chunks: watching neither breaks nor slows a run.
    """

    def __init__(
        self, observers: Iterable[Observer], clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._clock = clock
        self._began = clock()
        self._seats = [_Seat(observer) for observer in observers]

    def __call__(self, event: Event) -> None:
        """Tell all observers."""
        often = type(event) in _OFTEN
        for seat in tuple(self._seats):
            begin = self._clock()
            if often and seat.spent_s > _FREE_S + MOST_SHARE * (begin - self._began):
                seat.missed += 1
                continue
            try:
                seat.observer(event)
            except Exception:
                self._seats.remove(seat)
                log.exception("the observer %r raised and is switched off", seat.observer)
            seat.spent_s += self._clock() - begin

    # Methods, so that those who report need to import no events while nobody watches.

    def submitted(self, first_index: int, items: int) -> None:
        """A chunk is on its way."""
        self(ChunkSubmitted(first_index, items))

    def finished(
        self, first_index: int, items: int, seconds: float, worker: str, nbytes: int = 0
    ) -> None:
        """A chunk's results have arrived."""
        self(ChunkFinished(first_index, items, seconds, worker, nbytes))

    def lost(self, first_index: int, items: int, reason: str) -> None:
        """A chunk's worker has vanished."""
        self(ChunkLost(first_index, items, reason))

    def failed(self, index: int, error: BaseException) -> None:
        """An item has failed for good."""
        self(ItemFailed(index, error))

    def revised(self, before_s: float, after_s: float) -> None:
        """The expected time of an item has changed."""
        self(Revised(before_s, after_s))

    def moved(self, before: str, after: str, reason: str) -> None:
        """The run goes on elsewhere."""
        self(Moved(before, after, reason))

    def workers_started(self, backend: str, workers: int, startup_s: float) -> None:
        """An engine is up."""
        self(WorkersStarted(backend, workers, startup_s))

    def started(self, report: RunReport, items: int | None, ready: int) -> None:
        """A run begins."""
        self(RunStarted(report.backend, report.workers, items, ready, report.predicted))

    def ended(self, report: RunReport, error: BaseException | None, *, complete: bool) -> None:
        """A run is over; nothing more follows."""
        self(RunFinished(report, error, complete))
        for seat in self._seats:
            if seat.missed:
                log.warning("observer %r is slow: missed %d events", seat.observer, seat.missed)


class _Seat:
    """An observer and what it cost."""

    def __init__(self, observer: Observer) -> None:
        self.observer, self.spent_s, self.missed = observer, 0.0, 0


class Logging:
    """An observer that logs: what goes wrong as warnings, start and end as information, chunks
    for debugging. Each record has the event as its attribute ``event``.
    """

    def __init__(self, logger: logging.Logger | None = None) -> None:
        self._log = logger or logging.getLogger("amorsize.run")

    def __call__(self, event: Event) -> None:
        """Log an event."""
        level = _LEVELS.get(type(event), logging.INFO)
        if self._log.isEnabledFor(level):
            self._log.log(level, "%s", describe(event), extra={"event": event})


_LEVELS: dict[type[Event], int] = {
    ChunkSubmitted: logging.DEBUG,
    ChunkFinished: logging.DEBUG,
    ChunkLost: logging.WARNING,
    ItemFailed: logging.WARNING,
}


def describe(event: Event) -> str:
    """The event as a line for people."""
    match event:
        case RunStarted():
            total = "an unknown number of" if event.items is None else event.items
            hope = "" if event.predicted_s is None else f", predicted {event.predicted_s:.3f} s"
            ready = f", {event.ready} ready" if event.ready else ""
            workers = "1 worker" if event.workers == 1 else f"{event.workers} workers"
            return f"run of {total} items{ready}, on {event.backend} with {workers}{hope}"
        case RunFinished():
            if event.error is not None:
                return f"failed: {type(event.error).__name__}: {event.error}"
            return event.report.summary()
        case ItemFailed():
            return f"item {event.index} failed: {type(event.error).__name__}: {event.error}"
        case ChunkLost():
            return f"lost {event.items} items from {event.first_index}: {event.reason}"
        case Moved():
            return f"moved from {event.before} to {event.after}: {event.reason}"
    fields = (f"{name}={getattr(event, name)!r}" for name in event.__dataclass_fields__)
    return f"{type(event).__name__}: {', '.join(fields)}"
