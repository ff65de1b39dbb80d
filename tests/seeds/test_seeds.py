"""Random numbers belong to the item, wherever it runs."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from functools import partial
from typing import Any

import numpy as np
import pytest

import amorsize
from amorsize import Seed

WHERE: list[dict[str, Any]] = [
    {"backend": "serial"},
    {"backend": "multiprocessing", "workers": 3, "chunk_size": 2},
    {"backend": "multiprocessing", "workers": 2, "chunk_size": 5},
    {"backend": "multiprocessing", "workers": 2, "options": {"start_method": "spawn"}},
    {"backend": "auto"},
]


def draw(x: int) -> tuple[int, float, float, float]:
    return x, random.random(), float(np.random.random()), float(amorsize.rng().random())


def own(x: int) -> float:
    return float(amorsize.rng().random())


def numpy_state() -> Any:
    state: Any = np.random.get_state()
    return state[1].tolist(), state[2:]


@pytest.fixture(scope="module")
def expected() -> list[Any]:
    return amorsize.map(draw, range(60), seed=42, backend="serial")


@pytest.mark.parametrize("where", WHERE)
def test_the_same_everywhere(where: dict[str, Any], expected: list[Any]) -> None:
    assert amorsize.map(draw, range(60), seed=42, **where) == expected
    stream: Any = (x for x in range(60))
    assert list(amorsize.imap(draw, stream, seed=42, **where)) == expected


def test_each_item_has_its_own_numbers(expected: list[Any]) -> None:
    for column in (1, 2, 3):
        assert len({row[column] for row in expected}) == 60
    assert len({value for row in expected for value in row[1:]}) == 180


def test_one_generator_an_item() -> None:
    def same(x: int) -> bool:
        return amorsize.rng() is amorsize.rng()

    assert amorsize.map(same, range(10), seed=1) == [True] * 10


def nested(x: int) -> list[Any]:
    inner = amorsize.map(draw, range(4), seed=x)
    return [random.random(), *inner]


@pytest.mark.timeout(30)
@pytest.mark.parametrize("where", WHERE[:3])
def test_runs_within_items(where: dict[str, Any]) -> None:
    results = amorsize.map(nested, range(6), seed=1, **where)
    assert [r[1:] for r in results] == [amorsize.map(draw, range(4), seed=x) for x in range(6)]


def test_another_seed_gives_other_numbers(expected: list[Any]) -> None:
    other = amorsize.map(draw, range(60), seed=43)
    assert not {row[1:] for row in other} & {row[1:] for row in expected}


def test_the_generators_are_numpys_own_children() -> None:
    children = np.random.SeedSequence(7).spawn(20)
    wanted = [float(np.random.default_rng(child).random()) for child in children]
    assert amorsize.map(own, range(20), seed=7) == wanted
    assert amorsize.map(own, range(20), seed=Seed(7, global_state=False)) == wanted


@pytest.mark.parametrize("where", WHERE[:2])
def test_the_callers_state_stays(where: dict[str, Any]) -> None:
    random.seed(1)
    np.random.seed(1)
    np.random.normal()  # numpy keeps a second one for the next call
    before = random.getstate(), numpy_state()
    stream: Any = amorsize.imap(draw, range(30), seed=42, **where)
    first = [next(stream) for _ in range(10)]
    assert (random.getstate(), numpy_state()) == before
    random.random()  # what the consumer draws does no harm
    assert [*first, *stream] == amorsize.map(draw, range(30), seed=42)
    random.setstate(before[0])
    assert (random.getstate(), numpy_state()) == before


def test_a_failed_item_leaves_the_state_alone() -> None:
    def fails(x: int) -> None:
        raise ValueError(random.random())

    before = random.getstate()
    with pytest.raises(ValueError, match="0") as first:
        amorsize.map(fails, range(3), seed=1, backend="serial")
    assert random.getstate() == before
    with pytest.raises(ValueError, match="0") as second:
        amorsize.map(fails, range(3), seed=1, backend="multiprocessing")
    assert first.value.args == second.value.args


def test_a_retry_has_the_same_numbers() -> None:
    seen: list[float] = []

    def fails_once(x: int) -> float:
        seen.append(random.random())
        if len(seen) == 1:
            raise ValueError
        return seen[-1]

    (result,) = amorsize.map(fails_once, [0], seed=5, retries=1, backoff=0)
    assert seen == [result, result]


def test_wrapped_functions_of_tests_travel() -> None:
    where = WHERE[3]
    assert amorsize.map(partial(draw), range(9), seed=1, **where) == amorsize.map(
        draw, range(9), seed=1
    )


def test_messages_show_the_item_alone() -> None:
    def fails(x: str) -> None:
        raise KeyError(x)

    with pytest.raises(KeyError) as caught:
        amorsize.map(fails, ["apple"], seed=1)
    assert any("item 0 ('apple')" in note for note in caught.value.__notes__)


def test_threads_have_generators_of_their_own() -> None:
    seed = Seed(7, global_state=False)
    wanted = amorsize.map(own, range(200), seed=seed, backend="serial")
    how: dict[str, Any] = {"backend": "threads", "workers": 4, "chunk_size": 3}
    assert amorsize.map(own, range(200), seed=seed, **how) == wanted
    with pytest.raises(amorsize.InvalidArgument, match="threads share"):
        amorsize.map(own, range(200), seed=7, **how)
    with pytest.raises(amorsize.InvalidArgument, match="threads share"):
        amorsize.plan(own, range(200), seed=7).run("threads")


@pytest.mark.measures
def test_automatic_plans_leave_threads_out() -> None:
    def waits(x: int) -> int:
        import time

        time.sleep(0.01)
        return x

    plan = amorsize.plan(waits, range(200), seed=1)
    assert plan.backend != "threads"
    assert any(r.backend == "threads" and "seed" in r.reason for r in plan.refused)
    free = amorsize.plan(waits, range(200), seed=Seed(1, global_state=False))
    assert free.backend == "threads", free.explain()


def test_journals_know_the_seed(tmp_path: Any) -> None:
    path = tmp_path / "run.sqlite"
    first = amorsize.map(draw, range(20), seed=1, journal=path)
    assert amorsize.map(draw, range(20), seed=1, journal=path) == first
    with pytest.raises(amorsize.JournalRefused):
        amorsize.map(draw, range(20), seed=2, journal=path)


@pytest.mark.parametrize("seed", [-1, 1.5, "x", True, Seed(-1)])
def test_what_is_no_seed(seed: Any) -> None:
    with pytest.raises(amorsize.InvalidArgument, match="seed"):
        amorsize.map(draw, range(3), seed=seed)


def test_numpys_whole_numbers_are_seeds(expected: list[Any]) -> None:
    seed: Any = np.int64(42)
    assert amorsize.map(draw, range(60), seed=seed) == expected


def one(x: int) -> float:
    return float(np.random.random())


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_without_a_seed_each_worker_draws_its_own(method: str) -> None:
    how: dict[str, Any] = {"workers": 2, "chunk_size": 2, "options": {"start_method": method}}
    drawn = amorsize.map(one, range(40), backend="multiprocessing", **how)
    assert len(set(drawn)) == 40


def test_a_generator_that_cannot_be_seeded_is_left_alone() -> None:
    module: Any = np.random
    before = module.get_bit_generator()
    module.set_bit_generator(module.PCG64())
    try:
        assert len(amorsize.map(one, range(40), backend="multiprocessing", workers=2)) == 40
    finally:
        module.set_bit_generator(before)


def test_without_a_seed_nothing_is_determined() -> None:
    assert own(0) != own(0)
    assert len(set(amorsize.map(own, range(20)))) == 20


SCRIPT = """
import sys, random, amorsize
def f(x):
    return random.random(), amorsize.rng().random(), type(amorsize.rng()).__name__
a = amorsize.map(f, range(20), seed=3, backend="serial")
b = amorsize.map(f, range(20), seed=3, backend="multiprocessing", workers=2)
assert a == b and len(set(a)) == 20
print(a[0][2], "numpy" in sys.modules)
"""


def test_without_numpy() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.split() == ["Random", "False"]


def test_a_function_that_imports_numpy() -> None:
    code = """
import sys, amorsize
def f(x):
    import numpy as np
    return float(np.random.random())
a = amorsize.map(f, range(10), seed=3, backend="serial")
b = amorsize.map(f, range(10), seed=3, backend="serial")
print(a == b)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
