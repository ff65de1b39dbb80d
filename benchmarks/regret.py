"""What the model's choice costs beyond the best one, where the items' times are known:
``python -m benchmarks regret``.

Nothing is run. For each distribution of times, number of items and machine the planner chooses
with the true distribution in hand; the referee, a simulation of list scheduling with a serial
driver, plays that choice out on the very items, and a grid of other choices, too. The regret is
the time of the choice over that of the best, less one. Backends have their documented costs.
"""

from __future__ import annotations

import argparse
import itertools
import math
import random
import statistics
from collections.abc import Callable, Iterator, Sequence

from amorsize.backend import Capacity
from amorsize.costs import BackendCosts
from amorsize.model import Configuration
from amorsize.planner import SERIAL, Candidate, Offer, Wish, decide
from amorsize.plugins import registry
from amorsize.profile import Packing, Profile
from amorsize.schedule import Schedule, fixed, tapered
from amorsize.simulate import play

LIMIT = 0.03
"""Largest mean regret."""
ENGINES = ("serial", "multiprocessing", "dask", "ray")
ITEMS = (20, 200, 2_000, 20_000)
MEANS_S = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
CORES = (2, 8, 64)
_QUANTILES = 64
"""Durations in the profile: as a sampler would give, but spread evenly over the truth."""
_RESULT = Packing(100, 1e-7, 1e-7, measured=True)

Draw = Callable[[random.Random, int, int], float]
"""A time for item ``i`` of ``n``, 1 on average or so."""
DISTRIBUTIONS: dict[str, Draw] = {
    "even": lambda draw, i, n: 1.0,
    "normal, 20 %": lambda draw, i, n: max(0.1, draw.gauss(1.0, 0.2)),
    "exponential": lambda draw, i, n: draw.expovariate(1.0),
    "lognormal, heavy": lambda draw, i, n: draw.lognormvariate(-0.72, 1.2),
    "one in twenty is twenty times as long": lambda draw, i, n: 20.0 if i % 20 == 7 else 1.0,
    "rising": lambda draw, i, n: 0.1 + 1.8 * i / n,
    "falling": lambda draw, i, n: 1.9 - 1.8 * i / n,
    "a giant in the middle": lambda draw, i, n: n / 8 if i == n // 2 else 1.0,
}


def profile_of(times: Sequence[float]) -> Profile:
    """The profile of a sampler that knows everything."""
    mean, ordered = statistics.fmean(times), sorted(times)
    places = [(i + 0.5) / len(times) for i in range(len(times))]
    slope = statistics.linear_regression(places, times).slope
    around = [t - slope * (place - 0.5) for place, t in zip(places, times, strict=True)]
    trend = slope / mean if statistics.pstdev(around) < 0.5 * statistics.pstdev(times) else 0.0
    count = min(_QUANTILES, len(times))
    durations = tuple(ordered[int((k + 0.5) * len(ordered) / count)] for k in range(count))
    return Profile(
        items=len(times),
        sampled=0,
        sample_s=0.0,
        item_s=mean,
        item_cpu_s=mean,
        item_sd_s=statistics.pstdev(around if trend else times),
        longest_s=ordered[-1],
        durations=durations,
        first_call_s=mean,
        warmup_s=0.0,
        gil_share=1.0,
        gil_measured=True,
        waiting_share=0.0,
        inner_cores=1.0,
        item_rss_bytes=0,
        trend=trend,
        inputs=_RESULT,
        outputs=_RESULT,
    )


def offers(cores: int) -> list[Offer]:
    """The engines on a machine or an idle cluster of so many cores, clusters up."""
    found = []
    for name in ENGINES:
        backend = registry().get(name)
        costs = backend.fallback_costs()
        costs = costs.running() if backend.traits.remote else costs
        found.append(Offer(name, backend.traits, Capacity(cores, float(cores)), costs))
    return found


def actual_s(
    profile: Profile, offer: Offer, workers: int, schedule: Schedule, times: Sequence[float]
) -> float:
    """Seconds that the referee finds for one choice."""
    if offer.traits.inline:
        return math.fsum(times)
    before = [0.0, *itertools.accumulate(times)]
    ends = list(itertools.accumulate(schedule.sizes(len(times))))
    chunks = ((end - start, before[end] - before[start]) for start, end in _pairs(ends))
    setting = Configuration(offer.traits, offer.costs, workers, offer.capacity.cores, schedule)
    return play(profile, setting, chunks).makespan


def _pairs(ends: Sequence[int]) -> Iterator[tuple[int, int]]:
    return zip([0, *ends], ends, strict=False)


def others(cores: int, items: int) -> Iterator[tuple[int, Schedule]]:
    """Workers and schedules of the grid."""
    for workers in sorted({min(items, count) for count in (2, 4, 8, 16, 32, 64) if count <= cores}):
        shares = {max(1, math.ceil(items / (workers * parts))) for parts in (1, 2, 4, 8, 16, 64)}
        for size in sorted({1, *shares}):
            if items / size > 20_000:
                continue
            yield workers, fixed(size, workers)
            yield workers, tapered(size, items, workers)


def regret(times: Sequence[float], cores: int) -> tuple[float, Candidate, str]:
    """Regret, the choice, and the best of the grid in words."""
    profile, engines = profile_of(times), offers(cores)
    chosen = decide(profile, engines, Wish()).chosen
    by_name = {offer.name: offer for offer in engines}
    mine = actual_s(profile, by_name[chosen.backend], chosen.workers, chosen.schedule, times)
    best, told = mine, "the choice"
    serial = actual_s(profile, by_name[SERIAL], 1, chosen.schedule, times)
    if serial < best:
        best, told = serial, SERIAL
    for offer in engines:
        if offer.traits.inline or _hopeless(offer.costs, best):
            continue
        for workers, schedule in others(cores, len(times)):
            seconds = actual_s(profile, offer, workers, schedule, times)
            if seconds < best:
                kind = f"{schedule.kind} {schedule.smallest}"
                best, told = seconds, f"{offer.name} x {workers}, {kind}"
    return mine / best - 1, chosen, told


def _hopeless(costs: BackendCosts, best_s: float) -> bool:
    return costs.starting_s(2) + costs.latency_s.value + costs.shutdown_s.value >= best_s


def main() -> None:
    """Print the regret of each distribution, and the worst choices."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks regret", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--items", type=int, nargs="+", default=list(ITEMS))
    parser.add_argument("--cores", type=int, nargs="+", default=list(CORES))
    parser.add_argument("--worst", type=int, default=10, help="choices to show")
    wanted = parser.parse_args()
    found: list[tuple[float, str]] = []
    print(f"{'times of items':<40}{'cases':>6}{'mean':>8}{'p90':>8}{'worst':>8}")
    for name, draw in DISTRIBUTIONS.items():
        mine: list[float] = []
        for cores, items, mean_s in itertools.product(wanted.cores, wanted.items, MEANS_S):
            if not 1e-3 <= items * mean_s <= 1e3:
                continue
            rng = random.Random(f"{wanted.seed} {name} {cores} {items} {mean_s}")
            times = [mean_s * draw(rng, i, items) for i in range(items)]
            lost, chosen, best = regret(times, cores)
            mine.append(lost)
            what = f"{chosen.backend} x {chosen.workers}, {chosen.schedule.kind}"
            what += f" {chosen.schedule.smallest}-{chosen.schedule.largest}"
            case = f"{name}: {items} x {mean_s:g} s on {cores} cores: {what}; best {best}"
            found.append((lost, case))
        ranked = sorted(mine)
        p90 = ranked[int(0.9 * (len(ranked) - 1))]
        mean = statistics.fmean(mine)
        print(f"{name:<40}{len(mine):>6}{mean:>8.1%}{p90:>8.1%}{ranked[-1]:>8.1%}")
    mean = statistics.fmean(lost for lost, _ in found)
    print(f"\nmean regret of {len(found)} choices: {mean:.1%} (to be <= {LIMIT:.0%})")
    for lost, case in sorted(found, reverse=True)[: wanted.worst]:
        print(f"{lost:>7.1%}  {case}")


if __name__ == "__main__":
    main()
