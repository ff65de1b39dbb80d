"""Random SIGKILLs of workers at random moments of random workloads."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil

import amorsize
from amorsize.plugins import registry
from amorsize.testing.tasks import lines_of
from tests.faults.engines import engine, told
from tests.faults.workload import Recorded

WORKERS = 3
HUNG_S = 120
SETTLED_S = 2.0
"""Dask's nannies do not replace a worker that dies while it starts: once all have gone that way,
the cluster is empty, and the run ends with an error that says so. Spared here."""
_HELPERS = ("resource_tracker", "forkserver")


class Killer:
    """A process that kills workers of this one, so that this one needs no thread for it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.kills"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def kill(self, folder: Path, pauses: list[float], youngest_s: float) -> None:
        """Kill one worker of those that ran in ``folder`` after each pause, if it is not younger
        than so many seconds.
        """
        assert self._process.stdin is not None
        words = [str(os.getpid()), str(folder), str(youngest_s), *map(str, pauses)]
        self._process.stdin.write(" ".join(words) + "\n")
        self._process.stdin.flush()

    def killed(self) -> int:
        """How many it has killed since it was told to; waits for the last pause."""
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)
        assert self._process.stdout is not None
        self._process.stdout.close()


def serve() -> None:
    """The killer's own loop."""
    for line in sys.stdin:
        home, folder, youngest_s, *pauses = line.split()
        count = 0
        for pause in pauses:
            time.sleep(float(pause))
            count += _kill_one(Path(folder), int(home), float(youngest_s))
        print(count, flush=True)


def _kill_one(folder: Path, home: int, youngest_s: float) -> int:
    """Kill the worker that has run an item last, or another one."""
    recent = {int(pid) for pid in lines_of(str(folder / "pids"))[-6:]} - {home}
    for pid in random.sample(sorted(recent), len(recent)):
        try:
            if time.time() - psutil.Process(pid).create_time() >= youngest_s:
                os.kill(pid, signal.SIGKILL)
                return 1
        except (ProcessLookupError, psutil.Error):
            continue
    return 0


def campaign(name: str, kills: int, seed: int, limit_s: float) -> dict[str, Any]:
    """Run workloads on one engine until so many workers have been killed."""
    rng, counts, notes = random.Random(seed), Counter[str](), []
    began, killer = time.monotonic(), Killer()
    try:
        with engine(name, WORKERS) as how:
            before = _children()
            while counts["kills"] < kills and time.monotonic() - began < limit_s:
                with tempfile.TemporaryDirectory(prefix="faults-") as folder:
                    counts["runs"] += 1
                    notes += _one(rng, how, killer, Path(folder), counts, name)
            orphans = _orphans(before) if how["backend"] == "multiprocessing" else []
            counts["orphans"] += len(orphans)
            notes += orphans
    finally:
        killer.close()
    return {"engine": name, **_all(counts), "seconds": time.monotonic() - began, "notes": notes}


def _one(
    rng: random.Random,
    how: dict[str, Any],
    killer: Killer,
    folder: Path,
    counts: Counter[str],
    name: str,
) -> list[str]:
    slow = name in ("dask", "ray")
    items = rng.choice([20, 100, 400])
    total_s = rng.uniform(0.3, 1.0) * (4 if slow else 1) * WORKERS
    function = Recorded(folder, total_s / items, waits=rng.random() < 0.7)
    data = range(items) if rng.random() < 0.5 else iter(range(items))
    plan = amorsize.plan(function, data, workers=WORKERS, **how)
    pauses = [rng.uniform(0, 0.3) * (4 if slow else 1) for _ in range(rng.randint(2, 6))]
    killer.kill(folder, pauses, SETTLED_S if name == "dask" else 0.0)
    signal.alarm(HUNG_S)
    try:
        results = plan.run() if rng.random() < 0.5 else list(plan.stream())
    except Exception as error:
        counts["wrong"] += 1
        return [f"items={items}: {type(error).__name__}: {error}"]
    finally:
        signal.alarm(0)
        counts["kills"] += killer.killed()
    assert plan.report is not None
    counts["losses seen"] += plan.report.lost_workers
    counts["items run again"] += len(function.calls) - items
    if results != [item * item for item in range(items)]:
        lost = len(results) != items
        counts["lost" if lost else "wrong"] += 1
        return [f"items={items}: {len(results)} results"]
    missing = set(range(items)) - set(function.calls)
    counts["never ran"] += len(missing)
    return []


def _children() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))


def _orphans(before: set[psutil.Process]) -> list[str]:
    registry().resolve("multiprocessing").release()  # those that wait for a next run
    new = [p for p in _children() - before if p.status() != psutil.STATUS_ZOMBIE]
    return [words for words in told(new) if not any(helper in words for helper in _HELPERS)]


def _all(counts: Counter[str]) -> dict[str, int]:
    names = ("kills", "runs", "losses seen", "items run again", "wrong", "lost", "never ran")
    return {name: counts[name] for name in (*names, "orphans")}


if __name__ == "__main__":
    serve()
