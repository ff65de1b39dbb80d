"""``amorsize run --compare``: the plain loop's results against the run's."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from amorsize.cli import main
from amorsize.cli_compare import same

SOURCE = """
import itertools
import random

import numpy as np

calls = itertools.count()

def not_a_number(x):
    return {"a": [float("nan"), str(x)], "b": (x, np.float64("nan"))}

def array(x):
    return np.array([x, np.nan])

def counted(x):
    return next(calls)

def drawn(x):
    return random.random()

def changed(x):
    x.append(len(x))
    return x

def once(x):
    if next(calls) == 20 + x:
        raise ValueError("again")
    return x
"""


class Plain:
    """Compared by identity."""

    def __init__(self, value: Any) -> None:
        self.value = value


class Sulky(Plain):
    """Does not let itself be compared."""

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no")

    __hash__ = None  # type: ignore[assignment]


def cycle() -> list[Any]:
    found: list[Any] = [float("nan")]
    found.append(found)
    return found


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Result]:
    """Runs a function of the source above."""
    path = tmp_path / "target.py"
    path.write_text(SOURCE)

    def compare(name: str, *arguments: str) -> Result:
        command = ["run", f"{path}:{name}", "--compare", *arguments]
        return CliRunner().invoke(main, command)

    return compare


@pytest.mark.parametrize("name", ["not_a_number", "array"])
@pytest.mark.parametrize("backend", ["serial", "multiprocessing"])
def test_results_without_an_equality_are_equal(
    run: Callable[..., Result], name: str, backend: str
) -> None:
    done = run(name, "--range", "12", "--backend", backend)
    assert done.exit_code == 0, done.output
    assert "plain loop" in done.output


def test_standard_input_is_read_once() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "amorsize", "run", "builtins:len", "--data", "-", "--compare"],
        input="a\nbb\n",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "plain loop" in done.stdout


def test_the_loop_gets_items_that_the_run_has_not_changed(
    run: Callable[..., Result], tmp_path: Path
) -> None:
    data = tmp_path / "items.json"
    data.write_text("[[1], [2, 3]]")
    done = run("changed", "--data", str(data), "--backend", "serial")
    assert done.exit_code == 0, done.output


def test_a_difference_is_told_after_all_is_written(
    run: Callable[..., Result], tmp_path: Path
) -> None:
    output = tmp_path / "out.jsonl"
    done = run("counted", "--range", "5", "--backend", "serial", "--output", str(output))
    assert done.exit_code == 1
    assert sorted(map(int, output.read_text().splitlines())) == list(range(5))
    assert "predicted" in done.stdout
    assert "Error: the results differ from the plain loop's, first that of item 0" in done.stderr


def test_a_difference_leaves_json_to_read(run: Callable[..., Result]) -> None:
    done = run("counted", "--range", "5", "--backend", "serial", "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["plain_loop"] > 0
    assert "differ" in done.stderr


def test_a_seed_holds_for_the_loop_too(run: Callable[..., Result]) -> None:
    assert run("drawn", "--range", "9", "--seed", "3").exit_code == 0
    assert run("drawn", "--range", "9").exit_code == 1


def test_a_loop_that_raises_is_told(run: Callable[..., Result]) -> None:
    done = run("once", "--range", "20", "--backend", "serial")
    assert done.exit_code == 1
    assert "predicted" in done.stdout
    assert "Error: the plain loop raised ValueError: again" in done.stderr
    assert "Traceback" not in done.output


@pytest.mark.parametrize("what", ["skip", "return"])
def test_errors_that_the_loop_would_not_forgive(run: Callable[..., Result], what: str) -> None:
    done = run("counted", "--range", "5", "--on-error", what)
    assert done.exit_code == 2
    assert "--compare" in done.output


NAN = float("nan")
SAME: list[Callable[[], Any]] = [
    lambda: float("nan"),
    lambda: Decimal("nan"),
    lambda: {"a": [float("nan"), (1, {"b": float("nan")})]},
    lambda: Plain([1, float("nan")]),
    lambda: Sulky("x"),
    lambda: np.arange(6.0).reshape(2, 3),
    lambda: np.array([np.nan]),
    lambda: np.float64("nan"),
    lambda: pd.DataFrame({"a": [1.0, np.nan]}),
    cycle,
]


@pytest.mark.parametrize("make", SAME)
def test_same(make: Callable[[], Any]) -> None:
    assert same(make(), make())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (NAN, -NAN),
        (np.arange(6).reshape(2, 3), np.asfortranarray(np.arange(6).reshape(2, 3))),
        (["ab" * 2, NAN], ["".join(["ab", "ab"]), -NAN]),
    ],
)
def test_same_in_another_shape(one: Any, other: Any) -> None:
    assert same(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 2),
        (cycle(), [*cycle(), 1]),
        (NAN, 0.0),
        ([NAN, 1], [NAN, 2]),
        ([NAN], [NAN, NAN]),
        ([NAN], (NAN,)),
        ({"a": NAN}, {"b": NAN}),
        (Plain(1), Plain(2)),
        (Sulky("x"), Sulky("y")),
        (np.zeros(3), np.ones(3)),
        (np.zeros(3), np.zeros(4)),
        (np.zeros(2000), np.r_[np.zeros(1000), 1, np.zeros(999)]),
        (pd.DataFrame({"a": range(200)}), pd.DataFrame({"a": [*range(100), 0, *range(101, 200)]})),
        (np.float64(1), np.float64(2)),
        (lambda: 1, lambda: 2),
    ],
)
def test_not_the_same(one: Any, other: Any) -> None:
    assert not same(one, other)
    assert not same([one], [other])
