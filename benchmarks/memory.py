"""Peak memory of the calling process: ``python -m benchmarks.memory``.

Large results collected by ``amorsize.map`` (what they hold themselves is given), and ten million
items from an iterator streamed through ``amorsize.imap``; each in a fresh process, beside the
plain loop.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.harness import Lab, fresh, warm_costs
from benchmarks.load import peak_rss_bytes

RESULT_BYTES = 8_000_000


def slow_array(seed: int) -> Any:
    """An array of 8 MB that takes long enough to be worth a worker."""
    from benchmarks.functions import burn, random_array

    burn(200_000)
    return random_array((seed, RESULT_BYTES))


def _increment(item: int) -> int:
    return item + 1


def _collected(count: int, **settings: Any) -> dict[str, Any]:
    import numpy  # noqa: F401

    import amorsize

    amorsize.map(_increment, range(10))
    start = peak_rss_bytes()
    plan = amorsize.plan(slow_array, range(count), **settings)
    held = sum(array.nbytes for array in plan.run())
    return {"held": held, "grown": peak_rss_bytes() - start, "ran_on": plan.report.backend}


def _looped(count: int) -> dict[str, Any]:
    import numpy  # noqa: F401

    start = peak_rss_bytes()
    held = sum(array.nbytes for array in [slow_array(seed) for seed in range(count)])
    return {"held": held, "grown": peak_rss_bytes() - start, "ran_on": "the loop"}


def _streamed(count: int, **settings: Any) -> dict[str, Any]:
    import amorsize

    amorsize.map(_increment, range(10))
    start = peak_rss_bytes()
    last = deque(amorsize.imap(_increment, iter(range(count)), **settings), 1).pop()
    assert last == count
    return {"held": 0, "grown": peak_rss_bytes() - start, "ran_on": settings.get("backend", "auto")}


CASES: dict[str, tuple[Callable[..., dict[str, Any]], int, int, dict[str, Any]]] = {
    "8 MB x 80, loop": (_looped, 80, 3, {}),
    "8 MB x 80, map": (_collected, 80, 3, {}),
    "8 MB x 80, map on processes": (_collected, 80, 3, {"backend": "multiprocessing"}),
    "8 MB x 80, map on threads": (_collected, 80, 3, {"backend": "threads"}),
    "10,000,000 items, imap": (_streamed, 10_000_000, 10_000, {}),
    "10,000,000 items, imap on processes": (
        _streamed,
        10_000_000,
        10_000,
        {"backend": "multiprocessing"},
    ),
}


def survey(lab: Lab) -> list[dict[str, Any]]:
    """All cases, each in a fresh process."""
    rows = []
    for name in CASES:
        answer = fresh("benchmarks.memory", ["measure", name, lab.size], lab.environment(), 300.0)
        rows.append({"case": name, **answer})
    return rows


def lines(rows: list[dict[str, Any]]) -> list[str]:
    """The figures as a markdown table."""
    told = [
        "| case | peak grew by MB | results hold MB | ratio | ran on |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        if "error" in row:
            told.append(f"| {row['case']} | {row['error']} | | | |")
            continue
        ratio = f"{row['grown'] / row['held']:.2f}" if row["held"] else ""
        told.append(
            f"| {row['case']} | {row['grown'] / 1e6:.0f} | {row['held'] / 1e6:.0f} | {ratio} "
            f"| {row['ran_on']} |"
        )
    return told


def main() -> None:
    """Print the table, or one measurement as JSON if asked for it by the survey."""
    if sys.argv[1:2] == ["measure"]:
        call, full, smoke, settings = CASES[sys.argv[2]]
        print("\n" + json.dumps(call(full if sys.argv[3] == "full" else smoke, **settings)))
        return
    with tempfile.TemporaryDirectory(prefix="amorsize-bench-") as cache:
        lab = Lab(cache=Path(cache))
        warm_costs(lab)
        print("\n".join(lines(survey(lab))))


if __name__ == "__main__":
    main()
