"""What callers pass: wrong values are told before anything runs, and nothing is used up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import amorsize
from amorsize.errors import PlanInfeasible


def double(item: int) -> int:
    return 2 * item


WRONG: list[dict[str, Any]] = [
    {"workers": "2"},
    {"workers": True},
    {"chunk_size": 1.5},
    {"retries": -1},
    {"timeout": float("nan")},
    {"timeout": 0},
    {"deadline": "soon"},
    {"voices": "no"},
    {"journal": 5},
    {"backend": "multiprocessing", "options": ["start_method"]},
    {"backend": "multiprocessing", "options": {1: 2}},
    {"backend": "multiprocessing", "options": {"start_methode": "spawn"}},
    {"options": {"start_method": "spawn"}},
    {"backend": "dask", "options": {"wait_s": "long"}},
    {"backend": "dask", "options": {"wait_s": -1}},
]


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_a_wrong_value_is_told_before_anything_runs(wrong: dict[str, Any]) -> None:
    if wrong.get("backend") == "dask":
        pytest.importorskip("distributed")
    ran: list[int] = []
    with pytest.raises(amorsize.InvalidArgument) as told:
        amorsize.map(ran.append, range(100), **wrong)
    assert not ran
    text = str(told.value)
    assert any(name in text for name in ["option", "wait_s", *wrong])


@pytest.mark.parametrize(
    "wrong", [{"observers": print}, {"observers": [1]}, {"progress": 1}], ids=str
)
def test_who_watches_is_checked_before_anything_runs(wrong: dict[str, Any]) -> None:
    ran: list[int] = []
    with pytest.raises(amorsize.InvalidArgument, match="observer"):
        amorsize.map(ran.append, range(100), **wrong)
    assert not ran


def test_whole_numbers_may_be_of_any_type_and_a_limit_of_any_size() -> None:
    np = pytest.importorskip("numpy")
    made = amorsize.plan(double, range(9), workers=np.int64(2), retries=np.int8(1), timeout=1e12)
    assert made.run() == [double(item) for item in range(9)]


def test_an_unknown_argument_is_told_with_those_that_there_are() -> None:
    with pytest.raises(TypeError, match=r"'n_jobs'.*workers.*on_error.*journal"):
        amorsize.map(double, range(9), n_jobs=2)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"run\(\)"):
        amorsize.plan(double, range(9), progress=True)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    "wrong", [{"workers": [0]}, {"workers": [1.5]}, {"workers": 4}, {"workers": [2], "cores": 0}]
)
def test_what_if_of_numbers_that_cannot_be(wrong: dict[str, Any]) -> None:
    made = amorsize.plan(double, range(9))
    with pytest.raises(amorsize.InvalidArgument, match=r"workers|cores"):
        made.what_if(**wrong)


@pytest.mark.parametrize("wrong", ["2", 1.5, True, 0])
def test_an_executor_of_no_whole_number_of_workers(wrong: Any) -> None:
    with pytest.raises(amorsize.InvalidArgument, match="max_workers"):
        amorsize.Executor(wrong)


def items(read: list[int]) -> Iterator[int]:
    for item in range(200):
        read.append(item)
        yield item


@pytest.mark.parametrize(
    "wrong",
    [
        {"backend": "dsk"},
        {"backend": "threads", "options": {"no": 1}},
        {"options": {"start_method": "fork"}},
        {"observers": print},
        {"progress": 1},
        {"journal": 5},
        {"journal": Path("no", "such", "folder")},
    ],
    ids=str,
)
def test_a_run_that_does_not_begin_uses_nothing_up(wrong: dict[str, Any]) -> None:
    read: list[int] = []
    made = amorsize.plan(double, items(read))
    taken = len(read)
    with pytest.raises(amorsize.AmorsizeError):
        made.run(**wrong)
    with pytest.raises(amorsize.AmorsizeError):
        list(made.stream(**wrong))
    made.stream().close()
    assert len(read) == taken
    assert made.run() == [double(item) for item in range(200)]
    with pytest.raises(amorsize.PlanConsumed):
        made.run()


def test_of_two_streams_over_one_iterator_the_second_is_told() -> None:
    made = amorsize.plan(double, items([]))
    first, second = made.stream(), made.stream()
    assert next(first) == 0
    with pytest.raises(amorsize.PlanConsumed):
        next(second)
    assert list(first) == [double(item) for item in range(1, 200)]


def test_options_are_those_of_one_backend() -> None:
    made = amorsize.plan(
        double, range(50), backend="multiprocessing", options={"start_method": "spawn"}
    )
    expected = [double(item) for item in range(50)]
    assert made.run("threads") == expected
    assert made.run("serial") == expected
    assert made.run("multiprocessing", options={"start_method": "forkserver"}) == expected
    assert made.run() == expected
    assert made.arguments().start_method == "spawn"
    method = made.arguments("multiprocessing", options={"start_method": "forkserver"})
    assert method.start_method == "forkserver"


@pytest.mark.parametrize("anything", [None, "auto"])
def test_no_backend_is_the_best_one(anything: Any) -> None:
    expected = [double(item) for item in range(50)]
    assert amorsize.map(double, range(50), backend=anything) == expected
    made = amorsize.plan(double, range(50), backend=anything)
    assert made.run(anything) == expected
    assert list(made.stream(anything)) == expected


def test_without_the_loop_the_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from amorsize import planning
    from amorsize.plugins import Registry

    monkeypatch.setattr(planning, "registry", Registry)
    monkeypatch.setattr(planning.Planning, "_why_serial", lambda self: "")
    with pytest.raises(PlanInfeasible, match="AMORSIZE_PLUGINS"):
        amorsize.plan(double, range(1000))
