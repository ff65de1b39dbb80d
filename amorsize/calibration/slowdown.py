"""How much slower code runs in workers than in the caller, where the engine has a part in it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

from amorsize.asking import Ask, Spun, spin
from amorsize.calibration import quality
from amorsize.calibration.probe import Probe
from amorsize.calibration.repeats import summary
from amorsize.costs import Figure
from amorsize.worker import host_name

_SPIN_S = 0.01
"""Seconds of one measurement: two of the intervals at which threads of one process take the lock
of the interpreter from each other."""
_PROBE_STEPS = 5_000
_ROUNDS = 2
_FINE_S = 1e-4
"""Resolution that a thread's clock of CPU time must have."""


def slowdown(probe: Probe, default: Figure) -> Figure:
    """Measured if the backend's author does not declare it: in one worker of each interpreter at
    once, and in the caller before and after. What workers that share an interpreter wait for is a
    term of its own.
    """
    if default.origin != "fallback" or not probe.carries_items:
        return default
    if time.get_clock_info("thread_time").resolution > _FINE_S:
        return default
    steps = int(_PROBE_STEPS * _SPIN_S / min(spin(_PROBE_STEPS).wall_s for _ in range(3)))
    before = spin(steps)
    there = [probe.answers(Ask(spins=steps), probe.interpreters) for _ in range(_ROUNDS)]
    return factor([before, spin(steps)], there, host_name())


def factor(here: Sequence[Spun], there: Sequence[Sequence[Spun]], host: str) -> Figure:
    """Factor by which the same steps take longer in workers, from some rounds of all of them. Pure.

    On the caller's ``host`` it is what a worker waits for beside computing, for its interpreter's
    lock or for a core, while threads and processes of the engine have it; computing itself is as
    fast, but for memory and caches that workers share, which is no matter of the engine. Workers
    on other hosts may compute more slowly, too.
    """
    # Of a round as a whole, and of the rounds the least: what other programs add is not the
    # engine's, nor are workers that happen to share an interpreter.
    rounds = [sum(s.wall_s for s in spun) / sum(s.cpu_s for s in spun) for spun in there]
    waits = summary(rounds)
    times = min(rounds) * sum(s.cpu_s for s in here) / sum(s.wall_s for s in here)
    all_there = [s for spun in there for s in spun]
    if any(s.host != host for s in all_there):
        cpu_s = statistics.median(s.cpu_s for s in here)
        times *= max(1.0, statistics.median(s.cpu_s for s in all_there) / cpu_s)
    return quality.figure(waits._replace(value=max(1.0, times)))
