"""The fault campaign: ``python -m tests.faults --seed 1``. Prints counts; everything but kills,
runs and seconds must be zero. Sizes of the full campaign are the defaults.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Iterator
from typing import Any

from tests.faults.engines import ALL

PARTS = ("kills", "interrupts", "poison", "cases")


def rows(options: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    """One row of counts for each part and engine."""
    from tests.faults import cases, interrupts, kills, poison

    seed, limit_s = options.seed, options.limit_s
    for name in options.engines:
        if "kills" in options.parts:
            yield "kills", kills.campaign(name, options.kills, seed, limit_s)
        if "poison" in options.parts:
            yield "poison", poison.campaign(name, options.poison, seed)
        if "interrupts" in options.parts:
            yield "interrupts", interrupts.campaign(name, options.interrupts, seed, limit_s)
    if "cases" in options.parts:
        yield "cases", cases.campaign(options.cases, seed)


def main() -> int:
    """Run and print; the exit status tells whether anything was found."""
    parser = argparse.ArgumentParser(prog="tests.faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--engines", nargs="*", default=ALL)
    parser.add_argument("--parts", nargs="*", default=PARTS, choices=PARTS)
    parser.add_argument("--kills", type=int, default=200, help="workers to kill per engine")
    parser.add_argument("--interrupts", type=int, default=50, help="drivers to interrupt")
    parser.add_argument("--poison", type=int, default=20, help="rounds with a deadly item")
    parser.add_argument("--cases", type=int, default=10_000, help="random functions")
    parser.add_argument("--limit-s", type=float, default=3600.0, help="seconds per part and engine")
    options = parser.parse_args()
    found = 0
    with tempfile.TemporaryDirectory(prefix="faults-costs-") as costs:
        os.environ["AMORSIZE_CACHE_DIR"] = costs
        for part, row in rows(options):
            notes = row.pop("notes")
            print(f"{part:<11}", json.dumps(row), flush=True)
            for note in notes:
                print("  !", note, flush=True)
            found += len(notes)
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
