"""A small campaign on every engine, each in a process of its own; the full one is
``python -m tests.faults``.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def campaign(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults", "--seed", "1", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]


@pytest.mark.parametrize(
    ("engine", "kills"),
    [("fork", 10), ("forkserver", 10), ("spawn", 10), ("dask", 2), ("ray", 2)],
)
def test_kills(engine: str, kills: int) -> None:
    needed = {"dask": "distributed", "ray": "ray"}.get(engine)
    if needed and find_spec(needed) is None:
        pytest.skip(f"{needed} is not installed")
    # What a deadly item does on a cluster is in its adapter's contract, without one more start.
    parts = ["kills"] if needed else ["kills", "poison"]
    campaign("--parts", *parts, "--engines", engine, "--kills", str(kills), "--poison", "1")


@pytest.mark.parametrize("engine", ["fork", "forkserver", "spawn", "threads"])
def test_interrupts(engine: str) -> None:
    campaign("--parts", "interrupts", "--engines", engine, "--interrupts", "3")


def test_random_functions() -> None:
    campaign("--parts", "cases", "--cases", "200")
