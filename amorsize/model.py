"""The cost model: predicted makespan of one configuration. Pure functions of measured facts.

    T = start-up + attaching + latency + max(driver, processors, GIL, pages, workers) + shut-down

attaching   opening and closing a session on an engine that is up
driver      what the caller does one after the other: dispatch, (un)pickling, bytes
processors  all CPU seconds, the caller's included, over the cores
GIL         where workers share an interpreter, the time in which only one of them can run
pages       where threads of one process are given new memory, and wait for each other
workers     list scheduling of the chunks on the workers, the uneven end included; items take longer
            where workers share cores or need more bytes a second than memory has (a roofline, as
            Williams, Waterman and Patterson, 2009)

The formulae for the end are those of Kruskal and Weiss (1985) for equal chunks and the usual
half-a-last-chunk bound for shrinking ones; ``spread_of_max`` is the expected largest of L
standard normal variables.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from amorsize.backend import Traits
from amorsize.costs import CROWD, BackendCosts
from amorsize.naps import SHORT_S, WAITS
from amorsize.profile import Profile
from amorsize.schedule import Schedule, Shape

STARTUP, ATTACHING = "start-up", "attaching"
WARMUP, COMPUTE = "warm-up", "compute"
CORES, GIL, PAGES = "waiting for cores", "waiting for the GIL", "waiting for new memory"
CROWDED, MEMORY = "sharing cores", "waiting for memory"
DRIVER = "dispatch and transfer"
IMBALANCE, LATENCY, SHUTDOWN = "uneven end", "latency", "shut-down"

_WORK = (COMPUTE, CROWDED, MEMORY, CORES, GIL, PAGES)
"""Terms as uncertain as the time of an item."""
_NO_S = 1e-12
"""Seconds that are none: of less, quotients run over."""
_BUSY = 0.4
"""Share of the CPU seconds of waking up that is left where the processor was not idle before."""
_PILED_UP, _EDGE, _IN_STEP = 4.0, 4.0, 50.0
"""Threads of which half are in the pile while they want a lock more often than it can be handed
over; how sharp the edge is, as the power of a norm, where infinity were a kink; and hand-overs that
an even wait lasts as long as, whose threads half stay in step."""


class Term(NamedTuple):
    """One part of a prediction."""

    name: str
    """What costs time."""
    seconds: float
    """How much of the makespan it makes up; parts that overlap with others count 0."""


class Prediction(NamedTuple):
    """Predicted makespan of a run, from its start to all results in the caller."""

    seconds: float
    """Expected makespan in seconds."""
    low: float
    """Lower end of the interval, in seconds."""
    high: float
    """Upper end of the interval, in seconds."""
    terms: tuple[Term, ...]
    """What it consists of; the seconds add up to ``seconds``."""

    def term(self, name: str) -> float:
        """Seconds of one term, 0 if it plays no part."""
        return sum(term.seconds for term in self.terms if term.name == name)


class Configuration(NamedTuple):
    """One way to run the remaining items."""

    traits: Traits
    """What kind of backend."""
    costs: BackendCosts
    """What the backend costs, start-up zero if it is up."""
    workers: int
    """Workers used."""
    cores: float
    """Cores behind the workers."""
    schedule: Schedule
    """How items are cut into chunks."""
    interpreters: int | None = None
    """Interpreters that the workers live in; ``None``: one each."""
    own_core: float = 1.0
    """Share of a core that a single thread gets beside other programs."""


_MOST_UNEVEN = 3.0
"""Standard deviations, in means, that count: a bound, chosen so that the power below stays one that
can be computed, whatever the items."""


def predict(profile: Profile, configuration: Configuration, items: int) -> Prediction:
    """Predicted makespan of running ``items`` more items in a configuration."""
    if configuration.traits.inline:
        taken_s = items * _computing_s(profile) * (1 / configuration.own_core - 1)
        return _interval(profile, [Term(COMPUTE, items * profile.item_s), Term(CORES, taken_s)])
    shape = configuration.schedule.shape(items)
    dealt = Shape(items, 1, 1) if configuration.traits.shares_chunks else shape
    lanes = max(1, min(configuration.workers, dealt.chunks))
    costs = configuration.costs
    terms = [
        Term(STARTUP, _startup_s(configuration)),
        Term(ATTACHING, costs.attach_s.value if costs.attach_s else 0.0),
        Term(WARMUP, _warmup_s(profile, configuration)),
    ]
    lane_item = _lane_item_s(profile, configuration)
    compute = items * lane_item / lanes
    terms.append(Term(COMPUTE, compute))
    floor = compute
    crowding_s, starving_s = _hindrance(profile, configuration, lanes)
    hindered_s = crowding_s + starving_s

    def workers_s(extra_s: float) -> float:
        return _workers_s(profile, configuration, dealt, lanes, items, lane_item + extra_s)

    for name, seconds in (
        (IMBALANCE, workers_s(0.0)),
        (CROWDED, workers_s(crowding_s) if crowding_s else 0.0),
        (MEMORY, workers_s(hindered_s) if starving_s else 0.0),
        (CORES, _processors_s(profile, configuration, shape, lanes, items, hindered_s)),
        (GIL, _gil_s(profile, configuration, shape, lanes, items)),
        (PAGES, _pages_s(profile, configuration, lanes, items)),
        (DRIVER, _driver_s(profile, configuration, shape, items)),
    ):
        terms.append(Term(name, max(0.0, seconds - floor)))
        floor = max(floor, seconds)
    terms += [Term(LATENCY, costs.latency_s.value), Term(SHUTDOWN, costs.shutdown_s.value)]
    return _interval(profile, terms)


def bound(profile: Profile, items: int, cores: float, floor_s: float) -> float:
    """Least seconds that any parallel run of this host could take: perfect division over the
    cores, results unpickled by the caller, ``floor_s`` for starting anything at all. Work that
    waits, or that threads can share without pickling, is bounded by its CPU time alone.
    """
    cpu_s = items * min(profile.item_cpu_s, profile.item_s) / cores
    if profile.gil_share < 0.9:  # threads may serve: no pickling, but what holds the GIL adds up
        return floor_s + max(cpu_s, items * profile.item_s * profile.gil_share)
    return floor_s + max(cpu_s, items * profile.outputs.load_s)


def _startup_s(configuration: Configuration) -> float:
    """Until all workers are up; of threads, which start one by one as chunks are submitted, until
    the average one is: those that are up work already.
    """
    costs, workers = configuration.costs, configuration.workers
    seconds = costs.starting_s(workers, configuration.cores)
    if not configuration.traits.shares_memory:
        return seconds
    return seconds - (workers - 1) / 2 * costs.startup_worker_s.value


def _lane_item_s(profile: Profile, configuration: Configuration) -> float:
    """Seconds one item keeps one worker busy."""
    busy = profile.item_s
    traits = configuration.traits
    if not traits.shares_memory:
        # A function that is parallel inside was sampled on all cores; a worker has its share.
        share = max(1.0, configuration.cores // configuration.workers)
        if _is_alone(profile, configuration):
            busy = profile.item_alone_s
        elif profile.inner_cores > 1.0:
            busy = max(busy, profile.item_cpu_s / share)
    return busy * slowed(profile, configuration.costs) + _extra_item_s(profile, configuration)


def _is_alone(profile: Profile, configuration: Configuration) -> bool:
    """Whether workers have one core each for a function that was seen with one."""
    own = not configuration.traits.shares_memory and configuration.cores < 2 * configuration.workers
    return own and profile.item_alone_s > 0


def slowed(profile: Profile, costs: BackendCosts) -> float:
    """Factor by which items take longer in a worker: what waits is not slowed down."""
    computes = min(1.0, profile.item_cpu_s / profile.item_s) if profile.item_s > 0 else 1.0
    return 1 + (costs.slowdown.value - 1) * computes


def hindered(profile: Profile, configuration: Configuration, workers: int) -> float:
    """Factor by which items take longer while so many workers of one host compute at once."""
    if profile.item_s <= 0:
        return 1.0
    return 1 + sum(_hindrance(profile, configuration, workers)) / profile.item_s


def memory_s(profile: Profile, costs: BackendCosts) -> float:
    """Seconds of an item that moving its bytes through memory takes at least, where nobody else
    does. None if it was on a processor for less than that: then it leaves its bytes alone, or they
    are in a cache.
    """
    seconds = costs.traffic_s(profile.memory_bytes)
    return seconds if seconds <= _computing_s(profile) else 0.0


def _hindrance(profile: Profile, configuration: Configuration, workers: int) -> tuple[float, float]:
    """Seconds by which an item takes longer because workers share cores, and because they share
    memory. Of other hosts that is not known.
    """
    costs = configuration.costs
    if configuration.traits.remote or (costs.crowded is None and costs.memory_one_s is None):
        return 0.0, 0.0
    moving_s, cores = memory_s(profile, costs), configuration.cores
    crowded = costs.crowding(workers, cores) - 1
    starved = costs.starving(workers, cores) - 1 if moving_s else 0.0
    return crowded * (_computing_s(profile) - moving_s), starved * moving_s


def _computing_s(profile: Profile) -> float:
    return min(profile.item_s, profile.item_cpu_s)


def _extra_item_s(profile: Profile, configuration: Configuration) -> float:
    """Seconds an item takes in a chunk beyond the function's own: unpickled and pickled, too."""
    extra, traits = configuration.costs.item_s, configuration.traits
    seconds = 0.0 if extra is None else extra.value
    if not traits.shares_memory:
        seconds += profile.outputs.dump_s
        if profile.travels_to(traits):
            seconds += profile.inputs.load_s
    return seconds


def _warmup_s(profile: Profile, configuration: Configuration) -> float:
    """First-call effects, paid again by workers that do not see the caller's memory."""
    traits = configuration.traits
    if traits.shares_memory or traits.inherits_memory:
        return 0.0
    return profile.warmup_s * max(1.0, configuration.workers / configuration.cores)


def _workers_s(
    profile: Profile,
    configuration: Configuration,
    shape: Shape,
    lanes: int,
    items: int,
    lane_item: float,
) -> float:
    """Until the last worker is done, each item of which takes ``lane_item`` seconds."""
    slot = 0.0 if configuration.traits.shares_chunks else configuration.costs.slot_s.value

    def chunk_s(size: int, times: float = 1.0) -> float:
        return max(size * lane_item * times, slot)

    # Of sorted data the first and the last chunk are the extremes.
    at_front = chunk_s(shape.first, _relative(profile, shape.first / 2 / max(1, items)))
    at_end = chunk_s(shape.last, _relative(profile, 1 - shape.last / 2 / max(1, items)))
    spread = _spread_of_max(profile, lanes)
    even = items * lane_item / lanes
    if profile.item_sd_s < lane_item / 4:  # some worker has at least so many whole items
        even = max(even, math.ceil(items / lanes) * lane_item)
    if shape.chunks <= lanes:
        return max(at_front, at_end) + spread * math.sqrt(shape.first)
    if shape.first == shape.last and not profile.trend:
        rounds = math.ceil(shape.chunks / lanes)
        noise = profile.item_sd_s * math.sqrt(shape.first * rounds)
        if noise < at_front / 4:  # equal chunks march in step: the last round counts whole
            full, rest = divmod(items, shape.first)
            return full // lanes * at_front + (at_front if full % lanes else chunk_s(rest))
    waits = shape.chunks * max(0.0, slot - items / shape.chunks * lane_item) / lanes
    tail = 0.5 * (1 - 1 / lanes) * at_end + spread * math.sqrt(shape.last)
    return max(even + waits + tail, at_front, profile.longest_s)


def _relative(profile: Profile, position: float) -> float:
    """Seconds of an item at a position from 0 to 1, over the mean."""
    return max(0.0, 1.0 + profile.trend * (position - 0.5))


def _spread_of_max(profile: Profile, lanes: int) -> float:
    """By how many seconds the longest of as many items as there are lanes exceeds the mean: that
    of normal times, or if the sample has a heavier tail, that of times drawn from it.
    """
    normal = profile.item_sd_s * spread_of_max(lanes)
    if profile.trend or len(profile.durations) < 3:
        return normal
    return max(normal, _largest_of(profile.durations, lanes) - profile.item_s)


@lru_cache(maxsize=256)
def _largest_of(sample: tuple[float, ...], draws: int) -> float:
    return largest_of(sorted(sample), draws)


def _processors_s(
    profile: Profile,
    configuration: Configuration,
    shape: Shape,
    workers: int,
    items: int,
    extra_s: float,
) -> float:
    """Until the cores have done all work, an item of which takes ``extra_s`` seconds longer."""
    costs = configuration.costs
    alone = _is_alone(profile, configuration)
    each = (profile.item_alone_s if alone else profile.item_cpu_s) * costs.slowdown.value
    wait_s = profile.waiting_share * profile.item_s
    each = max(_BUSY * each, each - (1 - _BUSY) * _waking_s(profile, costs))
    each += _extra_item_s(profile, configuration)
    each += extra_s
    cpu = items * each
    driver = 0.0 if configuration.traits.remote else _driver_s(profile, configuration, shape, items)
    cores = configuration.cores
    return (cpu + driver) / cores * crowding(workers, cores, each, wait_s)


def _waking_s(profile: Profile, costs: BackendCosts) -> float:
    """CPU seconds of an item in which an idle processor wakes up after its wait: as measured beside
    the sample, or else with the backend. 0 if it does not wait, or on other hosts.
    """
    waits = profile.waiting_share * profile.item_s >= WAITS * profile.item_cpu_s
    if costs.waking_s is None or not waits:
        return 0.0
    return profile.waking_s or costs.waking_s.value


def _gil_s(
    profile: Profile, configuration: Configuration, shape: Shape, workers: int, items: int
) -> float:
    """What workers that share an interpreter do one after the other."""
    costs, callers = configuration.costs, configuration.traits.shares_gil
    locks = 1 if callers else min(workers, configuration.interpreters or workers)
    if locks == workers and not callers:
        return 0.0
    each = profile.gil_share * profile.item_s * slowed(profile, costs)
    wait_s, waking_s = profile.waiting_share * profile.item_s, _waking_s(profile, costs)
    if waking_s and profile.item_cpu_s < SHORT_S:
        # The sample cannot see whether it holds the lock: it is taken to, but while it wakes up.
        each = max(0.0, profile.item_cpu_s - waking_s)
    each += _extra_item_s(profile, configuration)
    # Without the lock an item computes on a core that others may want as well, or waits.
    free_s = max(0.0, profile.item_cpu_s * costs.slowdown.value - each - waking_s)
    wait_s = max(wait_s, profile.item_s * slowed(profile, costs) - each - free_s)
    wait_s += free_s * max(1.0, workers / configuration.cores)
    # Whoever has the lock gets no more of the cores than a single thread does.
    busy_s = each / configuration.own_core
    held = items / locks * busy_s * crowding(math.ceil(workers / locks), 1.0, busy_s, wait_s)
    if callers and wait_s >= WAITS * each:
        held = max(held, items * _crowded_s(each, profile, workers, costs))
    return held + (shape.chunks * costs.dispatch_s.value if callers else 0.0)


def _crowded_s(hold_s: float, profile: Profile, workers: int, costs: BackendCosts) -> float:
    """Seconds an item takes among many that wait a short time and then want the lock. As long as
    they are few, the lock is free when one wakes up. Where it is not, it has to be handed over,
    which takes longer than most hold it; then an item takes a hand-over, however many there are:
    as many as are measured with a crowd, and fewer of a few threads, some of which find the lock
    free all the same. Threads that have begun together and wait evenly stay in step, if they wait
    long: then each wait is followed by all of them in a row. Very uneven items come in clusters, so
    that their edge is blurred (``python -m benchmarks crowds``).
    """
    if costs.handover_s is None:
        return 0.0
    handover_s = max(costs.handover_s.value, _NO_S)
    apart_s = max(profile.item_s, hold_s) / workers
    piled_up = workers / (workers + _PILED_UP) * (CROWD + _PILED_UP) / CROWD
    crowded_s = hold_s + piled_up * handover_s
    uneven = min(_MOST_UNEVEN, profile.item_sd_s / max(profile.item_s, _NO_S))
    in_step = max(0.0, 1 - 2 * uneven) * (profile.item_s / handover_s / _IN_STEP) ** 2
    power = (1 + (_EDGE - 1) / (1 + in_step)) / (1 + max(0.0, uneven - 0.5))
    longer_s, shorter_s = max(apart_s, crowded_s), min(apart_s, crowded_s)
    return longer_s * math.pow(1 + math.pow(shorter_s / longer_s, power), 1 / power)


def _pages_s(profile: Profile, configuration: Configuration, workers: int, items: int) -> float:
    """Threads of one process are given new pages of memory in turns, or nearly at once: that is
    measured.
    """
    if not configuration.traits.shares_memory or profile.fault_s <= 0:
        return 0.0
    at_once = workers / configuration.costs.taking_turns(workers)
    free_s = max(0.0, profile.item_s - profile.fault_s)
    seconds = items * profile.fault_s / at_once
    return seconds * crowding(workers, at_once, profile.fault_s, free_s)


def _driver_s(profile: Profile, configuration: Configuration, shape: Shape, items: int) -> float:
    costs, traits = configuration.costs, configuration.traits
    seconds = shape.chunks * costs.dispatch_s.value
    if traits.shares_memory or not shape.chunks:
        return seconds
    out, share = profile.outputs, items / shape.chunks
    seconds += items * out.load_s
    seconds += shape.chunks * costs.out_of(share * out.nbytes, share * out.buffer_bytes)
    if profile.travels_to(traits):
        seconds += shape.chunks * sending_s(profile, configuration, share)
    if not traits.inherits_memory:
        seconds += costs.function_s(profile.function_bytes or 0, configuration.workers)
    return seconds


def sending_s(profile: Profile, configuration: Configuration, items: float) -> float:
    """Seconds that a chunk of items takes to a worker, pickled and on the way. Where workers
    usually inherit items, those that are sent go the way of results.
    """
    into, costs = profile.inputs, configuration.costs
    way = costs.out_of if configuration.traits.inherits_memory else costs.into
    seconds = into.message_s + items * into.dump_s
    return seconds + way(items * into.nbytes, items * into.buffer_bytes)


def _interval(profile: Profile, terms: list[Term]) -> Prediction:
    """Adds up the terms; the interval is two standard errors of the sampled mean."""
    kept = tuple([term for term in terms if term.seconds > 0])
    total = sum([term.seconds for term in kept])
    work = sum([term.seconds for term in kept if term.name in _WORK])
    doubt = work * min(1.0, 2 * profile.relative_error)
    return Prediction(total, total - doubt, total + doubt, kept)


@lru_cache(maxsize=256)
def crowding(workers: int, servers: float, busy_s: float, wait_s: float) -> float:
    """Factor by which work that partly waits takes longer on ``servers`` processors (or one lock)
    than all of these could do it: now and then all workers wait at once, or all want one.

    Mean value analysis of a closed network, as Reiser and Lavenberg (1980), one of several servers
    taken for a fast one and a delay, as Seidmann (1987). 1 for work that never waits.
    """
    if workers <= servers or busy_s <= _NO_S or wait_s < WAITS * busy_s:
        return 1.0
    demand = busy_s / servers
    delay = wait_s + busy_s - demand
    queue = rate = 0.0
    for customers in range(1, workers + 1):
        response = demand * (1 + queue)
        rate = customers / (response + delay)
        queue = rate * response
    return 1 / (rate * demand)


def largest_of(ordered: Sequence[float], draws: int) -> float:
    """Expected largest of some ``draws`` from a sample, in ascending order: the exact value of
    what a bootstrap would estimate.
    """
    count = len(ordered)
    return math.fsum(
        value * (((rank + 1) / count) ** draws - (rank / count) ** draws)
        for rank, value in enumerate(ordered)
    )


def spread_of_max(lanes: int) -> float:
    """Expected largest of ``lanes`` standard normal variables."""
    exact = (0.0, 0.0, 0.56, 0.85, 1.03)
    return exact[lanes] if lanes < len(exact) else math.sqrt(2 * math.log(lanes)) - 0.4
