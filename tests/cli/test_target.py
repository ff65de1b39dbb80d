"""The function that the command line names, and what it finds where it runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from amorsize.cli import main

SOURCE = """
def where(x):
    import lies_beside

    return lies_beside.NAME

def script(x):
    import sys

    return sys.argv[0]
"""


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "folder" / "target.py"
    path.parent.mkdir()
    path.write_text(SOURCE)
    return path


def results(function: str, path: Path) -> list[object]:
    output = str(path / "out.jsonl")
    done = CliRunner().invoke(main, ["run", function, "--range", "2", "--output", output])
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in Path(output).read_text().splitlines()]


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_find_what_lies_beside_the_file(target: Path, method: str) -> None:
    (target.parent / "lies_beside.py").write_text("NAME = 'beside'")
    how = ["--backend", "multiprocessing", "--option", f"start_method={method}", "--workers", "2"]
    command = ["run", f"{target}:where", "--range", "4", *how, "--output", "-"]
    done = subprocess.run(
        [sys.executable, "-m", "amorsize", *command], capture_output=True, text=True, check=False
    )
    assert done.stdout == '"beside"\n' * 4, done.stderr


def test_what_lies_beside_the_file_comes_first(
    target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (target.parent / "lies_beside.py").write_text("NAME = 'beside'")
    (tmp_path / "lies_beside.py").write_text("NAME = 'in the current directory'")
    monkeypatch.chdir(tmp_path)
    link = tmp_path / "link.py"
    link.symlink_to(target)  # the folder is that of the file itself, as for scripts
    assert results(f"{link}:where", tmp_path) == ["beside"] * 2


def test_the_file_seems_to_be_the_script(target: Path, tmp_path: Path) -> None:
    assert results(f"{target}:script", tmp_path) == [str(target)] * 2
