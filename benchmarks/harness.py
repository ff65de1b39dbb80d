"""Runs measurements in fresh processes and keeps what they return."""

from __future__ import annotations

import json
import math
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from amorsize.monitor import usable_cores
from benchmarks.load import wait_for_quiet

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"

FOREIGN_LIMIT = 0.15
"""Cores of foreign load above which a run is repeated."""
ATTEMPTS = 3
PATIENCE_S, ALL_PATIENCE_S = 5.0, 300.0
"""Longest waits for a quiet machine: before one run, and in a whole suite."""


@dataclass
class Cell:
    """All runs of one contestant on one workload."""

    workload: str
    contestant: str
    settings: dict[str, Any] = field(default_factory=dict)
    bare: bool = False
    """Whether it starts without stored costs."""
    runs: list[dict[str, Any]] = field(default_factory=list)
    """First calls: seconds, foreign load, fingerprint, facts."""
    later: list[float] = field(default_factory=list)
    """Seconds of repeated calls in the same process."""
    error: str = ""
    """Why there is no result."""
    at_least_s: float = 0.0
    """Seconds after which it was given up."""

    @property
    def label(self) -> str:
        """Contestant with its settings."""
        told = ", ".join(f"{name}={value}" for name, value in self.settings.items())
        name = f"{self.contestant}({told})" if told else self.contestant
        return f"{name}, first ever" if self.bare else name

    @property
    def seconds(self) -> float | None:
        """Median of the quiet runs, or of all if none was quiet."""
        times = [run["seconds"] for run in self.runs if not run["noisy"]]
        times = times or [run["seconds"] for run in self.runs]
        return statistics.median(times) if times else None

    @property
    def least_s(self) -> float | None:
        """The fastest run: what other programs and a throttled processor left alone."""
        return min((run["seconds"] for run in self.runs), default=None)

    @property
    def later_s(self) -> float | None:
        """Median of the repeated calls in one process."""
        return statistics.median(self.later) if self.later else None

    @property
    def noisy(self) -> int:
        """Runs with foreign load."""
        return sum(run["noisy"] for run in self.runs)

    @property
    def peak_rss_bytes(self) -> int:
        """Largest memory of the calling process."""
        return max((run["peak_rss_bytes"] for run in self.runs), default=0)

    def to_dict(self) -> dict[str, Any]:
        """The cell as plain data."""
        return {**asdict(self), "label": self.label, "seconds": self.seconds}

    @property
    def facts(self) -> dict[str, Any]:
        """Facts of the run whose time is nearest to the median."""
        if not self.runs:
            return {}
        middle = self.seconds or 0.0
        nearest = min(self.runs, key=lambda run: abs(run["seconds"] - middle))
        facts: dict[str, Any] = nearest["facts"]
        return facts


@dataclass
class Lab:
    """Where measurements run: sizes, patience, environment."""

    size: str = "full"
    cache: Path | None = None
    """Directory of stored costs for amorsize."""
    addresses: dict[str, str] = field(default_factory=dict)
    """Addresses of running clusters by engine."""
    companions: list[int] = field(default_factory=list)
    """Processes whose descendants belong to those clusters."""
    gate: bool = True
    """Whether to wait for a quiet machine and to repeat disturbed runs."""
    waited_s: float = 0.0
    """Seconds spent waiting so far."""

    def run(
        self, cell: Cell, *, calls: int = 1, timeout_s: float = 60.0, attempts: int = ATTEMPTS
    ) -> None:
        """Add one run to a cell, repeating it while other processes disturb it."""
        if cell.error:
            return
        tries: list[tuple[dict[str, Any], list[dict[str, Any]]]] = []
        for _ in range(attempts if self.gate else 1):
            self._wait()
            answer = self._fresh(cell, calls, timeout_s)
            first = answer["calls"][0] if answer.get("calls") else answer
            if "error" in first:
                cell.error, cell.at_least_s = first["error"], first.get("at_least_s", 0.0)
                return
            first["noisy"] = (first["foreign"] or 0.0) > FOREIGN_LIMIT
            first["peak_rss_bytes"] = answer["peak_rss_bytes"]
            tries.append((first, answer["calls"][1:]))
            if not first["noisy"]:
                break
        first, more = min(tries, key=lambda entry: entry[0]["foreign"] or 0.0)
        cell.runs.append(first)
        cell.later += [call["seconds"] for call in more if "seconds" in call]

    def _wait(self) -> None:
        if self.gate and self.waited_s < ALL_PATIENCE_S:
            begin = time.monotonic()
            wait_for_quiet(patience_s=PATIENCE_S)
            self.waited_s += time.monotonic() - begin

    def _fresh(self, cell: Cell, calls: int, timeout_s: float) -> dict[str, Any]:
        asked = {
            "workload": cell.workload,
            "contestant": cell.contestant,
            "settings": cell.settings,
            "size": self.size,
            "calls": calls,
            "companions": self.companions,
        }
        for engine, address in self.addresses.items():
            if engine in (cell.settings.get("backend"), _cluster_of(cell.contestant)):
                asked["address"] = address
        if not cell.bare:
            return fresh("benchmarks.cell", [json.dumps(asked)], self.environment(), timeout_s)
        with tempfile.TemporaryDirectory(prefix="amorsize-bench-") as empty:
            environment = {**self.environment(), "AMORSIZE_CACHE_DIR": empty}
            return fresh("benchmarks.cell", [json.dumps(asked)], environment, timeout_s)

    def environment(self) -> dict[str, str]:
        """Environment of the measured processes."""
        # Measures the code of this checkout, wherever amorsize is installed.
        found = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'adapters'}"}
        # Without compiled modules each process would compile anew what it imports.
        found.pop("PYTHONDONTWRITEBYTECODE", None)
        if self.cache is not None:
            found["AMORSIZE_CACHE_DIR"] = str(self.cache)
        return found


def _cluster_of(contestant: str) -> str:
    from benchmarks.peers import CONTESTANTS

    return CONTESTANTS[contestant].cluster


def fresh(
    module: str, arguments: list[str], environment: dict[str, str], timeout_s: float
) -> dict[str, Any]:
    """Run a module in a fresh interpreter; its last line of output is JSON. The process and
    all it started are ended if it takes too long.
    """
    command = [sys.executable, "-m", module, *arguments]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        end_group(process.pid)
        process.communicate()
        return {"error": f"not finished after {timeout_s:.0f} s", "at_least_s": timeout_s}
    except BaseException:
        end_group(process.pid)
        raise
    if process.returncode:
        last = (err.strip().splitlines() or ["no message"])[-1]
        return {"error": f"exit status {process.returncode}: {last}"[:300]}
    return dict(json.loads(out.strip().splitlines()[-1]))


def end_group(group: int) -> None:
    """End a process that :func:`fresh` started, with all that it started."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(group, sign)
        except ProcessLookupError:
            return
        time.sleep(0.5)


def end_cleanly() -> None:
    """Make a request to terminate an exception, so that measured processes are ended too."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))


def warm_costs(lab: Lab, backends: Iterable[str] = ("threads", "multiprocessing")) -> str:
    """Measure the backends' costs once into the lab's cache; an error as text."""
    answer = fresh("benchmarks.warm", list(backends), lab.environment(), 120.0)
    return str(answer.get("error", ""))


def geometric_mean(values: Iterable[float]) -> float:
    """Geometric mean; not a number without values."""
    logs = [math.log(value) for value in values]
    return math.exp(statistics.fmean(logs)) if logs else math.nan


def machine() -> dict[str, Any]:
    """What figures depend on."""
    import psutil

    versions = {}
    for name in ("numpy", "joblib", "mpire", "dask", "ray"):
        try:
            from importlib.metadata import version

            versions[name] = version(name)
        except ImportError:
            pass
    return {
        "cpu": _cpu_model(),
        "cores": usable_cores(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "load": os.getloadavg() if hasattr(os, "getloadavg") else None,
        "versions": versions,
        "commit": _commit(),
        "time": time.strftime("%Y-%m-%d %H:%M"),
    }


def _cpu_model() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()


def _commit() -> str:
    command = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
