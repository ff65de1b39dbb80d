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
NAMELESS = GOOD.replace('name = "mine"', "name = None")
SICK = (
    GOOD.replace(
        'name = "mine"',
        """name = "mine"
    def availability(self):
        raise OSError("licence server down")
""",
    )
    + """
@hookimpl
def amorsize_recognise(engine):
    raise OSError("cannot say")
"""
)
CLUELESS = GOOD.replace(
    'name = "mine"',
    """name = "mine"
    def capacity(self, limits):
        raise OSError("no answer")
""",
)
NO_BACKEND = GOOD.replace("[Mine()]", "['mine']")


def _path(tmp_path: Path) -> str:
    return os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])


def output_with(path: Path, *arguments: str, **environ: str) -> str:
    """What an interpreter prints that has one more folder on its path."""
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": _path(path), **environ},
    )
    return done.stdout


def backends_with(
    tmp_path: Path, source: str, *, point: str = "zz", **environ: str
) -> dict[str, Any]:
    """What ``amorsize backends`` reports with one more distribution on the path."""
    (tmp_path / "stranger.py").write_text(source)
    info = tmp_path / "stranger-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[other]\na = b\n[amorsize]\n{point} = stranger\n")
    told = output_with(tmp_path, "-m", "amorsize", "backends", "--json", **environ)
    found: dict[str, Any] = json.loads(told)
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
        (OLD, "contract version 99, this amorsize has 1: install a newer amorsize"),
        (NAMELESS, "has no name"),
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


@pytest.mark.parametrize(("point", "key"), [("aa", "aa"), ("local", "local = stranger")])
def test_nobody_takes_amorsizes_own_names(tmp_path: Path, point: str, key: str) -> None:
    found = backends_with(tmp_path, TAKEN, point=point)
    assert found["errors"].keys() == {key}
    assert found["names"] >= {"serial", "threads", "multiprocessing", "dask", "ray"}
    (row,) = [row for row in found["backends"] if row["name"] == "serial"]
    assert row["plugin"] == "local"


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


def test_a_restriction_to_what_is_not_installed_is_told(tmp_path: Path) -> None:
    found = backends_with(tmp_path, GOOD, AMORSIZE_PLUGINS="local, zz,nowhere")
    assert found["names"] == {"serial", "threads", "multiprocessing", "mine"}
    assert found["errors"].keys() == {"nowhere"}
    assert "not installed" in found["errors"]["nowhere"]


def test_an_empty_restriction_loads_nothing(tmp_path: Path) -> None:
    found = backends_with(tmp_path, GOOD, AMORSIZE_PLUGINS="")
    assert not found["names"]
    assert not found["errors"]


def test_importing_amorsize_and_looping_loads_no_stranger(tmp_path: Path) -> None:
    backends_with(tmp_path, GOOD)
    code = "import sys, amorsize; amorsize.map(abs, range(99)); print('stranger' in sys.modules)"
    assert output_with(tmp_path, "-c", code).strip() == "False"


@pytest.mark.parametrize("value", ["", "ray"])
def test_importing_amorsize_loads_no_plugin_that_is_not_wanted(tmp_path: Path, value: str) -> None:
    code = "import sys, amorsize; print('amorsize_local' in sys.modules)"
    assert output_with(tmp_path, "-c", code, AMORSIZE_PLUGINS=value).strip() == "False"


@pytest.mark.parametrize("age_s", [0, 3600])
def test_what_is_installed_after_the_import_is_found(tmp_path: Path, age_s: int) -> None:
    """Also in a folder of which the file system does not tell that it has changed since, because
    it had changed a moment before.
    """
    (tmp_path / "stranger.py").write_text(GOOD)
    code = f"""
import os, time
then = time.time() - {age_s}
os.utime({str(tmp_path)!r}, (then, then))
import amorsize
os.mkdir({str(tmp_path / "stranger-1.0.dist-info")!r})
with open({str(tmp_path / "stranger-1.0.dist-info" / "entry_points.txt")!r}, "w") as file:
    file.write("[amorsize]\\nzz = stranger\\n")
if {age_s} == 0:
    os.utime({str(tmp_path)!r}, (then, then))
from amorsize.plugins import registry
print(*registry().backends)
"""
    assert "mine" in output_with(tmp_path, "-c", code).split()


def test_a_backend_that_cannot_say_whether_it_is_usable_harms_nobody(tmp_path: Path) -> None:
    found = backends_with(tmp_path, SICK)
    (row,) = [row for row in found["backends"] if row["name"] == "mine"]
    assert not row["usable"]
    assert "licence server down" in row["reason"]
    code = """
import time
from concurrent.futures import ThreadPoolExecutor
import amorsize

def work(x):
    time.sleep(0.01)
    return x

plan = amorsize.plan(work, range(60))
assert plan.run() == list(range(60))
print(*(f"{r.backend}: {r.reason}" for r in plan.refused))
with ThreadPoolExecutor(2) as executor:
    assert amorsize.map(work, range(20), backend=executor) == list(range(20))
"""
    told = output_with(tmp_path, "-c", code)
    assert "mine: its availability() raised OSError: licence server down" in told


def test_a_backend_that_fails_in_a_plan_is_refused_there(tmp_path: Path) -> None:
    backends_with(tmp_path, CLUELESS)
    code = """
import time, amorsize
plan = amorsize.plan(lambda x: time.sleep(0.01), range(60))
assert plan.run() == [None] * 60
print(*(f"{r.backend}: {r.reason}" for r in plan.refused))
"""
    told = output_with(tmp_path, "-c", code)
    assert "mine: it fails when it is asked: OSError: no answer" in told
