"""What it takes to start and stop an engine, as a fixed part and one for each worker."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from amorsize.asking import Ask
from amorsize.backend import Backend
from amorsize.calibration import quality
from amorsize.calibration.bounded import Budget
from amorsize.calibration.probe import opened
from amorsize.calibration.repeats import Repeats, repeated, summary
from amorsize.costs import Figure
from amorsize.probes import limits

_SLOW_S, _INSTANT_S = 0.3, 0.003
"""Engines that take longer to start are started once with each number of workers, those that
take less than the second many times."""
_NOTHING = 0.2
"""There is no fixed part if it would be less than this share of a start."""
_LEAST = 0.05
"""A worker adds at least this share of a start: less drowns in its noise."""
_CROWD = 4
"""Workers that are started at once where that is done in no time: threads. Of two, waking an idle
processor for the second one would be half of what each takes."""
_MANY = 20
"""Starts that are many."""
_APART = 0.25
"""A first start is a figure of its own if it takes at least this share of a start beyond one."""


class Start(NamedTuple):
    """One start that was measured."""

    wall_s: float
    """Seconds until all workers had answered."""
    trip_s: float
    """Seconds of a round trip to all of them then."""
    caller_s: float
    """CPU seconds of this process meanwhile."""
    worker_s: float
    """CPU seconds of a worker meanwhile."""


class Split(NamedTuple):
    """A start-up in parts, in seconds."""

    fixed_s: float
    """What one takes whatever the number of workers."""
    each_s: float
    """What each worker adds."""
    cpu_s: float
    """CPU seconds of a worker: those beyond the cores wait for it."""


class Starting(NamedTuple):
    """What it takes to start and stop an engine."""

    fixed_s: Figure
    each_s: Figure
    stop_s: Figure
    first_s: Figure | None
    cpu_s: Figure | None


def starting(backend: Backend, workers: int, budget: Budget, *, first: bool) -> Starting:
    """Fixed and marginal start-up and shut-down, from sessions of one worker and of ``workers``
    that take turns; and what the ``first`` start of this process takes beyond later ones.
    """
    threads = backend.traits.shares_memory and backend.capacity(limits()).elastic
    if threads:
        workers = max(workers, _CROWD)
    alone: list[Start] = []
    full: list[Start] = []
    stops: list[float] = []

    def start(count: int) -> Start:
        ask = Ask(caller=os.getpid())
        with opened(backend, count, budget, (ask,), cold=True) as probe:
            trip_s = min(probe.trip(count=count) for _ in range(3))
            worker_s = probe.worker_cpu_s()
        stops.append(probe.shutdown_s)
        backend.release()
        return Start(probe.startup_s, trip_s, probe.startup_cpu_s, worker_s)

    def pair() -> float:
        alone.append(start(1))
        full.append(start(workers))
        return full[-1].wall_s

    very_first_s = start(1).wall_s if first else 0.0
    took_s = pair()
    if took_s < _SLOW_S:
        # Threads start in no time, but for a moment in which the machine is busy with others.
        least, most = (_MANY, 40) if threads or took_s < _INSTANT_S else (4, 9)
        repeated(pair, budget, least=least, most=most, share=0.5)
    one, all_up = _until_up(alone), _until_up(full)
    found = split(alone, full, workers, limits().cores)
    check = quality.not_cheaper(
        f"{workers} workers", all_up.value, "one", one.value, quality.START_NOISE_S
    )

    def part(seconds: float) -> Figure:
        return quality.with_check(quality.figure(all_up._replace(value=seconds)), check)

    cpu = summary([s.worker_s for s in alone + full])
    extra_s = very_first_s - one.value
    apart = first and extra_s >= _APART * one.value
    return Starting(
        part(found.fixed_s),
        part(found.each_s),
        quality.figure(summary(stops)),
        Figure(extra_s, "measured", note="once a process") if apart else None,
        quality.figure(cpu._replace(value=found.cpu_s)) if found.cpu_s else None,
    )


def split(alone: Sequence[Start], full: Sequence[Start], workers: int, cores: float) -> Split:
    """Parts of a start-up, from starts of one worker and of ``workers``. Pure.

    What a further worker adds is what the caller does for it, by its CPU time: workers start side
    by side, and the clock shows little but the noise of two starts. What it shows beyond all that
    is computed for a worker is waiting, and counts. What a worker computes itself counts once
    there are more than cores. All parts together are what the starts of ``workers`` took.
    """
    all_up_s, one_s = _until_up(full).value, _until_up(alone).value
    cpu_s = statistics.median(s.worker_s for s in [*alone, *full])
    rest_s = max(0.0, all_up_s - cpu_s * max(0.0, workers / cores - 1))
    further = max(1, workers - 1)
    # Disturbances add to CPU time, nothing takes away from it: the least is what it takes.
    busy_s = (min(s.caller_s for s in full) - min(s.caller_s for s in alone)) / further
    waited_s = (all_up_s - one_s) / further - busy_s - cpu_s
    each_s = max(0.0, busy_s) + max(0.0, waited_s)
    each_s = min(max(each_s, _LEAST * rest_s), rest_s / workers)
    fixed_s = rest_s - workers * each_s
    # Workers that start in turn, and nothing else; or nothing that could be told apart.
    if fixed_s < _NOTHING * rest_s or rest_s < _INSTANT_S:
        fixed_s, each_s = 0.0, rest_s / workers
    return Split(fixed_s, each_s, cpu_s)


def _until_up(starts: Sequence[Start]) -> Repeats:
    """Seconds until all workers were up, without the round trip that told. Of many starts the
    median of the faster half: a moment in which all of them take three times as long is short.
    """
    walls = sorted(s.wall_s for s in starts)
    usual = summary(walls[: (len(walls) + 1) // 2] if len(walls) >= _MANY else walls).value
    trip_s = statistics.median(s.trip_s for s in starts)
    return summary(walls)._replace(value=max(0.0, usual - trip_s))
