"""joblib and scikit-learn on amorsize's plans: the results are those of loky."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

joblib = pytest.importorskip("joblib")

import amorsize_joblib  # noqa: E402, F401

ENGINES = ["auto", "serial", "threads", "multiprocessing"]


@contextmanager
def on(engine: str, **how: Any) -> Iterator[None]:
    with joblib.parallel_config(backend="amorsize", engine=engine, **how):
        yield


def double(item: int) -> int:
    return 2 * item


def calls(count: int) -> Iterator[Any]:
    return (joblib.delayed(double)(item) for item in range(count))


def negative(item: int) -> int:
    return -item


@pytest.mark.parametrize("engine", ENGINES)
def test_calls_that_are_read_at_the_same_time(engine: str) -> None:
    """The first of them had the results of the second, which then had none."""
    opposite = [joblib.delayed(negative)(item) for item in range(60)]
    with on(engine):
        one, other = (joblib.Parallel(n_jobs=2, return_as="generator") for _ in range(2))
        assert list(zip(one(calls(60)), other(opposite), strict=True)) == [
            (2 * x, -x) for x in range(60)
        ]
        for result in one(calls(5)):
            assert joblib.Parallel(n_jobs=2)(opposite[: result + 1])[-1] == -result


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("n_jobs", [-1, 2, 1])
def test_results_and_their_order(engine: str, n_jobs: int) -> None:
    with on(engine):
        assert joblib.Parallel(n_jobs=n_jobs)(calls(200)) == [2 * x for x in range(200)]
        assert joblib.Parallel(n_jobs=n_jobs)(calls(0)) == []
        assert joblib.Parallel(n_jobs=n_jobs, batch_size=7)(calls(50)) == [2 * x for x in range(50)]


@pytest.mark.parametrize("form", ["generator", "generator_unordered"])
def test_generators(form: str) -> None:
    with on("multiprocessing"):
        got = joblib.Parallel(n_jobs=2, return_as=form)(calls(100))
        assert next(got) == 0
        assert sorted(got) == [2 * x for x in range(1, 100)]


def test_generators_at_once() -> None:
    """joblib gives both calls the same backend."""
    with on("multiprocessing"):
        first, second = (joblib.Parallel(2, return_as="generator")(calls(n)) for n in (40, 50))
        begun = [next(first)], [next(second)]
        assert begun[0] + list(first) == [2 * x for x in range(40)]
        assert begun[1] + list(second) == [2 * x for x in range(50)]


def test_an_instance_serves_several_calls() -> None:
    with on("multiprocessing"), joblib.Parallel(n_jobs=2) as parallel:
        for count in (30, 40):
            assert parallel(calls(count)) == [2 * x for x in range(count)]


def test_the_users_exception_arrives_and_the_next_call_works() -> None:
    def fail(item: int) -> int:
        if item == 30:
            raise KeyError("thirty")
        return item

    before = set(threading.enumerate())
    with on("multiprocessing"):
        with pytest.raises(KeyError, match="thirty"):
            joblib.Parallel(n_jobs=2)(joblib.delayed(fail)(item) for item in range(60))
        assert joblib.Parallel(n_jobs=2)(calls(10)) == [2 * x for x in range(10)]
    assert set(threading.enumerate()) <= before


def test_each_task_runs_once(tmp_path: Path) -> None:
    path = tmp_path / "calls"

    def noted(item: int) -> int:
        with path.open("a") as file:
            file.write(f"{item} {os.getpid()}\n")
        return item

    with on("multiprocessing"):
        joblib.Parallel(n_jobs=2)(joblib.delayed(noted)(item) for item in range(100))
    lines = [line.split() for line in path.read_text().splitlines()]
    assert sorted(int(item) for item, _ in lines) == list(range(100))
    assert len({process for _, process in lines}) > 1


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_nested_calls(method: str) -> None:
    def inner(item: int) -> int:
        return sum(joblib.Parallel(n_jobs=2)(calls(item)))

    with on("multiprocessing", options={"start_method": method}):
        got = joblib.Parallel(n_jobs=2)(joblib.delayed(inner)(item) for item in range(20))
    assert got == [item * (item - 1) for item in range(20)]


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(TypeError, match="engines"), on("auto", engines="dask"):
        pass


class TestScikitLearn:
    """On the data that scikit-learn brings along."""

    @pytest.mark.parametrize("engine", ENGINES)
    def test_cross_val_score_equals_lokys(self, engine: str) -> None:
        pytest.importorskip("sklearn")
        from sklearn.datasets import load_breast_cancer
        from sklearn.ensemble import GradientBoostingClassifier
        from sklearn.model_selection import cross_val_score

        features, target = load_breast_cancer(return_X_y=True)
        model = GradientBoostingClassifier(n_estimators=10, random_state=3)

        def scores() -> list[float]:
            return [*cross_val_score(model, features, target, cv=6, n_jobs=2)]

        with joblib.parallel_config(backend="loky"):
            expected = scores()
        with on(engine):
            assert scores() == expected

    @pytest.mark.parametrize("engine", ENGINES)
    def test_random_forest_equals_lokys(self, engine: str) -> None:
        numpy = pytest.importorskip("numpy")
        pytest.importorskip("sklearn")
        from sklearn.datasets import load_digits
        from sklearn.ensemble import RandomForestClassifier

        features, target = load_digits(return_X_y=True)

        def predictions() -> Any:
            forest = RandomForestClassifier(n_estimators=20, random_state=5, n_jobs=2)
            return forest.fit(features[:1200], target[:1200]).predict_proba(features[1200:])

        with joblib.parallel_config(backend="loky"):
            expected = predictions()
        with on(engine):
            assert numpy.array_equal(predictions(), expected)
