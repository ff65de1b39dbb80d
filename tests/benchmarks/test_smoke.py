"""Each benchmark runs, on tiny sizes: what it prints and keeps is there and the results agree."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def workloads(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The package of benchmarks, which is no part of the distribution."""
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.workloads import WORKLOADS

    return WORKLOADS


def bench(*arguments: str) -> str:
    """Run a benchmark; its output."""
    command = [sys.executable, "-m", "benchmarks", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_workloads_are_repeatable(workloads: Any) -> None:
    """Two builds of a workload give the same results: comparing contestants depends on it."""
    assert len(workloads) >= 18
    fast = [w for w in workloads.values() if not w.name.startswith(("mp_", "issue2", "giant"))]
    for workload in fast:
        prints = []
        for _ in range(2):
            job = workload.make("smoke")
            prints.append(workload.check([job.fn(item) for item in job.data()]))
        assert prints[0] == prints[1], workload.name
        assert prints[0].startswith(f"{workload.smoke}:"), workload.name


def test_fingerprint_tells_results_apart(workloads: Any) -> None:
    """Order, value, type and number of results count."""
    check = workloads["even_1ms"].check
    prints = {check(results) for results in ([1, 2], [2, 1], [1, 2, 3], [1.0, 2], [])}
    assert len(prints) == 5


def test_regret() -> None:
    """The referee plays choices out, and none of them is better than the best it knows."""
    told = bench("regret", "--items", "20", "--cores", "2")
    assert "mean regret of" in told
    assert "-" not in told.partition("mean regret")[0].replace("one in twenty", "")


def test_local_suite() -> None:
    """One workload against all libraries and the oracle's grid."""
    pytest.importorskip("numpy")
    told = bench(
        "local",
        "--smoke",
        "--no-gate",
        "--no-extras",
        "--no-plot",
        "--no-save",
        "--only",
        "even_1ms",
    )
    assert "| even_1ms |" in told
    assert "against the best of oracle" in told
    assert "against that best once more" in told
    assert "what the run before would have predicted" in told
    assert "WRONG" not in told


def test_drawn_suite(workloads: Any) -> None:
    """A draw is the same in every process: the results of contestants agree."""
    from benchmarks.drawn import names
    from benchmarks.workloads import named

    drawn = [named(name) for name in names(11, 12)]
    assert len({workload.about for workload in drawn}) == len(drawn)
    quiet = ("--smoke", "--no-gate", "--no-plot", "--no-save", "--no-oracle", "--repeats", "1")
    told = bench("local", "--suite", "drawn", "--seed", "11", "--count", "2", "--no-peers", *quiet)
    assert "| drawn_11_1 |" in told
    assert "WRONG" not in told


def test_quick_command() -> None:
    """Both ratios, and a prediction for each local engine."""
    told = bench(
        "quick", "--smoke", "--no-gate", "--repeats", "1", "--engines", "serial", "multiprocessing"
    )
    assert "issue2_lambda" in told
    assert "multiprocessing" in told
    assert "n/a" not in told


def test_memory_and_overhead_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    """One case of each, in processes of their own."""
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.harness import Lab, fresh

    environment = Lab("smoke").environment()
    found = fresh("benchmarks.overhead", ["measure", "square", "1000"], environment, 30)
    assert found["cold_s"] > 0
    arguments = ["measure", "10,000,000 items, imap", "smoke"]
    assert fresh("benchmarks.memory", arguments, environment, 30)["grown"] >= 0


def test_unknown_workload_is_named() -> None:
    """A typo is told before anything runs."""
    command = [sys.executable, "-m", "benchmarks", "local", "--only", "nonsense"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "no such workload: nonsense" in done.stderr


def test_truth_and_repeatability() -> None:
    """One engine each: every map has a prediction, every calibration its terms."""
    told = bench("truth", "--engines", "serial", "threads", "--lengths", "200", "--repeats", "1")
    assert told.count("threads") == 2
    assert "median error" in told
    told = bench("repeatability", "--engines", "threads", "--repeats", "2")
    assert "dispatch_s" in told
    assert "start of two workers" in told


def test_safety() -> None:
    """The plan's run and the bare one give the same results on the loop and on workers."""
    told = bench("safety", "--smoke", "--repeats", "1", "--only", "even_1ms", "tiny_sqrt")
    assert "geometric mean" in told
    assert "n/a" not in told


def test_crowds_compares_measured_with_predicted() -> None:
    told = bench("crowds", "--smoke", "--repeats", "1")
    assert "handing over the lock takes" in told
    row = told.strip().splitlines()[-1]
    assert row.startswith("| 0 | 0 | ")
    assert " / " in row
