"""What planning costs beyond the items it keeps: ``python -m benchmarks.overhead``.

Each figure is from fresh processes: the first plan of a process with stored costs, the first
plan ever without them, a repeated plan; over a thousand items and over a million.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.harness import Lab, fresh, warm_costs

_ROUNDS = 5


def _fn_tiny(item: int) -> int:
    return item * item


def _fn_short(item: int) -> int:
    from benchmarks.functions import burn_100us

    return burn_100us(item)


FUNCTIONS: dict[str, Callable[[int], int]] = {"square": _fn_tiny, "100 us": _fn_short}
LENGTHS = (1000, 1_000_000)


def measure(name: str, length: int) -> dict[str, Any]:
    """In this process: seconds of each plan beyond its sample, the first one first."""
    import amorsize

    seconds = []
    for _ in range(_ROUNDS):
        begin = time.perf_counter()
        plan = amorsize.plan(FUNCTIONS[name], range(length))
        seconds.append(time.perf_counter() - begin - plan.profile.sample_s)
    return {"cold_s": seconds[0], "repeated_s": statistics.median(seconds[1:])}


def survey(lab: Lab, repeats: int = 5) -> list[dict[str, Any]]:
    """All figures, medians over fresh processes."""
    rows = []
    for name in FUNCTIONS:
        for length in LENGTHS:
            arguments = ["measure", name, str(length)]
            stored = _runs(lab.environment(), arguments, repeats)
            with tempfile.TemporaryDirectory(prefix="amorsize-bench-") as empty:
                bare = {**lab.environment(), "AMORSIZE_CACHE_DIR": empty}
                first = fresh("benchmarks.overhead", arguments, bare, 60.0)
            row: dict[str, Any] = {"function": name, "items": length}
            for key in ("cold_s", "repeated_s"):
                row[key] = statistics.median(run[key] for run in stored) if stored else None
            rows.append({**row, "first_ever_s": first.get("cold_s")})
    return rows


def _runs(environment: dict[str, str], arguments: list[str], repeats: int) -> list[dict[str, Any]]:
    answers = [fresh("benchmarks.overhead", arguments, environment, 60.0) for _ in range(repeats)]
    return [answer for answer in answers if "cold_s" in answer]


def lines(rows: list[dict[str, Any]]) -> list[str]:
    """The figures as a markdown table."""
    told = ["| function | items | cold ms | repeated ms | first ever ms |", "|---|---|---|---|---|"]
    for row in rows:
        values = (row["cold_s"], row["repeated_s"], row["first_ever_s"])
        cells = " | ".join("n/a" if v is None else f"{v * 1e3:.2f}" for v in values)
        told.append(f"| {row['function']} | {row['items']:,} | {cells} |")
    return told


def main() -> None:
    """Print the table, or one measurement as JSON if asked for it by the survey."""
    if sys.argv[1:2] == ["measure"]:
        print("\n" + json.dumps(measure(sys.argv[2], int(sys.argv[3]))))
        return
    with tempfile.TemporaryDirectory(prefix="amorsize-bench-") as cache:
        lab = Lab(cache=Path(cache))
        warm_costs(lab)
        print("\n".join(lines(survey(lab))))


if __name__ == "__main__":
    main()
