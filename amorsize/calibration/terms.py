"""Each term of the cost model from the times of a few probes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from amorsize.asking import Ask, Block, Weighted, answer
from amorsize.backend import Backend, Traits
from amorsize.calibration import quality
from amorsize.calibration.bounded import Budget
from amorsize.calibration.probe import Probe, opened
from amorsize.calibration.repeats import Repeats, repeated, summary
from amorsize.costs import LARGE_BYTES, MEDIUM_BYTES, SMALL_BYTES, Figure, declared

_TRIPS = 25
"""Most round trips of one empty chunk."""
_FEW = 8
"""Chunks of a short burst; what a longer one takes beyond it leaves out what a burst costs once."""
_LONG_S, _LONG = 0.04, (32, 240)
"""Seconds that the longer burst should take, and least and most chunks of it."""
_QUICK_S = 0.001
"""Round trip up to which repeats are cheap and a thousand bytes may tell; beyond, those drown in
its noise."""
_MANY = (8, 500)
"""Chunks and their items in the burst that tells what an item costs."""
_NAP_S = 0.005
NEGLIGIBLE_BYTE_S, NEGLIGIBLE_ITEM_S = 1e-9, 2e-6
"""Noise of a rate below these does not matter: a gigabyte a second, half a million items."""
_MESSAGES = 5

MEDIUM = Ask(MEDIUM_BYTES)
MEDIUM_BUFFER = Ask(MEDIUM_BYTES, out_of_band=True)
SMALL = Ask(SMALL_BYTES)
LARGE = Ask(LARGE_BYTES)
LARGE_BUFFER = Ask(LARGE_BYTES, out_of_band=True)
NAP = Ask(nap_s=_NAP_S)


class Throughput(NamedTuple):
    """What chunks cost the caller and the workers."""

    dispatch_s: Figure
    latency_s: Figure
    slot_s: Figure
    item_s: Figure
    slots: Figure
    in_flight: Figure


def throughput(probe: Probe, budget: Budget) -> Throughput:
    """Seconds the caller is busy per chunk, round trip, least period of a worker, and what
    follows from them.

    The caller's CPU time tells what it is busy. The wall time per chunk, ``workers`` times, is
    the period of a worker: if the caller takes as long, workers could be faster, but wait.
    """
    least = 9 if min(probe.trip(), probe.trip()) < _QUICK_S else 5
    trips = summary(repeated(probe.trip, budget, least=least, most=_TRIPS, share=0.6))
    probe.latency_s = trips.value
    each_s = probe.burst(_FEW).wall_s / _FEW
    small, large = _FEW, max(_LONG[0], min(_LONG[1], int(_LONG_S / each_s)))
    walls: list[float] = []
    busy: list[float] = []

    def slope() -> float:
        few, many = probe.burst(small), probe.burst(large)
        walls.append(_slope(few.wall_s, many.wall_s, small, large))
        busy.append(_slope(few.cpu_s, many.cpu_s, small, large))
        return walls[-1]

    repeated(slope, budget, least=2 if each_s < _QUICK_S else 1, most=9, share=0.6)
    wall, cpu = summary(walls), summary(busy)
    driver = min(cpu, wall, key=lambda found: found.value)
    # Where the caller is busy all the time this is an upper bound, and its own time decides.
    slot_s = probe.workers * wall.value
    slot = quality.figure(wall._replace(value=slot_s))
    latency = quality.figure(trips)
    return Throughput(
        quality.figure(driver),
        latency,
        slot,
        _item(probe, wall.value, budget),
        _slots(probe, trips.value),
        Figure(max(1.0, trips.value / max(slot_s, 1e-9)), "measured"),
    )


def _slope(few: float, many: float, small: int, large: int) -> float:
    """Seconds per chunk from two bursts; where a disturbance of the small one hides their
    difference, from the large one alone, which then errs upwards.
    """
    slope = (many - few) / (large - small)
    return slope if slope > 0.25 * many / large else many / large


def _item(probe: Probe, chunk_s: float, budget: Budget) -> Figure:
    """Seconds of one worker per item: chunks of many items against chunks of one."""
    chunks, size = _MANY
    least = 3 if probe.latency_s < _QUICK_S else 1

    def took(items: int) -> Repeats:
        times = repeated(lambda: probe.burst(chunks, items).wall_s, budget, least=least, most=5)
        return summary(times)

    few, many = took(1), took(size)
    lanes = 1 if probe.shares_gil else min(chunks, probe.workers)
    item = quality.rate(many, few.value, chunks * (size - 1) / lanes, NEGLIGIBLE_ITEM_S)
    check = quality.not_cheaper("a chunk", chunk_s, "an item within", item.value)
    return quality.with_check(item, check)


def _slots(probe: Probe, latency_s: float) -> Figure:
    """Chunks that run at once: as many that wait as there are workers, against one."""
    tries = 2 if latency_s < _QUICK_S else 1
    one = min(probe.trip(NAP) for _ in range(tries))
    all_s = min(probe.trip(NAP, probe.workers) for _ in range(tries))
    rounds = 1 + max(0.0, all_s - one - latency_s) / _NAP_S
    return Figure(round(probe.workers / rounds, 1), "measured")


class Transfer(NamedTuple):
    """Seconds per byte one way, by size of message."""

    small: Figure | None = None
    medium: Figure = declared()
    large: Figure | None = None
    buffer: Figure | None = None
    large_buffer: Figure | None = None


def results(probe: Probe, traits: Traits, budget: Budget, *, full: bool) -> Transfer:
    """Seconds per byte on the way back, beyond an empty chunk's."""
    if traits.shares_memory:
        return Transfer(medium=declared(0.0, "shared memory"))
    return _transfer(probe, budget, (SMALL, MEDIUM, LARGE, MEDIUM_BUFFER, LARGE_BUFFER), full=full)


def inputs(probe: Probe, traits: Traits, budget: Budget, *, full: bool) -> Transfer:
    """Seconds per byte on the way to a worker, beyond an empty chunk's."""
    if traits.shares_memory:
        return Transfer(medium=declared(0.0, "shared memory"))
    if traits.inherits_memory:
        return Transfer(medium=declared(0.0, "inherited by the workers"))
    small, medium = bytes(SMALL_BYTES), bytes(MEDIUM_BYTES)
    large = bytes(LARGE_BYTES) if full else b""
    buffers = (Block(bytearray(MEDIUM_BYTES)), Block(bytearray(LARGE_BYTES) if full else b""))
    return _transfer(probe, budget, (small, medium, large, *buffers), full=full)


def _transfer(
    probe: Probe, budget: Budget, messages: tuple[object, ...], *, full: bool
) -> Transfer:
    small, medium, large, buffer, large_buffer = messages
    empty_s = summary([probe.trip() for _ in range(3)]).value

    def one(message: object, nbytes: int, least: int) -> Figure:
        if least > 2:
            probe.trip(message)  # the first large message touches fresh memory
        most = max(least, _MESSAGES if nbytes < LARGE_BYTES else 2)
        times = repeated(lambda: probe.trip(message), budget, least=least, most=most)
        return quality.rate(summary(times), empty_s, nbytes, NEGLIGIBLE_BYTE_S)

    least = 3 if empty_s < _QUICK_S else 2
    medium_figure = one(medium, MEDIUM_BYTES, least)
    return Transfer(
        _checked_small(one(small, SMALL_BYTES, 5), medium_figure) if empty_s < _QUICK_S else None,
        medium_figure,
        one(large, LARGE_BYTES, 1) if full else None,
        one(buffer, MEDIUM_BYTES, least),
        one(large_buffer, LARGE_BYTES, 1) if full else None,
    )


def _checked_small(small: Figure, medium: Figure) -> Figure:
    """A thousand bytes drown in the noise of a round trip: what they seem to cost less than in
    large messages is noise.
    """
    if small.value >= medium.value:
        return small
    return medium._replace(note="as at 1 MB: lost in the noise of a round trip")


def attaching(
    backend: Backend,
    workers: int,
    budget: Budget,
    trip_s: float,
    function: Callable[[Any], Any] = answer,
) -> Repeats:
    """Seconds to open and close a session on an engine that is up."""

    def once() -> float:
        with opened(backend, workers, budget, function=function) as probe:
            pass
        return max(0.0, probe.startup_s - trip_s) + probe.shutdown_s

    return summary(repeated(once, budget, least=3 if trip_s < _QUICK_S else 2, most=5))


def shipping(
    backend: Backend, workers: int, budget: Budget, trip_s: float, attach: Repeats
) -> Figure:
    """Seconds per byte of the function and worker: sessions whose function is large against
    sessions whose is not.
    """
    heavy = attaching(backend, workers, budget, trip_s, Weighted(MEDIUM_BYTES))
    return quality.rate(heavy, attach.value, MEDIUM_BYTES * workers, NEGLIGIBLE_BYTE_S)
