"""What a type checker of a user knows about results: mypy checks the ``assert_type`` of this file
as it checks any other, and here it runs.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from inspect import signature
from typing import TYPE_CHECKING, Any, assert_type, get_type_hints

import pytest

import amorsize


def text(x: float) -> str:
    return f"{x:.1f}"


def half(x: int) -> float:
    return x / 2


def inverse(x: int) -> float:
    return 1 / x


def test_a_map_gives_what_the_function_returns() -> None:
    results = assert_type(amorsize.map(text, [1, 2.5]), list[str])
    assert results == ["1.0", "2.5"]
    assert_type(amorsize.map(half, range(4), backend="serial", retries=1), list[float])
    assert_type(amorsize.map(abs, [-1, 2]), list[int])
    assert_type(amorsize.map(lambda word: word.upper(), ["a"]), list[str])
    assert_type(amorsize.map(str, iter([1])), list[str])


def test_items_must_suit_the_function() -> None:
    with pytest.raises(TypeError):
        amorsize.map(half, ["1"])  # type: ignore[arg-type]
    with pytest.raises(amorsize.NotCallable):
        amorsize.map(half(1), [1])  # type: ignore[arg-type]
    with pytest.raises(amorsize.NotIterable):
        amorsize.map(half, 1)  # type: ignore[arg-type]
    with pytest.raises(amorsize.InvalidArgument):
        amorsize.map(half, [1], on_error="ignore")  # type: ignore[arg-type]


def test_maps_on_clusters_are_typed_alike() -> None:
    if TYPE_CHECKING:  # engines take seconds to start
        assert_type(amorsize.dask_map(text, [1.0], None, timeout=1), list[str])
        assert_type(amorsize.ray_map(text, [1.0]), list[str])

    for call in (amorsize.dask_map, amorsize.ray_map):
        assert get_type_hints(call)["return"] == get_type_hints(amorsize.map)["return"]


def test_streams_and_plans() -> None:
    with assert_type(amorsize.imap(text, range(3)), amorsize.Stream[str]) as stream:
        assert assert_type(next(stream), str) == "0.0"
        assert [assert_type(result, str) for result in stream] == ["1.0", "2.0"]
    plan = assert_type(amorsize.plan(half, range(3)), amorsize.Plan[float])
    assert assert_type(plan.run(), list[float]) == [0.0, 0.5, 1.0]
    assert list(assert_type(plan.stream(ordered=False), amorsize.Stream[float])) == plan.run()


def test_a_plan_of_more_is_a_plan_of_less() -> None:
    def total(plan: amorsize.Plan[float], stream: Iterator[float]) -> float:
        return sum(plan.run()) + sum(stream)

    assert total(amorsize.plan(abs, [-1]), amorsize.imap(abs, [-1, 2])) == 4


def test_errors_in_the_place_of_results_are_annotated_by_the_caller() -> None:
    results: list[float | amorsize.ItemError]
    results = amorsize.map(inverse, [1, 2, 0], on_error="return")
    failed = [result for result in results if isinstance(result, amorsize.ItemError)]
    assert [error.index for error in assert_type(failed, list[amorsize.ItemError])] == [2]


def test_the_executor_is_typed_as_any() -> None:
    def power(base: int, exponent: int) -> int:
        return int(base**exponent)

    with amorsize.Executor() as executor:
        future = assert_type(executor.submit(power, 2, exponent=3), Future[int])
        assert future.result() == 8
        results = assert_type(executor.map(power, [2, 3], [3, 2]), Iterator[int])
        assert list(results) == [8, 9]
        with pytest.raises(TypeError):
            executor.submit(power, 2).result()  # type: ignore[call-arg]


def test_types_can_be_written_at_run_time() -> None:
    for generic in (amorsize.Plan, amorsize.Stream):
        alias = generic[int]
        assert alias.__origin__ is generic
        assert pickle.loads(pickle.dumps(alias)) == alias
        assert pickle.loads(pickle.dumps(generic)) is generic


@pytest.mark.parametrize(
    "public",
    [
        amorsize.map,
        amorsize.imap,
        amorsize.plan,
        amorsize.dask_map,
        amorsize.ray_map,
        amorsize.rng,
        amorsize.Plan.run,
        amorsize.Plan.stream,
        amorsize.Plan.arguments,
        amorsize.Plan.what_if,
        amorsize.Executor.map,
        amorsize.Executor.submit,
    ],
)
def test_annotations_can_be_looked_up(public: Callable[..., Any]) -> None:
    assert get_type_hints(public).keys() >= signature(public).parameters.keys() - {"self"}
