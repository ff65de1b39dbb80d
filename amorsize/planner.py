"""Chooses among candidates. Pure: offers of backends and a measured profile in, a decision out."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from amorsize.backend import Capacity, Traits
from amorsize.costs import BackendCosts
from amorsize.errors import PlanInfeasible
from amorsize.model import SHUTDOWN, STARTUP, Configuration, Prediction, predict
from amorsize.profile import Profile
from amorsize.schedule import Schedule, fixed, tapered, whole

SERIAL = "serial"
"""Name of the plain loop, which the core itself can run."""

NOISE_SHARE, NOISE_S = 0.06, 0.002
"""The plain loop wins if nothing is predicted to beat it by more than this share and these
seconds: it cannot disappoint."""
NOISE_STARTING = 0.5
"""Share of starting and stopping workers that counts as noise, too: of short runs these are what
predictions know least, from one memory and one moment of the machine to the next."""
NOISE_UNKNOWN = 0.4
"""The share instead of the first one where data does not tell its length: it may be over soon, and
of items that take next to nothing, reading and sending them takes the caller as long."""
TIE_SHARE, TIE_S = 0.02, 0.0005
"""Other predictions closer than this share and these seconds are a tie; the simpler one wins.
Wider ties cost more by what is given away (``python -m benchmarks regret``)."""

OVERHEAD_SHARE = 0.02
"""Largest part of a chunk that dispatching it may take."""
TAIL_S = 0.05
"""Largest chunk, in predicted seconds of work, where the engine's latency allows it: bounds
what expensive items at the front, or a wrong estimate, can cost."""
TAIL_SLOTS = 50
"""Largest chunk in units of an engine's least period per chunk."""
SHARED_CHUNKS = 4
"""Least part of the items, as one in so many, that a last chunk may hold which all workers share:
smaller ones only wake the caller more often.
"""
FEW_SAMPLES = 3
"""Times of items below which their spread is unknown."""
CHUNK_BYTES = 4_000_000
"""Largest payload of a chunk: pipes halve their speed for messages far above a megabyte. Also the
memory of the caller that items and results of a chunk may take if they are many: small ones take
several times as much there as on the way, and larger chunks gain nothing."""
REMOTE_CHUNK_BYTES = 16_500_000
"""The same for engines of many hosts, where a chunk costs milliseconds whatever it holds: with
4 MB a chunk, items of that size took a fifth longer on Dask, and a quarter on Ray."""
MOST_WAITING_WORKERS, MOST_WAITING_THREADS = 64, 128
"""Most workers for work that waits. Threads are cheap; but what they wait for, a server perhaps,
has to bear as many callers at once."""
CLOSE_SHARE = 0.1
"""Of many possible numbers of workers those that come this close to the best are looked at
with all schedules."""
CROWDED = 0.15
"""Exponent by which the makespan has to fall with workers beyond those that compute: twice as many
have to save a tenth. How many crowd each other is what the model knows least about."""
UNKNOWN_LENGTH_S = 1.0
"""Predicted seconds of plain loop assumed when data does not tell its length."""
SIGNIFICANT_BYTES = 50_000_000
"""Growth of memory below this is not held against workers: allocators keep that much."""
MEMORY_SHARE = 0.8
NOTICEABLE_LOAD = 0.3
"""Foreign load below this many cores is the usual background of a machine."""

PARALLEL_FLOOR_S = 0.005
"""No engine starts workers, runs anything and returns the results in less; a remaining loop
shorter than this is run as it is and nothing else is looked at."""


class Offer(NamedTuple):
    """A usable backend as the planner sees it."""

    name: str
    """The backend's name."""
    traits: Traits
    """What kind of engine it is."""
    capacity: Capacity
    """Workers and memory it has."""
    costs: BackendCosts
    """What it costs; zero start-up if it is up."""
    busy_cores: float = 0.0
    """Cores among its own that other programs keep busy now."""
    cold_cluster: bool = False
    """Whether this is an engine for many hosts that is not up: started now it would have this
    host's cores only, and more overhead than processes."""


class Wish(NamedTuple):
    """What the caller asked for."""

    workers: int | None = None
    """Exact number of workers of a parallel run."""
    chunk_size: int | None = None
    """Exact number of items per chunk."""
    fixed_chunks: bool = False
    """Plan equal chunks, for an engine that takes one number."""
    memory_bytes: int | None = None
    """Memory that all workers may take together."""


class Candidate(NamedTuple):
    """One configuration and what it is predicted to take."""

    backend: str
    """Name of the backend."""
    workers: int
    """Number of workers."""
    schedule: Schedule
    """How items are cut into chunks."""
    prediction: Prediction
    """Predicted makespan with its terms."""
    reason: str = ""
    """Why it was chosen or rejected."""

    def to_dict(self) -> dict[str, Any]:
        """The candidate as plain data."""
        return {
            "backend": self.backend,
            "workers": self.workers,
            "largest_chunk": self.schedule.largest,
            "smallest_chunk": self.schedule.smallest,
            "schedule": self.schedule.kind,
            "predicted": self.prediction.seconds,
            "reason": self.reason,
        }


class Refusal(NamedTuple):
    """A backend that could not be considered."""

    backend: str
    """Its name."""
    reason: str
    """Why."""

    def to_dict(self) -> dict[str, Any]:
        """The refusal as plain data."""
        return {"backend": self.backend, "reason": self.reason}


class Decision(NamedTuple):
    """The planner's answer."""

    chosen: Candidate
    """The configuration to run."""
    rejected: tuple[Candidate, ...]
    """The best of each other backend and number of workers, fastest first, with reasons."""
    refused: tuple[Refusal, ...]
    """Backends that could not be considered."""
    items: int
    """Remaining items the predictions are for."""


def items_to_plan(profile: Profile) -> int:
    """Remaining items, or an assumption where the data does not tell."""
    if profile.remaining is not None:
        return profile.remaining
    return max(1000, math.ceil(UNKNOWN_LENGTH_S / max(profile.item_s, 1e-9)))


def decide(
    profile: Profile, offers: Sequence[Offer], wish: Wish, refused: Sequence[Refusal] = ()
) -> Decision:
    """Choose the configuration with the smallest predicted makespan, the simplest among equals.

    Raises:
        PlanInfeasible: if no offer can run the work at all.
    """
    items = items_to_plan(profile)
    refusals = list(refused)
    candidates: list[Candidate] = []
    for offer in offers:
        objection = _objection(profile, offer)
        if objection:
            refusals.append(Refusal(offer.name, objection))
        else:
            best_s = min((one.prediction.seconds for one in candidates), default=math.inf)
            candidates += _candidates(profile, offer, wish, items, best_s)
    if not candidates:
        raise PlanInfeasible([f"{refusal.backend}: {refusal.reason}" for refusal in refusals])
    ranks = {offer.name: offer.traits.rank for offer in offers}
    cold = {offer.name for offer in offers if offer.cold_cluster}
    eligible = [c for c in candidates if c.backend not in cold] or candidates
    eligible = _without_crowds(eligible, {offer.name: offer.capacity.workers for offer in offers})
    eligible = _beating_the_loop(profile, eligible)
    best = min(candidate.prediction.seconds for candidate in eligible)
    tied = [candidate for candidate in eligible if is_tie(candidate, best)]
    # Among equals also the finest chunks: equal predictions trust an even sample, which a trend
    # in the data or a single long item would betray.
    chosen = min(tied, key=lambda c: (ranks[c.backend], c.workers, c.schedule.smallest))
    reason = "fastest" if chosen.prediction.seconds == best else "simplest of those within noise"
    rejected = _rejected(candidates, chosen, cold)
    return Decision(chosen._replace(reason=reason), rejected, tuple(refusals), items)


def _without_crowds(candidates: list[Candidate], usual: Mapping[str, int]) -> list[Candidate]:
    """Those whose workers beyond the usual number save enough, compared with fewer."""
    least: dict[tuple[str, int], float] = {}
    for one in candidates:
        key = one.backend, one.workers
        least[key] = min(one.prediction.seconds, least.get(key, math.inf))

    def is_crowd(candidate: Candidate) -> bool:
        return any(
            name == candidate.backend
            and usual[name] <= workers < candidate.workers
            and seconds <= candidate.prediction.seconds * (candidate.workers / workers) ** CROWDED
            for (name, workers), seconds in least.items()
        )

    return [candidate for candidate in candidates if not is_crowd(candidate)]


def _beating_the_loop(profile: Profile, candidates: list[Candidate]) -> list[Candidate]:
    """Those predicted to be faster than the plain loop by more than their noise, or it alone if
    none is; all if it is not among them.
    """
    loop = [candidate for candidate in candidates if candidate.backend == SERIAL]
    if not loop:
        return candidates
    loop_s = min(candidate.prediction.seconds for candidate in loop)
    better = [
        candidate
        for candidate in candidates
        if candidate.prediction.seconds + _noise_s(profile, candidate.prediction) < loop_s
    ]
    return better or loop


def _noise_s(profile: Profile, prediction: Prediction) -> float:
    """Seconds by which a prediction has to be below that of the plain loop."""
    starting_s = sum(term.seconds for term in prediction.terms if term.name in (STARTUP, SHUTDOWN))
    share = NOISE_SHARE if profile.remaining is not None else NOISE_UNKNOWN
    return NOISE_S + share * prediction.seconds + NOISE_STARTING * starting_s


def is_tie(candidate: Candidate, best_s: float) -> bool:
    """Whether the difference to the best prediction is within the noise."""
    return candidate.prediction.seconds <= best_s * (1 + TIE_SHARE) + TIE_S


def serial_only(profile: Profile, reason: str) -> Decision:
    """The decision for the plain loop, where nothing else can pay."""
    from amorsize.model import COMPUTE, Term

    items = items_to_plan(profile)
    seconds = items * profile.item_s
    prediction = Prediction(seconds, seconds, seconds, (Term(COMPUTE, seconds),))
    return Decision(Candidate(SERIAL, 1, whole(), prediction, reason), (), (), items)


def _objection(profile: Profile, offer: Offer) -> str:
    """Why the work cannot run on this offer; empty if it can."""
    traits = offer.traits
    if traits.shares_memory or traits.inline:
        return ""
    if profile.outputs.error:
        return f"results cannot be pickled ({profile.outputs.error})"
    if profile.inputs.error and profile.travels_to(traits):
        return f"items cannot be pickled ({profile.inputs.error})"
    if profile.function_error and not traits.inherits_memory:
        return f"the function cannot be pickled ({profile.function_error})"
    return ""


def _candidates(
    profile: Profile, offer: Offer, wish: Wish, items: int, best_s: float
) -> Iterator[Candidate]:
    if offer.traits.inline:
        yield _candidate(profile, offer, 1, whole(), items)
        return
    most = _most_workers(profile, offer, wish, items)
    counts: Iterable[int] = _worker_counts(offer, wish, most)
    seen: dict[int, Candidate] = {}
    if wish.workers is None and most > offer.capacity.workers:
        counts = seen = _promising(profile, offer, wish, items, counts, best_s)
    for workers in sorted(counts):
        for number, schedule in enumerate(_schedules(profile, offer, wish, workers, items)):
            if number == 0 and workers in seen:
                yield seen[workers]
            else:
                yield _candidate(profile, offer, workers, schedule, items)


def _promising(
    profile: Profile, offer: Offer, wish: Wish, items: int, counts: Iterable[int], best_s: float
) -> dict[int, Candidate]:
    """Numbers of workers for work that waits, of which there may be many: the best ones by one
    schedule each, and those between them and their neighbours. Each with its first schedule. Those
    that cannot come close to the best, of this or of another backend, are not looked at.
    """
    seen: dict[int, Candidate] = {}

    def seconds(workers: int) -> float:
        return seen[workers].prediction.seconds

    def least_s(workers: int) -> float:
        return _least_s(profile, offer, workers, items)

    def close_s(workers: int) -> float:
        best = min(seen, key=seconds)
        crowd: float = max(1.0, best / workers) ** CROWDED
        return seconds(best) * (1 + CLOSE_SHARE) * crowd

    def look(more: Iterable[int]) -> int:
        for workers in sorted(set(more).difference(seen), key=least_s):
            if seen and least_s(workers) > min(close_s(workers), (1 + CLOSE_SHARE) * best_s):
                continue
            schedule = _schedules(profile, offer, wish, workers, items)[0]
            seen[workers] = _candidate(profile, offer, workers, schedule, items)
        return min(seen, key=seconds)

    best = look(counts)
    between = {best, best * 3 // 4, best * 3 // 2}
    # As few as take no more rounds of items.
    between |= {math.ceil(items / math.ceil(items / count)) for count in between}
    most = max(counts)
    look(count for count in between if 1 < count <= most)
    return {n: seen[n] for n in seen if seconds(n) <= close_s(n)}


def _least_s(profile: Profile, offer: Offer, workers: int, items: int) -> float:
    """Seconds that no run on so many workers takes less than: half of starting them, as those that
    are up work already, and perfect division. Told in no time.
    """
    item_s = min(profile.item_s, profile.item_alone_s or profile.item_s)
    return offer.costs.starting_s(workers, offer.capacity.cores) / 2 + items * item_s / workers


def _candidate(
    profile: Profile, offer: Offer, workers: int, schedule: Schedule, items: int
) -> Candidate:
    cores = fair_share(offer.capacity.cores, workers, offer.busy_cores)
    interpreters = offer.capacity.interpreters_of(workers, offer.traits)
    own_core = min(1.0, fair_share(offer.capacity.cores, 1, offer.busy_cores))
    setting = Configuration(
        offer.traits, offer.costs, workers, cores, schedule, interpreters, own_core
    )
    return Candidate(offer.name, workers, schedule, predict(profile, setting, items))


def fair_share(cores: float, workers: int, busy_cores: float) -> float:
    """Cores that ``workers`` get next to others that keep ``busy_cores`` busy: all that are
    free, and where there are fewer than wanted, their share of all.
    """
    if busy_cores < NOTICEABLE_LOAD or workers + busy_cores <= cores:
        return cores
    return max(cores - busy_cores, cores * workers / (workers + busy_cores))


def _most_workers(profile: Profile, offer: Offer, wish: Wish, items: int) -> int:
    """Never more workers than items, never more than memory holds."""
    if wish.workers is not None:
        return max(1, min(wish.workers, items))
    most = offer.capacity.workers
    if offer.capacity.elastic and profile.waiting_share > 0.1:
        cheap = offer.traits.shares_memory
        most = max(most, MOST_WAITING_THREADS if cheap else MOST_WAITING_WORKERS)
    return max(1, min(most, items, _memory_ceiling(profile, offer, wish)))


def _worker_counts(offer: Offer, wish: Wish, most: int) -> set[int]:
    """Numbers of workers worth a look."""
    if wish.workers is not None or most == 1:
        return {most}
    counts, step = {most, min(most, offer.capacity.workers)}, 2
    while step < most:
        counts.add(step)
        if most <= offer.capacity.workers:
            counts.add(min(most, step * 3 // 2))
        step *= 2
    return {count for count in counts if count > 1} or {1}


def _memory_ceiling(profile: Profile, offer: Offer, wish: Wish) -> int:
    """Workers whose measured growth of memory fits; at least 1."""
    growth = profile.item_rss_bytes
    if growth < SIGNIFICANT_BYTES or offer.traits.remote or wish.memory_bytes is None:
        return 1 << 30
    return max(1, int(MEMORY_SHARE * wish.memory_bytes / growth))


def _schedules(
    profile: Profile, offer: Offer, wish: Wish, workers: int, items: int
) -> list[Schedule]:
    """Some with coarser and coarser last chunks."""
    if wish.chunk_size is not None:
        return [fixed(wish.chunk_size, workers)]
    costs, item_s = offer.costs, max(profile.item_s, 1e-9)
    # The caller feeds all workers: a chunk must outlast dispatching one to each of them. Twice
    # that, because between two sittings dispatch costs move by a factor of two.
    dispatch_s = costs.dispatch_s.value
    if not offer.traits.shares_memory and profile.travels_to(offer.traits):
        dispatch_s += profile.inputs.message_s
    busy = max(2 * dispatch_s * workers, costs.slot_s.value)
    floor = math.ceil(busy / (OVERHEAD_SHARE * item_s))
    payload = 0.0
    if not offer.traits.shares_memory:
        sent = profile.inputs.nbytes if profile.travels_to(offer.traits) else 0
        payload = max(profile.outputs.nbytes, sent)
    most_bytes = REMOTE_CHUNK_BYTES if offer.traits.remote else CHUNK_BYTES
    by_bytes = max(1, int(most_bytes / payload)) if payload > 0 else items
    tail = math.ceil(max(TAIL_S, TAIL_SLOTS * costs.slot_s.value) / item_s)
    lanes, largest = workers, min(by_bytes, tail)
    # Whose spread nobody knows may be uneven: only the finest last chunks are safe then.
    divisors = (16, 4, 1) if len(profile.durations) >= FEW_SAMPLES else (16,)
    if offer.traits.shares_chunks and not wish.fixed_chunks:  # all work on each of them
        lanes, largest, divisors = 1, tail * workers, (SHARED_CHUNKS,)
    schedules: dict[Schedule, None] = {}
    for divisor in divisors:
        share = math.ceil(items / (divisor * lanes))
        smallest = max(1, min(floor, share, by_bytes))
        if wish.fixed_chunks:
            schedules[fixed(max(smallest, min(share, largest)), workers)] = None
        else:
            schedules[tapered(smallest, max(smallest, largest), lanes)] = None
    return list(schedules)


def _rejected(
    candidates: Sequence[Candidate], chosen: Candidate, cold: Container[str]
) -> tuple[Candidate, ...]:
    """The fastest of each other backend and number of workers, with the reason."""
    best: dict[tuple[str, int], Candidate] = {}
    for candidate in candidates:
        key = (candidate.backend, candidate.workers)
        if candidate is chosen or key == (chosen.backend, chosen.workers):
            continue
        if key not in best or candidate.prediction.seconds < best[key].prediction.seconds:
            best[key] = candidate
    ordered = sorted(best.values(), key=lambda candidate: candidate.prediction.seconds)
    return tuple(c._replace(reason=_why_rejected(c, chosen, c.backend in cold)) for c in ordered)


def _why_rejected(candidate: Candidate, chosen: Candidate, cold: bool) -> str:
    gap = candidate.prediction.seconds - chosen.prediction.seconds
    if cold and gap <= 0:
        return "not up; a cluster is not started on this host unless it is named"
    if gap <= 0 and candidate.backend == chosen.backend and candidate.workers > chosen.workers:
        return "it saves too little for so many workers"
    if gap <= 0 or is_tie(candidate, chosen.prediction.seconds):
        return "no better within the noise, and less simple"
    largest = max(candidate.prediction.terms, key=lambda term: term.seconds, default=None)
    times = candidate.prediction.seconds / max(chosen.prediction.seconds, 1e-9)
    cause = f"; mostly {largest.name}" if largest else ""
    return f"{times:.2f} times as long{cause}"
