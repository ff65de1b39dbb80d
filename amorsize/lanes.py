"""What a run under way will take: what workers are busy with already, and what is left."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from amorsize.model import ATTACHING, COMPUTE, SHUTDOWN, STARTUP, Prediction, Term
from amorsize.report import OVERHEAD, RunReport

if TYPE_CHECKING:
    from amorsize.costs import BackendCosts
    from amorsize.planner import Candidate

MOST_PLAYED = 2_000
"""Chunks that are played out; of more, what the workers are busy with counts by its mean."""


class State(NamedTuple):
    """Where a run is."""

    elapsed_s: float
    """Seconds since its start."""
    flying_s: Sequence[float]
    """Seconds of work in each chunk on its way, in order."""
    busy_for: Sequence[float]
    """Seconds that each worker may have spent on the chunk that runs there."""
    remaining: int
    """Items that no chunk has held yet."""
    workers: int
    """Workers of the run."""


def foreseen(rest: Candidate, costs: BackendCosts, report: RunReport, state: State) -> Prediction:
    """The whole run, from its start on.

    Args:
        rest: how the remaining items will run, on workers that have nothing else to do.
        costs: those of the engine.
        report: what has been measured so far.
        state: where the run is.
    """
    ahead, workers = rest.prediction, state.workers
    ready = free_after(state.flying_s, state.busy_for, workers)
    later_s = _delay(rest, state.remaining, ready)
    closing_s = 0.0 if costs.attach_s is None else max(0.0, costs.attach_s.value - report.startup_s)
    left_s = ahead.seconds - ahead.term(ATTACHING) + closing_s + later_s
    doubt_s = ahead.high - ahead.seconds
    seconds = state.elapsed_s + left_s
    starting_s = max(report.startup_s, report.first_answer_s or 0.0)
    computing_s = (report.compute_s + math.fsum(state.flying_s)) / workers + ahead.term(COMPUTE)
    ending_s = ahead.term(SHUTDOWN) + closing_s
    terms = (
        Term(STARTUP, starting_s),
        Term(COMPUTE, computing_s),
        Term(SHUTDOWN, ending_s),
        Term(OVERHEAD, seconds - starting_s - computing_s - ending_s),
    )
    return Prediction(seconds, seconds - doubt_s, seconds + doubt_s, terms)


def free_after(flying: Sequence[float], busy_for: Sequence[float], workers: int) -> list[float]:
    """Seconds after which each worker is free that has chunks already: one that runs and, of
    many, some that wait.

    Args:
        flying: seconds of work in the chunks on their way, in order.
        busy_for: seconds that workers may have spent on those that run.
        workers: number of workers.
    """
    ready = [max(0.0, all_s - so_far_s) for all_s, so_far_s in zip(flying, busy_for, strict=False)]
    ready = (ready + [0.0] * workers)[:workers]
    heapq.heapify(ready)
    for chunk_s in flying[workers:]:
        heapq.heapreplace(ready, ready[0] + chunk_s)
    return ready


def last_end(chunks: Iterable[float], ready: Sequence[float]) -> float:
    """Seconds until the last of some chunks has ended, each taken by the worker that is free
    first; ``ready`` are the seconds after which each worker is.
    """
    free, last = list(ready), max(ready, default=0.0)
    heapq.heapify(free)
    for seconds in chunks:
        last = max(last, free[0] + seconds)
        heapq.heapreplace(free, free[0] + seconds)
    return last


def _delay(rest: Candidate, items: int, ready: Sequence[float]) -> float:
    """By how much later the remaining items end than they would on workers that are free at
    once.
    """
    chunks = rest.schedule.shape(items).chunks
    if chunks > MOST_PLAYED:
        return math.fsum(ready) / len(ready)
    lanes = max(1, min(rest.workers, chunks))
    item_s = rest.prediction.term(COMPUTE) * lanes / max(1, items)
    sizes = [size * item_s for size in rest.schedule.sizes(items)]
    return last_end(sizes, ready) - last_end(sizes, [0.0] * len(ready))
