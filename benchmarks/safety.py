"""What a fault-free run pays for surviving faults: ``python -m benchmarks safety``.

Each workload of the local suite is planned once and run in turns: by the plan (errors by item, dead
workers, order, events, voices, reports) and bare, the same chunks on the same backend with the
same number of workers, submitted and collected by a loop that knows none of that. Where the plan
chooses the loop, bare is a comprehension over the same items.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.harness import Lab, fresh, geometric_mean, warm_costs
from benchmarks.workloads import WORKLOADS

LIMIT = 1.02
PATIENCE_S = 180.0


def one(name: str, size: str, repeats: int) -> dict[str, Any]:
    """Both ways in turns, in this process."""
    import amorsize
    from amorsize.plugins import registry

    job = WORKLOADS[name].make(size)
    data = job.data()
    plan = amorsize.plan(job.fn, data if hasattr(data, "__getitem__") else list(data))
    serial = plan.decision.chosen.schedule.kind == "whole"
    backend = registry().backends[plan.backend]
    bare = _loop(plan) if serial else _chunks(plan, backend)
    check = WORKLOADS[name].check
    assert check(bare()) == check(plan.run()), "the results differ"
    ours_s, bare_s = [], []
    for _ in range(repeats):
        for times, call in ((ours_s, plan.run), (bare_s, bare)):
            begin = time.perf_counter()
            call()
            times.append(time.perf_counter() - begin)
    return {
        "workload": name,
        "backend": plan.backend,
        "ours_s": statistics.median(ours_s),
        "bare_s": statistics.median(bare_s),
        "ratio": min(ours_s) / min(bare_s),
    }


def _loop(plan: Any) -> Callable[[], list[Any]]:
    """A comprehension over what the sample has left, its results included."""
    planning = plan._planning
    function, data = planning.function, planning.source.data
    kept = planning.sample.results

    def run() -> list[Any]:
        results: list[Any] = []
        for start, values in kept:
            results += [function(item) for item in data[len(results) : start]]
            results += values
        results += [function(item) for item in data[len(results) :]]
        return results

    return run


def _chunks(plan: Any, backend: Any) -> Callable[[], list[Any]]:
    """The plan's own chunks on a session of its backend."""
    from amorsize.backend import OpenRequest
    from amorsize.collect import in_one_list
    from amorsize.feed import Feed

    planning, chosen = plan._planning, plan.decision.chosen
    traits = backend.traits
    visible = traits.shares_memory or traits.inherits_memory
    cores = planning.limits.cores / chosen.workers

    def run() -> list[Any]:
        spans: dict[int, Any] = {}
        source = planning.source if visible else None
        feed = Feed(planning.source, planning.done, chosen.schedule, carry_items=not visible)
        request = OpenRequest(planning.function, chosen.workers, source, cores)
        session = backend.open(request)
        flying: dict[Any, int] = {}
        pieces = list(planning.sample.results)
        chunk = feed.next()
        while chunk is not None or flying:
            while chunk is not None and len(flying) < 2 * chosen.workers:
                flying[session.submit(chunk)] = chunk.first_index
                spans[chunk.first_index] = chunk.spans
                chunk = feed.next()
            for future in session.wait(flying.keys(), None):
                start, values = flying.pop(future), future.result().unpack().values
                for begin, end in spans.pop(start):
                    pieces.append((begin, values[: end - begin]))
                    values = values[end - begin :]
        session.close(cancel=False)
        return in_one_list(sorted(pieces, key=lambda piece: piece[0]))

    return run


def main() -> None:
    """Measure all workloads, each in a process of its own."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks safety", description=__doc__)
    parser.add_argument(
        "--only", nargs="+", default=[w.name for w in WORKLOADS.values() if w.suite == "local"]
    )
    parser.add_argument("--repeats", type=int, default=7, help="runs each way (default 7)")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes; ratios mean nothing")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    size = "smoke" if wanted.smoke else "full"
    if wanted.one:
        print("\n" + json.dumps(one(wanted.one, size, wanted.repeats)))
        return
    ratios = []
    with tempfile.TemporaryDirectory() as cache:
        lab = Lab(size, cache=Path(cache))
        warm_costs(lab)
        print(
            f"{'workload':<18}{'backend':<18}{'ours ms':>10}{'bare ms':>10}{'fastest, ratio':>16}"
        )
        for name in wanted.only:
            arguments = ["--one", name, "--repeats", str(wanted.repeats)]
            arguments += ["--smoke"] if wanted.smoke else []
            row = fresh("benchmarks.safety", arguments, lab.environment(), PATIENCE_S)
            if "error" in row:
                print(f"{name:<18}n/a: {row['error']}")
                continue
            ratios.append(row["ratio"])
            print(
                f"{name:<18}{row['backend']:<18}{row['ours_s'] * 1e3:>10.2f}"
                f"{row['bare_s'] * 1e3:>10.2f}{row['ratio']:>16.3f}"
            )
    print(f"geometric mean of the ratios {geometric_mean(ratios):.3f} (limit {LIMIT})")


if __name__ == "__main__":
    main()
