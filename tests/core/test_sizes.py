"""What sizes of items tell about those that did not run."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import amorsize
from amorsize.blocks import Block, Blocks
from amorsize.relation import relation
from amorsize.sizes import LOOKED_AT, Sized, sizes_of
from amorsize.source import source_of


@pytest.fixture(autouse=True)
def _unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is busy may look at fewer items in its time than tell anything."""
    monkeypatch.setattr("amorsize.sizes._BUDGET_S", math.inf)


def told_by(data: Any, seconds: list[float], positions: list[int]) -> Sized | None:
    """What sizes tell if the items at some positions took as long as all of ``seconds`` say."""
    found = sizes_of(source_of(data))
    return None if found is None else found.follow([((n, n + 1), seconds[n]) for n in positions])


def test_seconds_in_proportion_to_a_size_are_found() -> None:
    draw = random.Random(1)
    sizes = [draw.lognormvariate(0, 1) for _ in range(8)]
    found = relation(sizes, [0.003 * size * draw.uniform(0.9, 1.1) for size in sizes])
    assert found is not None
    assert found.at(100.0) == pytest.approx(0.3, rel=0.1)


def test_a_constant_part_and_a_power_are_found() -> None:
    sizes = [1.0, 2.0, 3.0, 5.0, 8.0, 9.0, 12.0]
    line = relation(sizes, [0.1 + 0.01 * size for size in sizes])
    cubic = relation(sizes, [1e-5 * size**3 for size in sizes])
    assert line is not None
    assert cubic is not None
    assert line.at(50.0) == pytest.approx(0.6, rel=0.01)
    assert cubic.at(50.0) == pytest.approx(1.25, rel=0.01)


@pytest.mark.parametrize(("likely", "most"), [(False, 10), (True, 40)])
@pytest.mark.parametrize("points", [3, 5, 8, 15])
def test_chance_makes_no_relation_more_often_than_it_should(
    points: int, likely: bool, most: int
) -> None:
    draw = random.Random(points)

    def drawn() -> list[float]:
        return [draw.lognormvariate(0, 1) for _ in range(points)]

    assert sum(relation(drawn(), drawn(), likely=likely) is not None for _ in range(500)) <= most


def test_equal_sizes_and_falling_times_tell_nothing() -> None:
    assert relation([2.0] * 6, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]) is None
    assert relation([1.0, 2.0, 3.0, 4.0, 5.0], [5.0, 4.0, 3.0, 2.0, 1.0]) is None
    assert relation([1.0, 2.0], [1.0, 2.0]) is None


@pytest.mark.parametrize(
    ("items", "what"),
    [
        ([n % 7 + 1 for n in range(50)], "value"),
        (["x" * (n % 7 + 1) for n in range(50)], "length"),
        ([[0] * (n % 7 + 1) for n in range(50)], "length"),
        ([np.zeros(n % 7 + 1) for n in range(50)], "bytes"),
        ([np.float64(n % 7 + 1) for n in range(50)], "value"),
        (np.array([n % 7 + 1 for n in range(50)]), "value"),
        ([("name", n % 7 + 1, None) for n in range(50)], "value of part 1"),
        ([(b"", "x" * (n % 7 + 1)) for n in range(50)], "length of part 1"),
    ],
)
def test_what_counts_as_a_size(items: Any, what: str) -> None:
    seconds = [0.01 * (n % 7 + 1) for n in range(50)]
    found = told_by(items, seconds, [1, 9, 17, 25, 33, 41])
    assert found is not None
    assert found.what == what
    assert found.mean_s == pytest.approx(sum(seconds) / 50, rel=0.05)


@pytest.mark.parametrize("kind", [str, Path])
def test_files_by_their_size(tmp_path: Path, kind: type) -> None:
    paths = []
    for n in range(40):
        path = tmp_path / f"{n:08}"
        path.write_bytes(bytes(1000 * (n % 7 + 1)))
        paths.append(kind(path))
    seconds = [0.01 * (n % 7 + 1) for n in range(40)]
    found = told_by(paths, seconds, [1, 9, 17, 25])
    assert found is not None
    assert found.what == "file size"


class _Loud:
    """Looking at it would run a user's code."""

    def __len__(self) -> int:
        raise AssertionError("nobody asked")

    __float__ = __len__


def test_no_code_of_the_user_runs() -> None:
    seconds = [0.01 * (n + 1) for n in range(20)]
    assert told_by([_Loud() for _ in range(20)], seconds, [0, 4, 8, 12, 16]) is None
    assert told_by([(_Loud(), None) for _ in range(20)], seconds, [0, 4, 8, 12, 16]) is None


def test_items_of_several_kinds_and_missing_files_have_no_size() -> None:
    seconds = [0.01 * (n + 1) for n in range(20)]
    assert told_by([1, "two"] * 10, seconds, [0, 4, 8, 12, 16]) is None
    assert told_by(["/nowhere/a"] * 20, seconds, [0, 4, 8, 12, 16]) is None
    assert told_by([True, False] * 10, seconds, [0, 4, 8, 12, 16]) is None
    assert told_by([10**400, 1] * 10, seconds, [0, 4, 8, 12, 16]) is None
    assert told_by([1e300 * n for n in range(20)], seconds, [0, 4, 8, 12, 16]) is None


def test_of_much_data_only_some_is_looked_at() -> None:
    data = [float(n % 100) for n in range(1_000_000)]
    found = told_by(data, [1e-6 * (n % 100) for n in range(1000)], [3, 50, 77, 20, 99])
    assert found is not None
    assert len(found.expected) <= LOOKED_AT


def test_sizes_are_looked_at_once() -> None:
    source = source_of([1.0, 2.0, 3.0])
    assert sizes_of(source) is not None
    assert sizes_of(source) is sizes_of(source)
    assert sizes_of(source_of(iter([1, 2]))) is None


def test_giants_are_those_that_are_much_larger_than_the_middle_one() -> None:
    def giants(data: Any, most: int = 2) -> list[int]:
        found = sizes_of(source_of(data))
        assert found is not None
        return found.giants(8.0, 4.0, most)

    assert giants([1.0] * 50 + [9.0, 20.0, 10.0, 7.0]) == [51, 52]
    assert giants([1.0] * 50 + [9.0, 20.0, 10.0, 7.0], most=0) == []
    assert giants([float(n) for n in range(100)]) == []
    assert giants([0.0] * 99 + [1.0]) == []  # of nothing, everything is a multiple
    assert giants([1.0] * 9) == []


def test_a_plan_knows_of_the_large_items_that_it_did_not_sample(
    lasts: Callable[[float], None],
) -> None:
    def work(n: int) -> int:
        lasts(1e-8 * n)
        return n

    draw = random.Random(4)
    data = [int(20_000 * draw.lognormvariate(0, 1.5)) for _ in range(400)]
    plan = amorsize.plan(work, data)
    profile = plan.profile
    assert profile.sizing is not None
    assert profile.sizing.what == "value"
    assert profile.longest_s > 5 * profile.item_s
    assert "items take longer by their value" in str(plan)
    assert plan.to_dict()["profile"]["sizing"]["what"] == "value"
    usual = sum(data) / len(data) / max(data)
    assert profile.item_s / profile.longest_s == pytest.approx(usual, rel=0.3)


def _sampled(data: list[float], seconds: list[float], positions: list[int]) -> float:
    """Mean seconds that blocks of one item each tell of the others; the first is the first call."""
    seen = Blocks(source_of(data))
    seen.all = [Block(n, [None], seconds[n], seconds[n], seconds[n]) for n in positions]
    return seen.estimate(closely=True).mean_s


def test_a_first_call_counts_if_its_size_explains_what_it_took() -> None:
    data = [4.0 - n / 125 for n in range(500)]  # the first ones are the longest
    seconds = [0.001 * size * (1.0 + n % 3 / 40) for n, size in enumerate(data)]
    assert _sampled(data, seconds, [0, 250, 59, 131]) == pytest.approx(0.002, rel=0.1)


def test_a_first_call_that_builds_something_does_not_count() -> None:
    data = [4.0 - n / 125 for n in range(500)]
    seconds = [0.001 * size for size in data]
    seconds[0] = 0.5
    assert _sampled(data, seconds, [0, 250, 59, 131, 322, 13]) == pytest.approx(0.002, rel=0.1)
