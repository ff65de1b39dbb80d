"""What ``amorsize run`` reads and writes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from amorsize.cli import main

ODD = """
class Mute:
    def __repr__(self):
        raise ValueError("no words")

def odd(x):
    endless = []
    endless.append(endless)
    return [x, {(1, 2): 3}, endless, 10**5000, Mute(), "plain"][x]

def noted(x):
    open(__file__ + ".ran", "a").close()
    return x
"""


@pytest.fixture
def target(tmp_path: Path) -> str:
    path = tmp_path / "target.py"
    path.write_text(ODD)
    return str(path)


def test_what_is_no_json_is_its_repr(target: str, tmp_path: Path) -> None:
    """And one that has none costs no other result."""
    out = tmp_path / "out.jsonl"
    done = CliRunner().invoke(main, ["run", f"{target}:odd", "--range", "6", "--output", str(out)])
    assert done.exit_code == 0, done.output
    number, keys, endless, many_digits, mute, plain = map(json.loads, out.read_text().splitlines())
    assert (number, plain) == (0, "plain")
    assert (keys, endless) == ("{(1, 2): 3}", "[[...]]")
    assert "int object" in many_digits
    assert "Mute object" in mute


@pytest.mark.parametrize("where", ["missing/out", "", "."])
def test_an_output_that_cannot_be_written_is_refused_before_the_run(
    target: str, tmp_path: Path, where: str
) -> None:
    path = str(tmp_path / where) if where else ""
    done = CliRunner().invoke(main, ["run", f"{target}:noted", "--range", "3", "--output", path])
    assert done.exit_code == 2
    assert "--output" in done.output
    assert not Path(target + ".ran").exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is full")
def test_a_full_disk_is_told_in_a_line(target: str) -> None:
    done = CliRunner().invoke(
        main, ["run", f"{target}:noted", "--range", "3", "--output", "/dev/full"]
    )
    assert (done.exit_code, done.output.count("\n")) == (1, 1)
    assert "/dev/full" in done.output


@pytest.mark.parametrize(
    ("name", "text", "items"),
    [
        ("lines.txt", "a\u2028b\x0cc\r\nd\n\n", ["a\u2028b\x0cc", "d", ""]),
        ("values.jsonl", '"a\u2028b"\n"c"', ["a\u2028b", "c"]),
        ("marked.txt", "\ufeffa\nb", ["a", "b"]),
        ("marked.json", "\ufeff[1]", [1]),
        ("empty.txt", "", []),
    ],
)
def test_items_are_what_the_file_holds(
    tmp_path: Path, name: str, text: str, items: list[object]
) -> None:
    """Lines end where those of files do, and a mark of the encoding is no part of the first."""
    data, out = tmp_path / name, tmp_path / "out.jsonl"
    data.write_text(text, encoding="utf-8", newline="")
    done = CliRunner().invoke(main, ["run", "copy:copy", "--data", str(data), "--output", str(out)])
    assert done.exit_code == 0, done.output
    assert [json.loads(line) for line in out.read_text().splitlines()] == items


def test_a_line_that_is_no_json_is_named(tmp_path: Path) -> None:
    data = tmp_path / "values.jsonl"
    data.write_text("1\n\n2\n")
    done = CliRunner().invoke(main, ["plan", "copy:copy", "--data", str(data)])
    assert done.exit_code == 2
    assert "line 2" in done.output
