"""How long the probes take: first and cached, import, fork check, bandwidth.

Run with ``python benchmarks/probe_speed.py``; ``--json`` for a machine. Times of a first
probe and of the import are from fresh interpreters, the best and the median of several.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time

IMPORT = "import dataclasses, typing, threading, time; t = time.perf_counter(); "
IMPORT += "import amorsize.probes; print(time.perf_counter() - t)"

FIRST = "import time; from amorsize import probes; t = time.perf_counter(); "
FIRST += "probes.limits(); print(time.perf_counter() - t)"

FORK = "import timeit; from amorsize.probes import fork_safety as f; "
FORK += "f(); print(min(timeit.repeat(f, number=500, repeat=5)) / 500)"

NUMPY = "import numpy as np; a = np.ones((400, 400)); a @ a; "


def fresh(code: str, runs: int) -> list[float]:
    """Return the seconds that ``code`` prints, from so many fresh interpreters."""
    command = [sys.executable, "-c", code]
    subprocess.run(command, check=True, capture_output=True)  # compiles the modules
    outputs = (
        subprocess.run(command, check=True, capture_output=True, text=True).stdout
        for _ in range(runs)
    )
    return [float(output) for output in outputs]


def cached_us() -> float:
    """Return the microseconds of a probe whose answer is known."""
    from amorsize.probes import limits

    limits()
    best = float("inf")
    for _ in range(20):
        started = time.perf_counter()
        for _ in range(500):
            limits()
        best = min(best, (time.perf_counter() - started) / 500)
    return best * 1e6


def figures(runs: int) -> dict[str, float]:
    """Return all figures; the unit is the end of each name."""
    from amorsize.probes import memory_bandwidth

    found: dict[str, float] = {}
    for name, code in (("import", IMPORT), ("first_probe", FIRST)):
        times = fresh(code, runs)
        found[f"{name}_best_ms"] = min(times) * 1e3
        found[f"{name}_median_ms"] = statistics.median(times) * 1e3
    found["cached_probe_us"] = cached_us()
    found["fork_check_us"] = min(fresh(FORK, 3)) * 1e6
    try:
        found["fork_check_numpy_us"] = min(fresh(NUMPY + FORK, 3)) * 1e6
        once = FORK.split("f(); ")[0] + "import time; t = time.perf_counter(); f(); "
        once += "print(time.perf_counter() - t)"
        found["fork_check_numpy_first_us"] = min(fresh(NUMPY + once, 3)) * 1e6
    except subprocess.CalledProcessError:
        pass  # no numpy here
    bandwidth = memory_bandwidth()
    if bandwidth is not None:
        found["bandwidth_one_thread_gb_per_s"] = bandwidth.one_thread / 1e9
        found["bandwidth_all_threads_gb_per_s"] = bandwidth.all_threads / 1e9
        found["bandwidth_threads"] = bandwidth.threads
        found["bandwidth_measurement_ms"] = bandwidth.seconds * 1e3
    return found


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--runs", type=int, default=15, help="fresh interpreters per figure")
    options = parser.parse_args()
    found = figures(options.runs)
    if options.json:
        print(json.dumps(found, indent=2))
        return
    for name, value in found.items():
        print(f"{name:34} {value:10.2f}")


if __name__ == "__main__":
    main()
