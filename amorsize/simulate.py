"""A discrete-event simulation of list scheduling with a serial driver: the model's referee.

The driver submits chunks in order and handles results first come, first served; each worker
takes the next chunk when it is free. Item times are drawn from those that the sample saw. It is
slower than the closed form and knows less (no waiting for cores, no GIL), but it plays the
schedule out, and so answers what a thousand workers would do.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Iterable
from dataclasses import dataclass

from amorsize.costs import BackendCosts
from amorsize.model import Configuration, hindered, sending_s, slowed
from amorsize.profile import Profile

_FEW = 30
"""Up to this many items of a chunk are drawn one by one, of more their sum at once."""


@dataclass(frozen=True, slots=True)
class Simulation:
    """What the simulated run did."""

    makespan: float
    """Seconds from the start to the last result in the caller."""
    busy_s: float
    """Seconds that all workers together spent on items."""
    driver_s: float
    """Seconds that the caller was busy."""
    workers_used: int
    """Workers that got at least one chunk."""

    @property
    def utilisation(self) -> float:
        """Share of the workers' time spent on items, 0 to 1."""
        return self.busy_s / max(self.makespan * self.workers_used, 1e-12)


def simulate(
    profile: Profile, configuration: Configuration, items: int, *, seed: int = 0
) -> Simulation:
    """Play a configuration out.

    Args:
        profile: the measured workload; item times are drawn from its ``durations``.
        configuration: backend costs, workers and schedule.
        items: number of items to run.
        seed: of the random draws; the same seed gives the same run.
    """
    draw = random.Random(seed)
    sizes = configuration.schedule.sizes(items)
    return play(profile, configuration, ((size, _chunk_s(profile, size, draw)) for size in sizes))


def play(
    profile: Profile, configuration: Configuration, chunks: Iterable[tuple[int, float]]
) -> Simulation:
    """Play out known chunks.

    Args:
        profile: what sending items and results takes.
        configuration: backend costs and workers; its schedule is not asked.
        chunks: items of each chunk and the seconds that they take, in order of dispatch.
    """
    costs, workers = configuration.costs, configuration.workers
    traits = configuration.traits
    attach_s = costs.attach_s.value if costs.attach_s else 0.0

    def up_s(number: int) -> float:
        return attach_s + costs.starting_s(number, configuration.cores)

    travels = not traits.shares_memory
    sends = profile.travels_to(traits)
    extra_s = costs.item_s.value if costs.item_s else 0.0
    slower = slowed(profile, costs) + hindered(profile, configuration, workers) - 1
    half_dispatch, half_trip = costs.dispatch_s.value / 2, costs.latency_s.value / 2

    free = [up_s(number + 1) for number in range(workers)]
    heapq.heapify(free)
    driver = up_s(1 if traits.shares_memory else workers)  # threads start as chunks are submitted
    arrivals: list[tuple[float, int]] = []
    busy, driver_busy, used = 0.0, 0.0, 0
    least_s = 0.0 if traits.shares_chunks else costs.slot_s.value
    for size, seconds in chunks:
        cost = half_dispatch + (sending_s(profile, configuration, size) if sends else 0.0)
        driver, driver_busy = driver + cost, driver_busy + cost
        work = seconds * slower + size * extra_s
        busy, end = busy + work, 0.0
        parts = size if traits.shares_chunks else 1
        for _ in range(parts):
            ready = heapq.heappop(free)
            used = min(workers, used + 1)
            done = max(ready, driver + half_trip) + max(work / parts, least_s)
            end = max(end, done)
            heapq.heappush(free, done)
        heapq.heappush(arrivals, (end + half_trip, size))
    for arrived, size in sorted(arrivals):
        cost = half_dispatch + (_out_s(profile, costs, size) if travels else 0.0)
        driver, driver_busy = max(driver, arrived) + cost, driver_busy + cost
    return Simulation(driver + costs.shutdown_s.value, busy, driver_busy, used)


def _out_s(profile: Profile, costs: BackendCosts, size: int) -> float:
    results = profile.outputs
    return size * results.load_s + costs.out_of(size * results.nbytes, size * results.buffer_bytes)


def _chunk_s(profile: Profile, size: int, draw: random.Random) -> float:
    seen = profile.durations or (profile.item_s,)
    if size <= _FEW:
        return math.fsum(draw.choices(seen, k=size))
    return max(0.0, draw.gauss(size * profile.item_s, profile.item_sd_s * math.sqrt(size)))
