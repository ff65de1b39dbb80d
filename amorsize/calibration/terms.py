"""Each term of the cost model from the times of a few probes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from amorsize.asking import Ask, Weighted, answer
from amorsize.backend import Backend
from amorsize.calibration import quality
from amorsize.calibration.bounded import Budget
from amorsize.calibration.probe import Probe, opened
from amorsize.calibration.repeats import QUICK_S, Repeats, repeated, summary
from amorsize.calibration.transfer import NEGLIGIBLE_BYTE_S
from amorsize.costs import Figure

_TRIPS = 25
"""Most round trips of one empty chunk."""
_FEW = 8
"""Chunks of a short burst; what a longer one takes beyond it leaves out what a burst costs once."""
_LONG_S, _LONG = 0.04, (32, 240)
"""Seconds that the longer burst should take, and least and most chunks of it."""
_ITEMS = 500
"""Items a chunk in the burst that tells what an item costs."""
_NAP_S = 0.005
_SHORT_S, _OFTEN = 0.005, 12
"""Seconds of opening a session that are little, and how often it is opened then."""
_FUNCTION_BYTES = 4_000_000
"""Of a large function: less would be lost in the noise of opening a session."""
NEGLIGIBLE_ITEM_S = 2e-6
"""Noise of a rate below this does not matter: half a million items a second."""

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
    probe.latency_s = summary([probe.trip() for _ in range(3)]).value
    each_s = probe.burst(_FEW).wall_s / _FEW
    small, large = _FEW, max(_LONG[0], min(_LONG[1], int(_LONG_S / each_s)))
    fews: list[float] = []
    walls: list[float] = []
    busy: list[float] = []

    def slope() -> float:
        few, many = probe.burst(small), probe.burst(large)
        fews.append(few.wall_s)
        walls.append(_slope(few.wall_s, many.wall_s, small, large))
        busy.append(_slope(few.cpu_s, many.cpu_s, small, large))
        return walls[-1]

    repeated(slope, budget, least=2 if each_s < QUICK_S else 1, most=9, share=0.5)
    # Last, because the first trips of a session are the slowest, and differ most.
    least = 15 if probe.latency_s < QUICK_S else 5
    trips = summary(repeated(probe.trip, budget, least=least, most=_TRIPS, share=0.6))
    probe.latency_s = trips.value
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
        _item(probe, summary(fews).value, wall.value, budget),
        _slots(probe, trips.value),
        Figure(max(1.0, trips.value / max(slot_s, 1e-9)), "measured"),
    )


def _slope(few: float, many: float, small: int, large: int) -> float:
    """Seconds per chunk from two bursts; where a disturbance of the small one hides their
    difference, from the large one alone, which then errs upwards.
    """
    slope = (many - few) / (large - small)
    return slope if slope > 0.25 * many / large else many / large


def _item(probe: Probe, few_s: float, chunk_s: float, budget: Budget) -> Figure:
    """Seconds of one worker per item: chunks of many items against as many of one."""
    least, most = (3, 5) if probe.latency_s < QUICK_S else (1, 2)
    times = repeated(lambda: probe.burst(_FEW, _ITEMS).wall_s, budget, least=least, most=most)
    lanes = min(_FEW, probe.interpreters)
    item = quality.rate(summary(times), few_s, _FEW * (_ITEMS - 1) / lanes, NEGLIGIBLE_ITEM_S)
    check = quality.not_cheaper("a chunk", chunk_s, "an item within", item.value)
    return quality.with_check(item, check)


def _slots(probe: Probe, latency_s: float) -> Figure:
    """Chunks that run at once: as many that wait as there are workers, against one."""
    tries = 2 if latency_s < QUICK_S else 1
    one = min(probe.trip(NAP) for _ in range(tries))
    all_s = min(probe.trip(NAP, probe.workers) for _ in range(tries))
    rounds = 1 + max(0.0, all_s - one - latency_s) / _NAP_S
    return Figure(round(probe.workers / rounds, 1), "measured")


def attaching(
    backend: Backend,
    workers: int,
    budget: Budget,
    trip_s: float,
    function: Callable[[Any], Any] = answer,
    least: int = 4,
) -> Repeats:
    """Seconds to open and close a session on an engine that is up, ``least`` times at least; where
    it takes next to nothing, and noise is most of it, often, after a first time that warms it up.
    """

    def once() -> float:
        with opened(backend, workers, budget, function=function) as probe:
            pass
        return max(0.0, probe.startup_s - trip_s) + probe.shutdown_s

    if (first_s := once()) < _SHORT_S:
        return summary(repeated(once, budget, least=_OFTEN, most=_OFTEN))
    return summary([first_s, *repeated(once, budget, least=least - 1, most=4)])


def shipping(
    backend: Backend, workers: int, budget: Budget, trip_s: float, attach: Repeats
) -> Figure:
    """Seconds per byte of the function and worker: sessions whose function is large against
    sessions whose is not.
    """
    heavy = attaching(backend, workers, budget, trip_s, Weighted(_FUNCTION_BYTES), least=2)
    return quality.rate(heavy, attach.value, _FUNCTION_BYTES * workers, NEGLIGIBLE_BYTE_S)
