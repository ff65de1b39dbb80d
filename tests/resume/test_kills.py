"""Drivers are killed, and their runs continue. ``campaign.py`` does it more often."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CAMPAIGN = Path(__file__).with_name("campaign.py")


@pytest.mark.parametrize(("backend", "kills"), [("serial", 1), ("fork", 2), ("spawn", 1)])
def test_killed_drivers_continue(backend: str, kills: int) -> None:
    command = [
        sys.executable,
        str(CAMPAIGN),
        "--kills",
        str(kills),
        "--seed",
        "7",
        "--backend",
        backend,
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{kills} kills: 0 wrong, 0 failed" in done.stdout
