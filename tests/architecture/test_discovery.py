"""Plugins of strangers: found, refused with a reason, never in the way of others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

GOOD = """
from amorsize.hookspecs import hookimpl
from amorsize_local.threads import ThreadBackend

class Mine(ThreadBackend):
    name = "mine"

@hookimpl
def amorsize_backends():
    return [Mine()]
"""
RAISES = "raise RuntimeError('broken on purpose')"
TAKEN = GOOD.replace('"mine"', '"serial"')
MISSPELT = GOOD.replace("amorsize_backends", "amorsize_backend")
OLD = GOOD.replace('name = "mine"', 'name = "mine"; contract_version = 99')
NO_BACKEND = GOOD.replace("[Mine()]", "['mine']")


def backends_with(tmp_path: Path, source: str, **environ: str) -> dict[str, Any]:
    """What ``amorsize backends`` reports with one more distribution on the path."""
    (tmp_path / "stranger.py").write_text(source)
    info = tmp_path / "stranger-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[other]\na = b\n[amorsize]\nzz = stranger\n")
    done = subprocess.run(
        [sys.executable, "-m", "amorsize", "backends", "--json"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path), **environ},
    )
    found: dict[str, Any] = json.loads(done.stdout)
    found["names"] = {row["name"] for row in found["backends"]}
    return found


def test_a_stranger_is_found(tmp_path: Path) -> None:
    found = backends_with(tmp_path, GOOD)
    assert found["names"] >= {"mine", "serial", "threads"}
    assert not found["errors"]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (RAISES, "broken on purpose"),
        (TAKEN, "taken"),
        (MISSPELT, "amorsize_backend"),
        (OLD, "contract version 99"),
        (NO_BACKEND, "not a Backend"),
    ],
)
def test_a_broken_stranger_is_told_and_harms_nobody(
    tmp_path: Path, source: str, reason: str
) -> None:
    found = backends_with(tmp_path, source)
    assert reason in found["errors"]["zz"]
    assert "mine" not in found["names"]
    assert found["names"] >= {"serial", "threads", "multiprocessing", "dask", "ray"}


def test_loading_can_be_restricted(tmp_path: Path) -> None:
    found = backends_with(tmp_path, RAISES, AMORSIZE_PLUGINS="local")
    assert found["names"] == {"serial", "threads", "multiprocessing"}
    assert not found["errors"]


def test_two_plugins_of_one_name_are_refused(tmp_path: Path) -> None:
    other = tmp_path / "other-1.0.dist-info"
    other.mkdir()
    (other / "entry_points.txt").write_text("[amorsize]\nzz = elsewhere\n")
    found = backends_with(tmp_path, GOOD)
    assert "several plugins" in found["errors"]["zz"]
