"""Streams endless data to a slow consumer and prints the memory of this process as it goes.

python -m tests.streams.flat_memory --seconds 60 --backend multiprocessing dask
python -m tests.streams.flat_memory --seconds 15 --mb 8 --pause 0.05

For each backend: how much the memory that is this process's alone (Ray's store is not) grew after
the first fifth of the time, its peak above that of before the stream, and the most results that
were in flight or held for the consumer at once, next to what the window allows.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import psutil

import amorsize
from amorsize.events import ChunkFinished, ChunkSubmitted, Event
from amorsize.window import MEMORY_SHARE, WORKER_BYTES
from tests.faults.engines import ALL, engine

WORKERS = 2
GROWTH_MB = 20.0
"""Most that the memory may grow after the first fifth of the time."""
LOOK_S = 0.25
"""Seconds between two looks at the memory, which take milliseconds."""


def work(nbytes: int, x: int) -> bytes:
    """A result of some size, its pages in use."""
    return x.to_bytes(8) * (nbytes // 8)


class Alive:
    """An observer that knows how many results are on their way or not yet consumed.

    Args:
        sampled: results that were there before.
    """

    def __init__(self, sampled: int) -> None:
        self.alive, self.most, self._sent = sampled, 0, set[int]()

    def __call__(self, event: Event) -> None:
        """Count what is on its way, and what the caller has computed itself."""
        if isinstance(event, ChunkSubmitted):
            self._sent.add(event.first_index)
            self.alive += event.items
        elif isinstance(event, ChunkFinished) and event.first_index not in self._sent:
            self.alive += event.items
        elif isinstance(event, ChunkFinished):
            self._sent.remove(event.first_index)

    def took(self) -> None:
        """The consumer has one more."""
        self.alive -= 1
        if self._sent:  # workers are at work
            self.most = max(self.most, self.alive)


@contextlib.contextmanager
def backend(name: str) -> Iterator[dict[str, Any]]:
    """Arguments of ``amorsize.imap``."""
    if name in ("serial", "threads", "multiprocessing"):
        yield {"backend": name}
    else:
        with engine(name, WORKERS) as how:
            yield how


def watch(name: str, how: dict[str, Any], wanted: argparse.Namespace) -> bool:
    """Stream on one backend and print a line; whether memory stayed within its bounds."""
    nbytes, process = int(wanted.mb * 1e6), psutil.Process(os.getpid())
    at_first = process.memory_full_info().uss
    plan = amorsize.plan(partial(work, nbytes), itertools.count(), workers=WORKERS, **how)
    alive, early, most, taken, looked = Alive(plan.sampled), 0, 0, 0, 0.0
    stream: Any = plan.stream(observers=[alive])
    begin = time.monotonic()
    for _ in stream:
        taken += 1
        alive.took()
        time.sleep(wanted.pause)
        elapsed = time.monotonic() - begin
        if elapsed > wanted.seconds:
            break
        if elapsed > looked + LOOK_S:
            looked, own = elapsed, process.memory_full_info().uss
            early = max(early, own) if elapsed < wanted.seconds / 5 else early
            most = max(most, own)
    stream.close()
    memory = (plan.limits and plan.limits.shared_memory_bytes) or float("inf")
    window_mb = min(MEMORY_SHARE * memory, WORKERS * WORKER_BYTES) / 1e6
    grown, peak, held_mb = (most - early) / 1e6, (most - at_first) / 1e6, alive.most * nbytes / 1e6
    print(
        f"{name:<16}{taken:>7} results of {wanted.mb:g} MB; then {grown:+.1f} MB; peak {peak:.0f} "
        f"MB over the start; alive at most {alive.most} ({held_mb:.0f} MB; the window is "
        f"{window_mb:.0f} MB)",
        flush=True,
    )
    return grown < GROWTH_MB and held_mb <= window_mb + WORKERS * nbytes / 1e6


def main() -> int:
    """0 if memory stayed flat and within the window on all backends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--backend", nargs="+", default=["serial", "threads", *ALL])
    parser.add_argument("--mb", type=float, default=0.1, help="size of a result")
    parser.add_argument("--pause", type=float, default=0.001, help="seconds the consumer takes")
    wanted = parser.parse_args()
    fine = True
    for name in wanted.backend:
        with backend(name) as how:
            fine &= watch(name, how, wanted)
    return 0 if fine else 1


if __name__ == "__main__":
    raise SystemExit(main())
