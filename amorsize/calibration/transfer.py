"""What bytes cost on their way, by size and kind: within the tasks of chunks, and where an engine
has a store of its own, through that.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from amorsize.asking import NOTHING, Ask, Block
from amorsize.backend import Traits
from amorsize.calibration import quality
from amorsize.calibration.bounded import Budget
from amorsize.calibration.probe import Probe
from amorsize.calibration.repeats import QUICK_S, Repeats, repeated, summary
from amorsize.costs import (
    LARGE_BYTES,
    LARGE_FIGURES,
    MEDIUM_BYTES,
    SMALL_BYTES,
    Figure,
    declared,
)

NEGLIGIBLE_BYTE_S = 1e-9
"""Noise of a rate below this does not matter: a gigabyte a second."""
_NEGLIGIBLE_TRIP = 0.2
"""Nor does noise of less than this share of a round trip."""
_MESSAGES = 5
_AT_ONCE, _LARGE_AT_ONCE = 3, 2
"""Messages on their way together where a round trip is long, and large ones: a run has as many
there, whose copies at the caller, the engine and the workers overlap."""
_FEWER_BYTES = 16_000_000
"""Size of large messages to an engine that takes long for them, while a plan waits: as large as
chunks become there."""


class Messages(NamedTuple):
    """One of each size and kind: what is sent, or what is asked for."""

    small: object
    medium: object
    large: object
    buffer: object
    large_buffer: object


ASKS = (
    Ask(SMALL_BYTES),
    Ask(MEDIUM_BYTES),
    Ask(LARGE_BYTES),
    Ask(MEDIUM_BYTES, out_of_band=True),
    Ask(LARGE_BYTES, out_of_band=True),
)
"""For results, as in :class:`Messages`. Workers that see the caller's data know them beforehand."""


class Transfer(NamedTuple):
    """Seconds per byte one way, by size of message."""

    small: Figure | None = None
    medium: Figure = declared()
    large: Figure | None = None
    buffer: Figure | None = None
    large_buffer: Figure | None = None


class Transfers(NamedTuple):
    """All ways that bytes go."""

    into: Transfer
    """To a worker, within a chunk's task."""
    stored: Transfer | None
    """To a worker, through the engine's own store; ``None`` where it has none."""
    out: Transfer
    """Back."""


def transfers(
    probe: Probe, traits: Traits, budget: Budget, *, full: bool, large: Collection[str]
) -> Transfers:
    """Seconds per byte beyond an empty chunk's, and some ``large`` figures; with ``full`` all."""
    if traits.shares_memory:
        shared = Transfer(medium=declared(0.0, "shared memory"))
        return Transfers(shared, None, shared)
    courier = _Courier(probe, budget, full=full)
    wanted = LARGE_FIGURES if full else {*large, *courier.usual}
    nbytes = courier.large_bytes
    asks = [ask._replace(result_bytes=min(ask.result_bytes, nbytes)) for ask in ASKS]
    out = courier.plainly(Messages(*asks), _Large.of("out", wanted))
    if traits.inherits_memory:
        inherited = Transfer(medium=declared(0.0, "inherited by the workers"))
        return Transfers(inherited, None, out)
    into = _Large.of("in", wanted)
    buffers = Block(_filled(MEDIUM_BYTES)), Block(_filled(nbytes * into.out_of_band))
    plain = _filled(SMALL_BYTES), _filled(MEDIUM_BYTES), _filled(nbytes * into.in_band)
    sent = Messages(*plain, *buffers)
    if not traits.stores_inputs:
        return Transfers(courier.plainly(sent, into), None, out)
    return Transfers(*courier.both_ways(sent, into), out)


def _filled(nbytes: int) -> bytes:
    """Zeros that nobody has written may have no memory of their own, and cost next to nothing."""
    return b"\1" * nbytes


class _Large(NamedTuple):
    """Which large messages are wanted one way."""

    in_band: bool
    out_of_band: bool

    @classmethod
    def of(cls, way: str, figures: Collection[str]) -> _Large:
        """By the names of figures."""
        return cls(f"byte_{way}_50m_s" in figures, f"buffer_{way}_50m_s" in figures)


class _Courier:
    """Sends messages there and back; ``full`` lets it take more time for that than a plan has."""

    def __init__(self, probe: Probe, budget: Budget, *, full: bool) -> None:
        self._probe, self._budget, self._full = probe, budget, full
        self._quick = probe.latency_s < QUICK_S
        whole = self._quick or not probe.carries_items
        self.large_bytes = LARGE_BYTES if full or whole else _FEWER_BYTES
        """Size of large messages."""
        self.usual = () if self._quick else ("buffer_in_50m_s", "buffer_out_50m_s")
        """Figures of large messages that are measured in any case: where a chunk costs
        milliseconds whatever it holds, chunks of large items become that large."""
        self._least = 3 if self._quick else 2
        self._trip(NOTHING, 1)  # disturbed by what went before
        self._empties = [self._empty() for _ in range(3 if self._quick else 2)]

    def plainly(self, messages: Messages, wanted: _Large) -> Transfer:
        """Within tasks. In a long round trip a thousand bytes get lost."""
        (medium,) = self._rates(messages.medium, MEDIUM_BYTES, self._least)
        small = buffer = None
        if self._full or self._has_time:
            (buffer,) = self._rates(messages.buffer, MEDIUM_BYTES, self._least)
        if self._quick:
            small = _small(self._rates(messages.small, SMALL_BYTES, 5)[0], medium)
        (large,) = self._large(messages.large, wanted=wanted.in_band)
        (large_buffer,) = self._large(messages.large_buffer, wanted=wanted.out_of_band)
        return Transfer(small, medium, large, buffer, large_buffer)

    def both_ways(self, messages: Messages, wanted: _Large) -> tuple[Transfer, Transfer]:
        """Within tasks, and through the store, in turns. What the store takes for any message,
        however small, tells from which size on it is the better way: if it is one for a megabyte.
        """
        both = (False, True)
        task, store = self._rates(messages.medium, MEDIUM_BYTES, self._least, both)
        buffers: Sequence[Figure | None] = (None, None)
        if self._full or self._has_time:
            buffers = self._rates(messages.buffer, MEDIUM_BYTES, self._least, both)
        small = None
        if self._full or (store.value < task.value and not any(wanted)):
            (small,) = self._rates(messages.small, SMALL_BYTES, self._least, both[1:])
        larges = self._large(messages.large, both, wanted=wanted.in_band)
        large_buffers = self._large(messages.large_buffer, both, wanted=wanted.out_of_band)
        return (
            Transfer(None, task, larges[0], buffers[0], large_buffers[0]),
            Transfer(small, store, larges[1], buffers[1], large_buffers[1]),
        )

    def _large(
        self, message: object, ways: Sequence[bool] = (False,), *, wanted: bool
    ) -> list[Figure | None]:
        """Seconds per byte of a large message on each of the ways, if they are wanted."""
        if not wanted:
            return [None for _ in ways]
        nbytes = self.large_bytes
        found = self._rates(message, nbytes, 1, ways)
        note = "" if nbytes == LARGE_BYTES else f"in messages of {nbytes // 1_000_000} MB"
        return [figure._replace(note=note) for figure in found]

    @property
    def _has_time(self) -> bool:
        """Whether there is time for bytes out of band in messages of all sizes."""
        return self._quick

    def _rates(
        self, message: object, nbytes: int, least: int, ways: Sequence[bool] = (False,)
    ) -> list[Figure]:
        """Seconds per byte on each of the ways: whether through the store."""
        times: list[list[float]] = [[] for _ in ways]
        count = self._together(nbytes)

        def turn() -> float:
            for stored, walls in zip(ways, times, strict=True):
                walls.append(self._trip(message, count, stored=stored))
            return sum(walls[-1] for walls in times)

        if self._quick and nbytes <= MEDIUM_BYTES:  # larger ones drown it
            self._empties.append(self._empty())
        if least > 2:
            self._trip(message, count)  # the first large message touches fresh memory
        most = _MESSAGES
        if nbytes > MEDIUM_BYTES:
            most = 2
        repeated(turn, self._budget, least=least, most=most)
        negligible = max(NEGLIGIBLE_BYTE_S, _NEGLIGIBLE_TRIP * self._probe.latency_s / nbytes)
        empty_s = self._typical(self._empties).value
        return [quality.rate(self._typical(w), empty_s, count * nbytes, negligible) for w in times]

    def _empty(self) -> float:
        """Seconds of as many chunks of nothing as there are messages."""
        return self._trip(NOTHING, self._together(0))

    def _typical(self, times: Sequence[float]) -> Repeats:
        """The median; of the few trips that there is time for where they take long, the least:
        disturbances only add to them.
        """
        found = summary(times)
        return found if self._quick else found._replace(value=min(times))

    def _together(self, nbytes: int) -> int:
        """Messages of a size that are on their way at once."""
        if self._quick or nbytes == LARGE_BYTES:
            return 1
        return _AT_ONCE if nbytes <= MEDIUM_BYTES else _LARGE_AT_ONCE

    def _trip(self, message: object, count: int, *, stored: bool = False) -> float:
        if self._quick or count == _LARGE_AT_ONCE:  # which no wait is long against
            return self._probe.trip(message, count, stored=stored)
        return self._probe.trip_alone(message, count, stored=stored)


def _small(small: Figure, medium: Figure) -> Figure:
    """A thousand bytes drown in the noise of a round trip: what they seem to cost less than in
    large messages is noise.
    """
    if small.value >= medium.value:
        return small
    return medium._replace(note="as at 1 MB: lost in the noise of a round trip")
