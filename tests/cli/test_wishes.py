"""What ``amorsize plan`` and ``amorsize run`` pass on to the library."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from amorsize.cli import main

SOURCE = """
import random
import time

FAILED = set()

def picky(x):
    if x == 7:
        raise ValueError("seven")
    return x

def flaky(x):
    if x == 7 and x not in FAILED:
        FAILED.add(x)
        raise ValueError("seven")
    return x

def noted(path):
    with open(path, "a") as file:
        file.write(".")
    return len(path)

def long(x):
    time.sleep(5 if x == 3 else 0.001)
    return x

def drawn(x):
    return random.random()
"""


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "target.py"
    path.write_text(SOURCE)
    return path


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def results(*arguments: str) -> list[object]:
    done = invoke("run", *arguments, "--output", "-")
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_failed_items_are_left_out_or_stand_in_their_places(target: Path) -> None:
    items = (f"{target}:picky", "--range", "9")
    assert results(*items, "--on-error", "skip") == [0, 1, 2, 3, 4, 5, 6, 8]
    found = results(*items, "--on-error", "return")
    assert "item 7" in str(found.pop(7))
    assert found == [0, 1, 2, 3, 4, 5, 6, 8]
    done = invoke("run", *items, "--on-error", "raise")
    assert done.exit_code == 1
    assert "raised by item 7" in done.output


def test_a_plan_goes_by_them_too(target: Path) -> None:
    items = (f"{target}:picky", "--range", "7:9", "--backend", "serial")
    assert invoke("plan", *items).exit_code == 1
    assert invoke("plan", *items, "--on-error", "skip").exit_code == 0


def test_items_that_raise_are_tried_again(target: Path) -> None:
    items = (f"{target}:flaky", "--range", "9", "--backend", "serial")
    assert results(*items, "--retries", "1") == list(range(9))
    done = invoke("run", f"{target}:picky", "--range", "9", "--retries", "1")
    assert done.exit_code == 1
    assert "failed in 2 attempts" in done.output


def run_limited(target: Path, limit: str) -> Result:
    """Run items of which one takes long, with a limit of 0.2 s."""
    done = invoke("run", f"{target}:long", "--range", "6", "--backend", "serial", limit, "0.2")
    assert done.exit_code == 1
    return done


def test_an_item_beyond_its_limit_is_named(target: Path) -> None:
    done = run_limited(target, "--timeout")
    assert "Error: the item took longer than its timeout of 0.2 s" in done.output
    assert "raised by item 3" in done.output


def test_a_run_ends_at_its_deadline(target: Path) -> None:
    done = run_limited(target, "--deadline")
    assert "Error: the run was not finished within its deadline of 0.2 s" in done.output
    assert "Traceback" not in done.output


def test_items_draw_numbers_of_their_own(target: Path) -> None:
    items = (f"{target}:drawn", "--range", "8", "--seed", "5")
    assert results(*items) == results(*items, "--backend", "multiprocessing", "--workers", "2")
    assert results(*items) != results(f"{target}:drawn", "--range", "8", "--seed", "6")


def test_a_journal_keeps_what_is_done(target: Path, tmp_path: Path) -> None:
    data, seen, journal = tmp_path / "items.txt", tmp_path / "seen", tmp_path / "run.sqlite"
    data.write_text(f"{seen}\n" * 6)
    items = (f"{target}:noted", "--data", str(data), "--journal", str(journal))
    assert invoke("plan", *items).exit_code == 0
    assert journal.exists()
    first = results(*items)
    assert first == results(*items) == [len(str(seen))] * 6
    assert seen.read_text() == "......"


def test_a_journal_of_something_else_is_refused(target: Path, tmp_path: Path) -> None:
    journal = str(tmp_path / "run.sqlite")
    assert invoke("run", "math:sqrt", "--range", "9", "--journal", journal).exit_code == 0
    done = invoke("run", f"{target}:picky", "--range", "7", "--journal", journal)
    assert done.exit_code == 1
    assert "Error: journal" in done.output


def test_progress_is_shown_where_it_is_wished_for() -> None:
    shown = invoke("run", "math:sqrt", "--range", "9", "--progress")
    assert "9/9 items" in shown.stderr
    assert "9/9 items" not in shown.stdout
    for silent in ([], ["--no-progress"]):
        assert not invoke("run", "math:sqrt", "--range", "9", *silent).stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--retries", "-1"], 1, "retries must be"),
        (["--timeout", "0"], 1, "timeout must be"),
        (["--deadline", "0"], 1, "deadline must be"),
        (["--seed", "-1"], 1, "seed must be"),
        (["--on-error", "ignore"], 2, "'raise', 'skip', 'return'"),
    ],
)
@pytest.mark.parametrize("command", ["plan", "run"])
def test_wishes_that_cannot_be(command: str, arguments: list[str], code: int, message: str) -> None:
    done = invoke(command, "math:sqrt", "--range", "3", *arguments)
    assert done.exit_code == code
    assert message in done.output
