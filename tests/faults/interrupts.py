"""Ctrl-C, twice or once, and SIGTERM at random moments: nothing stays behind."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import psutil

from tests.faults.engines import TOKEN, marked, shared_memory, told, unused

DRIVER = """
import signal, sys, time, amorsize
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it in the background
from amorsize_local.processes import ProcessBackend
name, how, every = sys.argv[1:]
backend = ProcessBackend(name) if name in ("fork", "forkserver", "spawn") else name
class Work:
    def __call__(self, item):
        end = time.perf_counter() + 0.004
        while time.perf_counter() < end:
            pass
        if item % int(every) == int(every) - 1:
            time.sleep(1000)
        return item
def main():
    plan = amorsize.plan(Work(), iter(range(100_000)), backend=backend, workers=2)
    print("ready", flush=True)
    if how == "run":
        plan.run()
    else:
        for result in plan.stream(ordered=how == "ordered"):
            pass
if __name__ == "__main__":
    main()
"""
"""What is interrupted: short items, and now and then one that never ends."""
EVERY = ("80", "300", "100000")
"""Of how many items one never ends."""
LATE_S = 2.0
"""Seconds in which an interrupted run must be over."""
GRACE_S = {"dask": 10.0, "ray": 15.0}
"""Seconds in which everything must be over: 2, but for clusters, whose own end takes longer on a
busy machine. How long it took is told."""
REACH_S = {"dask": 4.0, "ray": 4.0, "forkserver": 0.7, "spawn": 0.7}
"""Seconds from the start of a run over which interrupts are spread; starting engines included."""


def campaign(name: str, count: int, seed: int, limit_s: float) -> dict[str, Any]:
    """Interrupt so many drivers on one engine."""
    rng, counts, notes = random.Random(seed), Counter[str](), []
    worst, began = 0.0, time.monotonic()
    while counts["drivers"] < count and time.monotonic() - began < limit_s:
        counts["drivers"] += 1
        took, note = _one(rng, name, counts)
        worst = max(worst, took)
        counts["over 2 s"] += took > LATE_S
        notes += note
    names = ("drivers", "over 2 s", "still running", "processes", "shared memory", "files")
    found = {key: counts[key] for key in names}
    return {"engine": name, **found, "worst s": round(worst, 2), "notes": notes}


def _one(rng: random.Random, name: str, counts: Counter[str]) -> tuple[float, list[str]]:
    token, blocks, grace_s = uuid.uuid4().hex, shared_memory(), GRACE_S.get(name, 2.0)
    folders = set(Path("/tmp").glob("amorsize-*"))
    notes: list[str] = []
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        script, temporary = Path(folder, "driver.py"), Path(folder, "tmp")
        script.write_text(DRIVER)
        temporary.mkdir()
        environment = {**os.environ, TOKEN: token, "TMPDIR": str(temporary)}
        how = rng.choice(["run", "ordered", "unordered"])
        every = rng.choice(EVERY)
        driver = subprocess.Popen(
            [sys.executable, str(script), name, how, every],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert driver.stdout is not None
        driver.stdout.readline()
        after_s = rng.uniform(0, REACH_S.get(name, 0.5))
        time.sleep(after_s)
        what = f"every {every}, {_interrupt(rng, driver)} after {after_s:.2f} s"
        told_at = time.monotonic()
        try:
            driver.wait(grace_s)
        except subprocess.TimeoutExpired:
            counts["still running"] += 1
            notes.append(f"{how}, {what}: the driver runs on")
        driver.stdout.close()
        took = time.monotonic() - told_at
        if took > LATE_S and driver.poll() is not None:
            notes.append(f"{how}, {what}: over after {took:.2f} s")
        left = _left(token, told_at + grace_s)
        if left and driver.poll() is not None:
            counts["processes"] += len(left)
            notes.append(f"{how}, {what}: {told(left)}")
        for process in [*left, *marked(token)]:
            with _suppressed():
                process.kill()
        driver.wait(30)
        files = [path.name for path in temporary.iterdir()]
        if name == "ray":  # keeps its files there whatever TMPDIR says
            files += _of_nobody(set(Path("/tmp").glob("amorsize-*")) - folders)
        new = unused(shared_memory() - blocks)
        counts["files"] += len(files)
        counts["shared memory"] += len(new)
        notes += [f"{how}, {what}: left {entry}" for entry in [*files, *sorted(new)]]
    return took, notes


def _interrupt(rng: random.Random, driver: subprocess.Popen[bytes]) -> str:
    """One or two Ctrl-C as a terminal sends them, to all processes of the group; or SIGTERM."""
    kind = rng.choice(["one Ctrl-C", "two Ctrl-C", "SIGINT to the driver alone", "SIGTERM"])
    with _suppressed():
        if kind == "SIGTERM":
            driver.terminate()
        elif kind == "SIGINT to the driver alone":
            driver.send_signal(signal.SIGINT)
        else:
            os.killpg(driver.pid, signal.SIGINT)
            if kind == "two Ctrl-C":
                time.sleep(rng.uniform(0.01, 0.5))
                os.killpg(driver.pid, signal.SIGINT)
    return kind


def _left(token: str, until: float) -> list[psutil.Process]:
    """What is still there when the grace is over."""
    while (left := marked(token)) and time.monotonic() < until:
        time.sleep(0.05)
    return left


def _of_nobody(folders: set[Path]) -> list[str]:
    """Those of some folders that no living process was started with: others may run Ray, too."""
    commands = ""
    for process in psutil.process_iter():
        with _suppressed():
            commands += " ".join(process.cmdline())
    return [path.name for path in folders if str(path) not in commands and path.exists()]


def _suppressed() -> Any:
    import contextlib

    return contextlib.suppress(psutil.Error, ProcessLookupError)
