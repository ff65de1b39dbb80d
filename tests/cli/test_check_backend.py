"""``amorsize check-backend``, as an author uses it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from amorsize.cli import main

BACKENDS = """
from concurrent.futures import ThreadPoolExecutor

import amorsize
from amorsize.backend import Availability, BackendUnavailable, Traits

class Sound(amorsize.ExecutorBackend):
    name = "sound"
    traits = Traits(shares_memory=True, shares_gil=True, rank=1)

    def executor(self, workers):
        return ThreadPoolExecutor(workers)

class Careless(Sound):
    name = "careless"

    def bind(self, options):
        return self

class Absent(Sound):
    name = "absent"

    def availability(self):
        return Availability(False, "no licence", "buy one")

    def open(self, request):
        raise BackendUnavailable("absent", "no licence", "buy one")

@amorsize.hookimpl
def amorsize_backends():
    return [Sound(), Careless(), Absent()]
"""
QUICK = ("test_options", "test_availability_is_honest", "test_equal_the_loops")

Check = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """Runs the command with a plugin on the path."""
    (tmp_path / "stranger.py").write_text(BACKENDS)
    info = tmp_path / "stranger-1.0.dist-info"
    info.mkdir()
    (info / "entry_points.txt").write_text("[amorsize]\nstranger = stranger\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        only = [word for name in QUICK for word in ("--only", name)]
        command = [sys.executable, "-m", "amorsize", "check-backend", *arguments, *only]
        environ = {**os.environ, "PYTHONPATH": path}
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environ)

    return run


def test_a_sound_backend_is_told_so(check: Check) -> None:
    done = check("sound")
    assert done.returncode == 0, done.stderr
    assert "plugin stranger" in done.stdout
    assert "ok     Unknown options are refused by name" in done.stdout
    assert "3 kept, 0 broken, 0 do not apply" in done.stdout
    assert not done.stderr


def test_a_broken_requirement_is_shown_with_its_reason(check: Check) -> None:
    done = check("careless")
    assert done.returncode == 1
    assert "BROKEN Unknown options are refused by name" in done.stdout
    assert "bind() accepted an option called no_such_option" in done.stdout
    assert "alone: --only test_options" in done.stdout
    assert done.stdout.endswith("careless breaks the contract\n")


def test_a_backend_that_cannot_be_used_is_not_called_sound(check: Check) -> None:
    done = check("absent")
    assert done.returncode == 1
    assert "no licence" in done.stdout
    assert "nothing is proven" in done.stdout


def test_json_is_one_object(check: Check) -> None:
    done = check("careless", "--json")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert (found["backend"], found["usable"], found["conforms"]) == ("careless", True, False)
    verdicts = {row["check"]: row["status"] for row in found["rows"]}
    assert verdicts == {
        "test_options": "fail",
        "test_availability_is_honest": "pass",
        "test_equal_the_loops": "pass",
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no-such-backend"], "known backends"),
        (["threads", "--only", "test_nothing"], "no such checks: test_nothing"),
    ],
)
def test_what_does_not_exist_is_named(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(main, ["check-backend", *arguments])
    assert result.exit_code == 1
    assert message in result.output
