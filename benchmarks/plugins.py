"""The example plugins: calibrated costs, and what they predict: ``python -m benchmarks plugins``.

Each measurement is a process of its own, which registers a plugin, calibrates it anew, plans one
workload on it and runs the plan. Shown are the medians of predicted and actual makespan.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from benchmarks.harness import FOREIGN_LIMIT, ROOT
from benchmarks.load import LoadWatch, wait_for_quiet

PLUGINS = ROOT / "examples" / "plugins"
LIMIT = 0.25
"""Largest share by which a prediction may be wrong."""
PATIENCE_S = 10.0


def spin(seconds: float) -> None:
    """Compute for some CPU seconds, however long that takes."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def even(item: int) -> int:
    """A millisecond each."""
    spin(0.001)
    return item


def uneven(item: int) -> int:
    """Between half a millisecond and three and a half, in no order. Tails so heavy that a sample
    cannot tell the mean would measure the sample, not the costs.
    """
    spin(0.0005 + 0.003 * (item * 7919 % 1000 / 1000))
    return item


def bulky(item: bytes) -> bytes:
    """100 kB there and back, and two milliseconds."""
    spin(0.002)
    return item[::-1]


WORKLOADS: dict[str, tuple[Callable[[Any], Any], Callable[[], list[Any]]]] = {
    "1000 x 1 ms": (even, lambda: list(range(1000))),
    "600 uneven": (uneven, lambda: list(range(600))),
    "400 x 100 kB": (bulky, lambda: [bytes([n % 256]) * 100_000 for n in range(400)]),
}


def one(name: str, workload: str) -> dict[str, Any]:
    """Calibrate a plugin and run one workload on it, in this process."""
    import importlib

    import amorsize
    from amorsize import pricing
    from amorsize.plugins import registry
    from amorsize.probes import limits

    known = registry()
    if name not in known.backends:
        known.add(importlib.import_module(f"amorsize_{name}"), name)
    backend = known.get(name)
    costs = pricing.measure(backend, workers=backend.capacity(limits()).workers)
    function, data = WORKLOADS[workload]
    watch = LoadWatch()
    plan = amorsize.plan(function, data(), backend=name)
    plan.run()
    assert plan.report is not None
    return {
        "costs": costs.to_dict(),
        "predicted_s": plan.predicted,
        "actual_s": plan.report.actual,
        "workers": plan.workers,
        "foreign": watch.foreign_share(),
    }


def measure(name: str, workload: str) -> dict[str, Any]:
    """The same in a fresh process; it is told what went wrong there."""
    paths = [ROOT, ROOT / "adapters", PLUGINS / f"{name}_backend"]
    with tempfile.TemporaryDirectory() as cache:
        environ = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, paths)),
            "AMORSIZE_CACHE_DIR": cache,
        }
        command = [sys.executable, "-m", "benchmarks.plugins", "--one", name, workload]
        done = subprocess.run(
            command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False, timeout=300
        )
    if done.returncode:
        return {"error": done.stderr.strip().splitlines()[-1]}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def show_costs(name: str, runs: list[dict[str, Any]]) -> None:
    """Medians of the calibrated figures."""
    print(f"\n{name}: calibrated costs, median of {len(runs)} (least to most)")
    for cost in runs[0]["costs"]:
        values = [run["costs"][cost]["value"] for run in runs if cost in run["costs"]]
        origin = runs[0]["costs"][cost]["origin"]
        middle = statistics.median(values)
        spread = f"{min(values):.3g} to {max(values):.3g}"
        print(f"  {cost:<18}{middle:>10.3g} s  {spread:<22} {origin}")


def show_predictions(name: str, workload: str, runs: list[dict[str, Any]]) -> float:
    """Predicted against actual, of the quiet runs if there are any; the share that is wrong."""
    runs = [run for run in runs if not run["noisy"]] or runs
    predicted = statistics.median(run["predicted_s"] for run in runs)
    actual = statistics.median(run["actual_s"] for run in runs)
    noisy = ", noisy" if runs[0]["noisy"] else ""
    wrong: float = statistics.median(run["predicted_s"] / run["actual_s"] - 1 for run in runs)
    print(
        f"{name:<8}{workload:<14}{runs[0]['workers']:>8}{predicted:>11.3f}{actual:>9.3f}"
        f"{wrong:>+8.1%}  {'ok' if abs(wrong) <= LIMIT else 'MISSED'}{noisy}"
    )
    return wrong


def main() -> None:
    """Measure, print, and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--plugins", nargs="+", default=["loky", "pebble"])
    parser.add_argument("--json", metavar="FILE", help="also write all figures to a file")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        print(json.dumps(one(*chosen.one)))
        return
    cells: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for _ in range(chosen.repeats):  # in turns, so that a disturbance meets all alike
        for name in chosen.plugins:
            for workload in WORKLOADS:
                quiet = wait_for_quiet(PATIENCE_S)
                found = measure(name, workload)
                found["noisy"] = not quiet or (found.get("foreign") or 0.0) > FOREIGN_LIMIT
                if "error" in found:
                    raise SystemExit(f"{name}, {workload}: {found['error']}")
                cells.setdefault((name, workload), []).append(found)
    for name in chosen.plugins:
        show_costs(name, [run for (of, _), runs in cells.items() if of == name for run in runs])
    print(
        f"\n{'plugin':<8}{'workload':<14}{'workers':>8}{'predicted':>11}{'actual':>9}{'wrong':>8}"
    )
    wrong = [show_predictions(*cell, runs) for cell, runs in cells.items()]
    print(f"largest error {max(map(abs, wrong)):.1%}, target {LIMIT:.0%}")
    if chosen.json:
        rows = [{"plugin": n, "workload": w, "runs": runs} for (n, w), runs in cells.items()]
        with open(chosen.json, "w", encoding="utf-8") as file:
            json.dump(rows, file)


if __name__ == "__main__":
    main()
