"""Maps of nothing on every engine, predicted against actual: ``python -m benchmarks truth``.

A function without work leaves nothing but what the engine costs: start-up, dispatch, items in a
chunk. Each engine is calibrated anew in a process of its own, which then plans and runs maps of
several lengths, one item a chunk and with the plan's own chunks. Dask and Ray are up before.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.engines import connected
from benchmarks.harness import Lab, fresh

LIMIT = 0.25
"""Largest error of predictions, as a share of the actual makespan, at the median over all."""
PATIENCE_S = 300.0
LENGTHS = (200, 2_000, 20_000)
CHUNKS = (1, None)
"""Items a chunk; ``None`` leaves it to the plan."""
ENGINES: dict[str, tuple[str, dict[str, Any]]] = {
    "serial": ("serial", {}),
    "threads": ("threads", {}),
    "fork": ("multiprocessing", {"start_method": "fork"}),
    "forkserver": ("multiprocessing", {"start_method": "forkserver"}),
    "spawn": ("multiprocessing", {"start_method": "spawn"}),
    "dask": ("dask", {}),
    "ray": ("ray", {}),
}


def nothing(_item: int) -> None:
    """No work at all."""


def one(engine: str, repeats: int, lengths: list[int]) -> list[dict[str, Any]]:
    """Calibrate an engine and run all maps on it, in this process."""
    import amorsize
    from amorsize import pricing
    from amorsize.plugins import registry
    from amorsize.probes import limits

    name, options = ENGINES[engine]
    rows = []
    with connected(engine if engine in ("dask", "ray") else "", None):
        backend = registry().resolve(name).bind(options)
        if not backend.traits.inline:
            pricing.measure(backend, workers=backend.capacity(limits()).workers)
        for length in lengths:
            for size in CHUNKS:
                row: dict[str, Any] = {"engine": engine, "items": length, "chunk": size or "plan"}
                runs = []
                for _ in range(repeats):
                    backend.release()
                    settings: dict[str, Any] = {} if backend.traits.inline else {"workers": 2}
                    plan = amorsize.plan(
                        nothing,
                        range(length),
                        backend=name,
                        options=options,
                        chunk_size=None if backend.traits.inline else size,
                        **settings,
                    )
                    plan.run()
                    assert plan.report is not None
                    runs.append((plan.predicted, plan.report.actual, plan.report.to_dict()))
                row["predicted_s"] = statistics.median(run[0] for run in runs)
                row["actual_s"] = statistics.median(run[1] for run in runs)
                row["terms"] = {term.name: term.seconds for term in plan.terms}
                row["report"] = runs[-1][2]
                rows.append(row)
    return rows


def error(row: dict[str, Any]) -> float:
    """Predicted over actual, less one."""
    share: float = row["predicted_s"] / row["actual_s"] - 1
    return share


def show(rows: list[dict[str, Any]]) -> None:
    """Print the table and the median error."""
    print(
        f"{'engine':<12}{'items':>8}{'chunk':>7}{'predicted ms':>14}{'actual ms':>12}{'error':>8}"
    )
    for row in rows:
        predicted, actual = row["predicted_s"] * 1e3, row["actual_s"] * 1e3
        print(
            f"{row['engine']:<12}{row['items']:>8}{row['chunk']:>7}"
            f"{predicted:>14.3f}{actual:>12.3f}{error(row):>+8.0%}"
        )
    middle = statistics.median(abs(error(row)) for row in rows)
    print(f"median error {middle:.0%} over {len(rows)} maps (limit {LIMIT:.0%})")


def main() -> None:
    """Measure all engines, one process each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks truth", description=__doc__)
    parser.add_argument("--engines", nargs="+", default=list(ENGINES), choices=list(ENGINES))
    parser.add_argument("--lengths", nargs="+", type=int, default=list(LENGTHS))
    parser.add_argument("--repeats", type=int, default=3, help="runs of each map (default 3)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument("--one", choices=list(ENGINES), help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.one:
        print(json.dumps({"rows": one(wanted.one, wanted.repeats, wanted.lengths)}))
        return
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as cache:
        environment = Lab("full", cache=Path(cache)).environment()
        for engine in wanted.engines:
            arguments = ["--one", engine, "--repeats", str(wanted.repeats), "--lengths"]
            arguments += [str(length) for length in wanted.lengths]
            found = fresh("benchmarks.truth", arguments, environment, PATIENCE_S)
            if "error" in found:
                raise SystemExit(f"{engine}: {found['error']}")
            rows += found["rows"]
    if wanted.json:
        print(json.dumps(rows))
    else:
        show(rows)


if __name__ == "__main__":
    main()
