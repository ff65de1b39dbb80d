"""One item in a thousand ends its process: the others arrive, and it is named."""

from __future__ import annotations

import os
import random
import time
from typing import Any

import amorsize
from tests.faults.engines import engine
from tests.faults.workload import Poison

ITEMS = 1000


def campaign(name: str, rounds: int, seed: int) -> dict[str, Any]:
    """Run a thousand items several times on one engine."""
    rng, right, notes = random.Random(seed), 0, []
    began = time.monotonic()
    with engine(name, 2) as how:
        for number in range(rounds):
            deadly = rng.randrange(50, ITEMS)  # behind the sample, which the caller runs
            function = Poison(frozenset({deadly}), os.getpid())
            plan = amorsize.plan(function, iter(range(ITEMS)), workers=2, on_error="return", **how)
            results: list[Any] = plan.run()
            found = {i for i, r in enumerate(results) if isinstance(r, amorsize.ItemError)}
            guilty = {deadly} if deadly >= plan.sampled else set()
            named = all(isinstance(results[i].exception, amorsize.WorkerDied) for i in found)
            others = all(r == -i for i, r in enumerate(results) if i not in found)
            if len(results) == ITEMS and others and named and found == guilty:
                right += 1
            else:
                notes.append(f"round {number}: item {deadly}, blamed {sorted(found)}")
    seconds = time.monotonic() - began
    return {"engine": name, "rounds": rounds, "right": right, "seconds": seconds, "notes": notes}
