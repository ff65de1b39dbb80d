"""Threads that wait and then all want the interpreter's lock: ``python -m benchmarks crowds``.

For some waits and some Python code after each, the seconds an item takes on more and more threads,
measured and by the model, with the costs of threads measured just before. Where the lock
cannot be handed over as fast as it is asked for, an item takes a hand-over, however many threads
there are.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from amorsize.backend import Chunk, OpenRequest
from amorsize.calibration import calibrate
from amorsize.costs import BackendCosts
from amorsize.model import Configuration, predict
from amorsize.monitor import usable_cores
from amorsize.plugins import registry
from amorsize.sampler import sample
from amorsize.schedule import fixed
from amorsize.source import IndexedSource, source_of

WAITS_S = (0.0, 50e-6, 400e-6, 1e-3, 5e-3)
STEPS = (0, 100, 1000)
THREADS = (4, 8, 12, 16, 24, 32, 48, 64, 96, 128)
BURST_S = 0.05


def work(wait_s: float, steps: int) -> Callable[[Any], int]:
    """A function that waits, and then computes in the interpreter."""

    def function(_: Any) -> int:
        time.sleep(wait_s)
        number = 0
        for step in range(steps):
            number += step
        return number

    return function


def measured(function: Callable[[Any], int], threads: int, items: int) -> float:
    """Seconds per item, with all threads up."""
    source = source_of(range(items + threads))
    assert isinstance(source, IndexedSource)
    session = registry().get("threads").open(OpenRequest(function, threads, source))
    session.submit(Chunk(0, ((0, threads),))).result()
    begin = time.perf_counter()
    session.submit(Chunk(1, ((threads, threads + items),))).result()
    seconds = time.perf_counter() - begin
    session.close(cancel=False)
    return seconds / items


def predicted(
    function: Callable[[Any], int], costs: BackendCosts, threads: int, items: int
) -> float:
    """Seconds per item by the model."""
    backend = registry().get("threads")
    known = sample(function, source_of(range(10_000))).profile
    setting = Configuration(
        backend.traits, costs.running(), threads, usable_cores(), fixed(items, 1), 1
    )
    return predict(known, setting, items).seconds / items


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="benchmarks crowds", description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--smoke", action="store_true", help="one cell, only that it works")
    options = parser.parse_args(argv)
    costs = calibrate(registry().get("threads"), workers=2)
    handover = costs.handover_s
    if handover is not None:
        print(f"handing over the lock takes {handover.value * 1e6:.1f} us ({handover.origin})")
    threads = THREADS[:1] if options.smoke else THREADS
    print("microseconds an item takes, measured / by the model, on so many threads\n")
    print("| wait us | code steps | " + " | ".join(map(str, threads)) + " |")
    print("|---" * (2 + len(threads)) + "|")
    for steps in STEPS[: 1 if options.smoke else None]:
        for wait_s in WAITS_S[: 1 if options.smoke else None]:
            function = work(wait_s, steps)
            cells = []
            for count in threads:
                items = max(4 * count, int(BURST_S * count / (wait_s + 100e-6)) // 4)
                items = min(items, 4000)
                seen = [measured(function, count, items) for _ in range(options.repeats)]
                told = predicted(function, costs, count, items)
                cells.append(f"{statistics.median(seen) * 1e6:.1f} / {told * 1e6:.1f}")
            print(f"| {wait_s * 1e6:.0f} | {steps} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
