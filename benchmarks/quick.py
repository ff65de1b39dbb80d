"""The first things to look at, in a minute and a half: ``python -m benchmarks.quick``.

The plain loop and ``amorsize.map`` side by side where the loop should win and where it should
not, and predicted against actual of even 1 ms items on every engine. Each run has a process of
its own; contestants take turns.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.harness import Cell, Lab, machine, warm_costs

RATIOS = (("issue2_lambda", 1.30), ("issue2_1ms", 0.62))
ENGINES = ("serial", "threads", "multiprocessing", "dask", "ray")
PREDICTION_LIMIT = 0.25


def ratios(lab: Lab, repeats: int) -> list[dict[str, Any]]:
    """``amorsize.map`` against the loop, in turns."""
    rows = []
    for workload, limit in RATIOS:
        loop, ours = Cell(workload, "loop"), Cell(workload, "amorsize")
        for _ in range(repeats):
            lab.run(loop)
            lab.run(ours)
        row: dict[str, Any] = {"workload": workload, "limit": limit, "noisy": ours.noisy}
        row |= {"error": loop.error or ours.error, "loop_s": loop.seconds, "map_s": ours.seconds}
        if loop.seconds and ours.seconds:
            row["ratio"] = ours.seconds / loop.seconds
            row["equal"] = loop.runs[0]["fingerprint"] == ours.runs[0]["fingerprint"]
            row["ran_on"], row["workers"] = ours.facts["ran_on"], ours.facts["workers"]
        rows.append(row)
    return rows


def predictions(lab: Lab, repeats: int, engines: tuple[str, ...] = ENGINES) -> list[dict[str, Any]]:
    """Predicted against actual makespan on each engine; Dask and Ray are up before."""
    rows = []
    for engine in engines:
        cell = Cell("even_1ms", "amorsize", {"backend": engine})
        for _ in range(repeats):
            lab.run(cell)
        row: dict[str, Any] = {"engine": engine, "error": cell.error, "noisy": cell.noisy}
        if cell.runs:
            facts = cell.facts
            row |= {name: facts[name] for name in ("predicted_s", "actual_s", "workers")}
            row["error_share"] = facts["predicted_s"] / facts["actual_s"] - 1
        rows.append(row)
    return rows


def show(found: dict[str, Any]) -> None:
    """Print both tables."""
    print(f"{'workload':<16}{'loop s':>9}{'map s':>9}{'ratio':>8}{'limit':>7}  ran on")
    for row in found["ratios"]:
        if row["error"]:
            print(f"{row['workload']:<16}n/a: {row['error']}")
            continue
        verdict = "ok" if row["ratio"] <= row["limit"] and row["equal"] else "MISSED"
        print(
            f"{row['workload']:<16}{row['loop_s']:>9.4f}{row['map_s']:>9.4f}{row['ratio']:>8.3f}"
            f"{row['limit']:>7.2f}  {row['ran_on']} ({row['workers']}), {verdict}{_noise(row)}"
        )
    print(f"\n{'even 1 ms on':<16}{'workers':>9}{'predicted':>11}{'actual':>9}{'error':>8}")
    for row in found["predictions"]:
        if row["error"]:
            print(f"{row['engine']:<16}n/a: {row['error']}")
            continue
        verdict = "ok" if abs(row["error_share"]) <= PREDICTION_LIMIT else "MISSED"
        print(
            f"{row['engine']:<16}{row['workers']:>9}{row['predicted_s']:>11.4f}"
            f"{row['actual_s']:>9.4f}{row['error_share']:>+8.1%}  {verdict}{_noise(row)}"
        )


def _noise(row: dict[str, Any]) -> str:
    return f" ({row['noisy']} runs disturbed)" if row["noisy"] else ""


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.quick", description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--engines", nargs="*", default=ENGINES, help="engines to predict for")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes: only that it works")
    parser.add_argument("--no-gate", action="store_true", help="do not wait for a quiet machine")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    size = "smoke" if options.smoke else "full"
    with tempfile.TemporaryDirectory(prefix="amorsize-bench-") as cache:
        lab = Lab(size, Path(cache), gate=not options.no_gate)
        warm_costs(lab)
        found = {
            "machine": machine(),
            "ratios": ratios(lab, options.repeats),
            "predictions": predictions(lab, max(1, options.repeats // 2), tuple(options.engines)),
        }
    print(json.dumps(found, indent=2)) if options.json else show(found)


if __name__ == "__main__":
    main()
