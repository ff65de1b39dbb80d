"""Times the same work alone and by several threads at once: what workers take from each other."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import NamedTuple

Work = Callable[[], object]


class Compared(NamedTuple):
    """Seconds of some rounds, in each of which the work ran alone and then together."""

    alone: tuple[float, ...]
    """Of the one thread that ran alone."""
    together: tuple[float, ...]
    """Of those that ran at once: their mean."""

    @property
    def alone_s(self) -> float:
        """The median."""
        return median(self.alone)

    @property
    def together_s(self) -> float:
        """The median."""
        return median(self.together)


def compare(
    alone: Work,
    together: Sequence[Work],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> Compared:
    """Run ``alone`` and then all of ``together`` at once, in turns.

    The work must leave the interpreter to the other threads, and take milliseconds: so much less
    than that is lost until the last thread has begun. Raises what the work raises, and
    ``RuntimeError`` if the system grants no more threads.
    """
    ones: list[float] = []
    means: list[float] = []
    for _ in range(rounds):
        ones.append(_timed(alone, clock))
        means.append(ones[-1] if len(together) == 1 else _at_once(together, clock))
    return Compared(tuple(ones), tuple(means))


def _timed(work: Work, clock: Callable[[], float]) -> float:
    begin = clock()
    work()
    return clock() - begin


def _at_once(works: Sequence[Work], clock: Callable[[], float]) -> float:
    ready = threading.Barrier(len(works))
    times: list[float] = []
    errors: list[BaseException] = []

    def run(work: Work) -> None:
        try:
            ready.wait()
            times.append(_timed(work, clock))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,), daemon=True) for work in works]
    try:
        for thread in threads:
            thread.start()
    except BaseException:  # those that have started would wait for the others without end
        ready.abort()
        raise
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return sum(times) / len(times)
