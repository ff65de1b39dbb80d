"""Kills drivers of runs with a journal at random times, until each run has come to its end.

python tests/resume/campaign.py --kills 50 --seed 1 --backend multiprocessing
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

DRIVER = Path(__file__).with_name("driver.py")
ITEMS = 400
WINDOW = 2 * 2 * 4
"""Items in flight: two workers, two chunks each, four items a chunk."""
LONG_WINDOW = 2 * 17 * 4
"""The same on engines with a long way: up to sixteen chunks wait at a worker."""
METHODS = ["fork", "forkserver", "spawn"]
LOCAL = ["serial", "threads", "multiprocessing", *METHODS]
KINDS = ("range", "generator")


@dataclass
class Counts:
    """What a campaign has found."""

    runs: int = 0
    kills: int = 0
    wrong: int = 0
    failed: int = 0
    again: int = 0
    most_again: float = 0.0
    window: int = WINDOW

    @property
    def fine(self) -> bool:
        return not self.wrong and not self.failed and self.most_again <= self.window

    def __str__(self) -> str:
        return (
            f"{self.runs} runs, {self.kills} kills: {self.wrong} wrong, {self.failed} failed; "
            f"{self.again} items ran again, at most {self.most_again:.1f} a kill "
            f"(the window is {self.window})"
        )


def one_run(backend: str, kind: str, kills: int, rng: random.Random, counts: Counts) -> None:
    """Start a run, kill its driver ``kills`` times, let it end, and look at what it did."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        command = [sys.executable, str(DRIVER), backend, folder, str(ITEMS), kind]
        done = 0
        for number in range(kills + 1):
            with open(f"{folder}/errors", "w") as errors:
                driver = subprocess.Popen(command, stderr=errors)
                if number < kills and _kill_later(driver, folder, rng):
                    done += 1
                    continue
                code = driver.wait(120)
            break
        counts.runs += 1
        counts.kills += done
        counts.failed += code != 0
        if code != 0:
            print(Path(f"{folder}/errors").read_text(), file=sys.stderr)
            return
        results = json.loads(Path(f"{folder}/results").read_text())
        calls = Path(f"{folder}/calls").read_text().split()
        counts.wrong += results != [x * x for x in range(ITEMS)] or len(set(calls)) != ITEMS
        counts.again += len(calls) - ITEMS
        if done:
            counts.most_again = max(counts.most_again, (len(calls) - ITEMS) / done)


def _kill_later(driver: subprocess.Popen[bytes], folder: str, rng: random.Random) -> bool:
    """Kill once a random number of further items have begun; false if it ended before."""
    calls = Path(f"{folder}/calls")

    def begun() -> int:
        return calls.read_bytes().count(b"\n") if calls.exists() else 0

    target = begun() + rng.randrange(1, ITEMS // 4)
    while driver.poll() is None and begun() < target:
        time.sleep(0.001 * rng.random())
    if driver.poll() is not None:
        return False
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    _until_quiet(begun)
    return True


def _until_quiet(begun: Callable[[], int]) -> None:
    """Workers whose driver is gone end their item before they notice."""
    last = -1
    while last != (last := begun()):
        time.sleep(0.05)


def campaign(backend: str, kills: int, seed: int, each: int = 1) -> Counts:
    """Until ``kills`` drivers have been killed."""
    window = WINDOW if backend in LOCAL else LONG_WINDOW
    rng, counts = random.Random(seed), Counts(window=window)
    while counts.kills < kills and not counts.failed:
        kind = KINDS[counts.runs % len(KINDS)]
        one_run(backend, kind, min(each, kills - counts.kills), rng, counts)
    return counts


def main() -> int:
    """Print the counts; 0 if nothing was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--backend", action="append", help="or a start method of multiprocessing")
    wanted = parser.parse_args()
    fine = True
    for backend in wanted.backend or ["serial", "threads", *METHODS]:
        counts = campaign(backend, wanted.kills, wanted.seed)
        print(f"{backend}: {counts}", flush=True)
        fine &= counts.fine
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
