"""Calibrations of fresh processes, and how far they agree: ``python -m benchmarks repeatability``.

For each engine some processes calibrate it one after the other, with nothing stored. Shown are
median and spread (the tenth over the first decile) of each term. Dask and Ray are up before.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.engines import connected, running
from benchmarks.harness import Lab, fresh
from benchmarks.truth import ENGINES

LIMIT = 1.5
"""Largest spread of terms of dispatch and start-up."""
LIMITED = (
    "startup_s",
    "startup_worker_s",
    "startup_first_s",
    "startup_cpu_s",
    "start of two workers",
    "dispatch_s",
    "latency_s",
    "slot_s",
)
PATIENCE_S = 60.0


def one(engine: str, address: str | None) -> dict[str, Any]:
    """One calibration, in this process."""
    from amorsize.calibration import calibrate
    from amorsize.plugins import registry
    from amorsize.probes import limits

    name, options = ENGINES[engine]
    with connected(engine if engine in ("dask", "ray") else "", address):
        backend = registry().resolve(name).bind(options)
        begin = time.perf_counter()
        costs = calibrate(backend, workers=backend.capacity(limits()).workers, first=True)
        took_s = time.perf_counter() - begin
    figures = {"the calibration": took_s}
    figures |= {n: f.value for n, f in costs.figures().items() if f.origin == "measured"}
    if costs.startup_s.origin == "measured":
        figures["start of two workers"] = costs.startup_s.value + 2 * costs.startup_worker_s.value
    fallen = {n: f.note for n, f in costs.figures().items() if f.origin == "fallback" and f.note}
    return {"figures": figures, "fallen": fallen}


def spread(values: list[float]) -> float:
    """The ninth decile over the first, interpolated."""
    if len(values) < 2:
        return 1.0
    deciles = statistics.quantiles(values, n=10, method="inclusive")
    if deciles[-1] == 0:  # nothing, every time
        return 1.0
    return deciles[-1] / deciles[0] if deciles[0] > 0 else float("inf")


def show(found: dict[str, list[dict[str, Any]]]) -> None:
    """Print the table."""
    print(f"{'engine':<12}{'term':<22}{'median s':>12}{'p90/p10':>9}")
    for engine, runs in found.items():
        names = dict.fromkeys(name for run in runs for name in run["figures"])
        for name in names:
            values = [run["figures"][name] for run in runs if name in run["figures"]]
            told = f" {spread(values):.2f}"
            if name in LIMITED and spread(values) > LIMIT:
                told += f" > {LIMIT}"
            fallen = sum(name in run["fallen"] for run in runs)
            remark = f"  {fallen} of {len(runs)} failed a check" if fallen else ""
            print(f"{engine:<12}{name:<22}{statistics.median(values):>12.3g}{told:>9}{remark}")


def main() -> None:
    """Calibrate all engines in fresh processes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks repeatability", description=__doc__)
    parser.add_argument("--engines", nargs="+", default=list(ENGINES), choices=list(ENGINES))
    parser.add_argument("--repeats", type=int, default=10, help="processes (default 10)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--address", help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.one:
        print(json.dumps(one(wanted.one, wanted.address)))
        return
    found: dict[str, list[dict[str, Any]]] = {}
    for engine in wanted.engines:
        found[engine] = _measured(engine, wanted.repeats)
    if wanted.json:
        print(json.dumps(found))
    else:
        show(found)


def _measured(engine: str, repeats: int) -> list[dict[str, Any]]:
    if engine in ("dask", "ray"):
        with running(engine) as address:
            return _calibrations(engine, repeats, ["--address", address])
    return _calibrations(engine, repeats, [])


def _calibrations(engine: str, repeats: int, where: list[str]) -> list[dict[str, Any]]:
    runs = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as cache:
            environment = Lab("full", cache=Path(cache)).environment()
            arguments = ["--one", engine, *where]
            run = fresh("benchmarks.repeatability", arguments, environment, PATIENCE_S)
        if "error" in run:
            raise SystemExit(f"{engine}: {run['error']}")
        runs.append(run)
    return runs


if __name__ == "__main__":
    main()
