"""The command line, as a person and as a program use it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from amorsize import calibrate_command
from amorsize.cli import main

SOURCE = """
import time

def double(x):
    return 2 * int(x)

def picky(x):
    if x == 7:
        raise ValueError("seven")
    return x
"""


@pytest.fixture
def target(tmp_path: Path) -> str:
    path = tmp_path / "target.py"
    path.write_text(SOURCE)
    return str(path)


def invoke(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, arguments)
    return result.exit_code, result.output


def test_plan_explains_or_prints_json(target: str) -> None:
    code, text = invoke("plan", f"{target}:double", "--range", "100")
    assert code == 0
    assert "Plan: serial" in text
    code, text = invoke("plan", f"{target}:double", "--range", "100", "--json")
    assert code == 0
    assert json.loads(text)["items"] == 100


def test_run_compares_and_writes(target: str, tmp_path: Path) -> None:
    data, out = tmp_path / "items.txt", tmp_path / "out.jsonl"
    data.write_text("1\n2\n3\n")
    code, text = invoke(
        "run", f"{target}:double", "--data", str(data), "--output", str(out), "--compare"
    )
    assert code == 0
    assert out.read_text() == "2\n4\n6\n"
    assert "plain loop" in text
    assert "predicted" in text


@pytest.mark.parametrize(
    ("name", "text"), [("a.json", "[1, 2]"), ("a.jsonl", "1\n2\n"), ("a.txt", "1\n2\n")]
)
def test_data_by_extension(target: str, tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    code, output = invoke("run", f"{target}:double", "--data", str(path), "--json")
    assert code == 0
    assert json.loads(output)["plan"]["items"] == 2


def test_range_with_bounds_and_module_target() -> None:
    code, output = invoke("run", "math:factorial", "--range", "3:9:2", "--json")
    assert code == 0
    assert json.loads(output)["plan"]["sampled"] >= 1


def test_an_item_that_raises_is_named(target: str) -> None:
    code, output = invoke("run", f"{target}:picky", "--range", "20")
    assert code == 1
    assert "ValueError: seven" in output
    assert "item 7" in output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["plan", "math:sqrt", "--range", "3", "--backend", "dusk"], 1, "known backends"),
        (["plan", "math:sqrt", "--range", "3", "--workers", "0"], 1, "workers"),
        (["plan", "math:nothing", "--range", "3"], 2, "nothing"),
        (["plan", "math", "--range", "3"], 2, "package.module:function"),
        (["plan", "math:sqrt"], 2, "--data"),
        (["plan", "math:sqrt", "--range", "x"], 2, "--range"),
        (["plan", "math:sqrt", "--range", "3", "--option", "x"], 2, "KEY=VALUE"),
    ],
)
def test_bad_command_lines(arguments: list[str], code: int, message: str) -> None:
    found, output = invoke(*arguments)
    assert found == code
    assert message in output


def test_backends_lists_all_five() -> None:
    code, output = invoke("backends", "--json")
    assert code == 0
    names = {row["name"] for row in json.loads(output)["backends"]}
    assert names >= {"serial", "threads", "multiprocessing", "dask", "ray"}
    assert invoke("backends")[1].startswith("name")


def test_probe_and_calibrate_have_tables_and_json() -> None:
    assert json.loads(invoke("probe", "--json")[1])["workers"] >= 1
    assert "usable:" in invoke("probe")[1]
    again = ("calibrate", "--backend", "threads", "--refresh", "--json")
    costs = json.loads(invoke(*again)[1])["threads"]
    assert costs["dispatch_s"]["checks"]  # measured now, whatever a busy machine makes of it
    assert costs["slots"]["origin"] == "measured"  # nothing to be checked against
    assert "cached" in invoke("calibrate", "--backend", "threads")[1]


def test_module_runs_and_reads_standard_input() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "amorsize", "run", "builtins:len", "--data", "-", "--output", "-"],
        input="a\nbb\n",
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "1\n2\n"
    assert "Plan:" in done.stderr


def test_calibrate_takes_options_that_are_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[Any] = []

    def measure(backend: Any, *, refresh: bool) -> Any:
        measured.append(backend.num_cpus)
        raise RuntimeError("not now")

    monkeypatch.setattr(calibrate_command, "_measured", measure)
    code, output = invoke("calibrate", "--backend", "ray", "--option", "num_cpus=2")
    assert measured == [2]
    assert code == 1
    assert "ray could not be measured: not now" in output
    assert invoke("calibrate", "--backend", "ray", "--option", "num_cpus")[0] == 2
