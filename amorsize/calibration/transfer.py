"""What bytes cost on their way, by size and kind: within the tasks of chunks, and where an engine
has a store of its own, through that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from amorsize.asking import NOTHING, Ask, Block
from amorsize.backend import Traits
from amorsize.calibration import quality
from amorsize.calibration.bounded import Budget
from amorsize.calibration.probe import Probe
from amorsize.calibration.repeats import QUICK_S, Repeats, repeated, summary
from amorsize.costs import LARGE_BYTES, MEDIUM_BYTES, SMALL_BYTES, Figure, declared

NEGLIGIBLE_BYTE_S = 1e-9
"""Noise of a rate below this does not matter: a gigabyte a second."""
_NEGLIGIBLE_TRIP = 0.2
"""Nor does noise of less than this share of a round trip."""
_MESSAGES = 5


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


def transfers(probe: Probe, traits: Traits, budget: Budget, *, full: bool) -> Transfers:
    """Seconds per byte beyond an empty chunk's; with ``full`` those of large messages, too."""
    if traits.shares_memory:
        shared = Transfer(medium=declared(0.0, "shared memory"))
        return Transfers(shared, None, shared)
    courier = _Courier(probe, budget)
    out = courier.plainly(Messages(*ASKS), full=full)
    if traits.inherits_memory:
        inherited = Transfer(medium=declared(0.0, "inherited by the workers"))
        return Transfers(inherited, None, out)
    large = LARGE_BYTES if full else 0
    buffers = (Block(bytearray(MEDIUM_BYTES)), Block(bytearray(large)))
    sent = Messages(bytes(SMALL_BYTES), bytes(MEDIUM_BYTES), bytes(large), *buffers)
    if not traits.stores_inputs:
        return Transfers(courier.plainly(sent, full=full), None, out)
    return Transfers(*courier.both_ways(sent, full=full), out)


class _Courier:
    """Sends messages there and back."""

    def __init__(self, probe: Probe, budget: Budget) -> None:
        self._probe, self._budget = probe, budget
        self._quick = probe.latency_s < QUICK_S
        self._least = 3 if self._quick else 2
        self._trip(NOTHING)  # disturbed by what went before
        self._empties = [self._trip(NOTHING) for _ in range(3 if self._quick else 1)]

    def plainly(self, messages: Messages, *, full: bool) -> Transfer:
        """Within tasks. In a long round trip a thousand bytes get lost."""
        (medium,) = self._rates(messages.medium, MEDIUM_BYTES, self._least)
        small = large = buffer = large_buffer = None
        if full or self._has_time:
            (buffer,) = self._rates(messages.buffer, MEDIUM_BYTES, self._least)
        if self._quick:
            small = _small(self._rates(messages.small, SMALL_BYTES, 5)[0], medium)
        if full:
            (large,) = self._rates(messages.large, LARGE_BYTES, 1)
            (large_buffer,) = self._rates(messages.large_buffer, LARGE_BYTES, 1)
        return Transfer(small, medium, large, buffer, large_buffer)

    def both_ways(self, messages: Messages, *, full: bool) -> tuple[Transfer, Transfer]:
        """Within tasks, and through the store, in turns. What the store takes for any message,
        however small, tells from which size on it is the better way: if it is one for a megabyte.
        """
        both = (False, True)
        task, store = self._rates(messages.medium, MEDIUM_BYTES, self._least, both)
        buffers: list[Figure] = []
        if full or self._has_time:
            buffers = self._rates(messages.buffer, MEDIUM_BYTES, self._least, both)
        small = None
        if full or store.value < task.value:
            (small,) = self._rates(messages.small, SMALL_BYTES, 3, both[1:])
        if not full:
            buffer, stored_buffer = buffers or (None, None)
            return Transfer(None, task, None, buffer), Transfer(small, store, None, stored_buffer)
        larges = self._rates(messages.large, LARGE_BYTES, 1, both)
        large_buffers = self._rates(messages.large_buffer, LARGE_BYTES, 1, both)
        return (
            Transfer(None, task, larges[0], buffers[0], large_buffers[0]),
            Transfer(small, store, larges[1], buffers[1], large_buffers[1]),
        )

    @property
    def _has_time(self) -> bool:
        """Whether there is time for bytes out of band, which are not much different."""
        return self._quick or self._budget.allows(0.0, share=0.5)

    def _rates(
        self, message: object, nbytes: int, least: int, ways: Sequence[bool] = (False,)
    ) -> list[Figure]:
        """Seconds per byte on each of the ways: whether through the store."""
        times: list[list[float]] = [[] for _ in ways]

        def turn() -> float:
            for stored, walls in zip(ways, times, strict=True):
                walls.append(self._trip(message, stored=stored))
            return sum(walls[-1] for walls in times)

        self._empties.append(self._trip(NOTHING))
        if least > 2:
            self._trip(message)  # the first large message touches fresh memory
        repeated(turn, self._budget, least=least, most=2 if nbytes == LARGE_BYTES else _MESSAGES)
        negligible = max(NEGLIGIBLE_BYTE_S, _NEGLIGIBLE_TRIP * self._probe.latency_s / nbytes)
        empty_s = self._typical(self._empties).value
        return [quality.rate(self._typical(w), empty_s, nbytes, negligible) for w in times]

    def _typical(self, times: Sequence[float]) -> Repeats:
        """The median; of the few trips that there is time for where they take long, the least:
        disturbances only add to them.
        """
        found = summary(times)
        return found if self._quick else found._replace(value=min(times))

    def _trip(self, message: object, *, stored: bool = False) -> float:
        if self._quick:
            return self._probe.trip(message, stored=stored)
        return self._probe.trip_alone(message, stored=stored)


def _small(small: Figure, medium: Figure) -> Figure:
    """A thousand bytes drown in the noise of a round trip: what they seem to cost less than in
    large messages is noise.
    """
    if small.value >= medium.value:
        return small
    return medium._replace(note="as at 1 MB: lost in the noise of a round trip")
