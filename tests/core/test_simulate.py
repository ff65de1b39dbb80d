"""The simulation against what is known, and the closed form against the simulation."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import amorsize
from amorsize.backend import Traits, process_pool_fallback
from amorsize.costs import BackendCosts, declared, fallback
from amorsize.model import Configuration, predict
from amorsize.profile import Profile
from amorsize.schedule import fixed, tapered
from amorsize.simulate import simulate

NONE = declared(0.0)
FREE = BackendCosts(NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, declared(1.0))


def profile(items: int, durations: tuple[float, ...]) -> Profile:
    mean = sum(durations) / len(durations)
    spread = (sum((d - mean) ** 2 for d in durations) / len(durations)) ** 0.5
    return Profile(
        items,
        0,
        0.0,
        mean,
        mean,
        spread,
        max(durations),
        durations,
        mean,
        0.0,
        1.0,
        True,
        0.0,
        1.0,
        0,
    )


def test_free_workers_share_even_work() -> None:
    work = profile(1_000, (0.01,))
    run = simulate(work, Configuration(Traits(), FREE, 4, 4, fixed(1, 4)), 1_000)
    assert run.makespan == pytest.approx(10.0 / 4)
    assert run.utilisation == pytest.approx(1.0)


def test_a_slow_driver_is_the_ceiling_however_many_workers() -> None:
    costs = FREE._replace(dispatch_s=fallback(0.001))
    work = profile(10_000, (0.01,))
    for workers in (64, 1_000, 10_000):
        run = simulate(
            work, Configuration(Traits(), costs, workers, workers, fixed(1, workers)), 10_000
        )
        assert run.makespan >= 10_000 * 0.001
    assert run.utilisation < 0.1


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 64),
    st.integers(100, 3_000),
    st.lists(st.floats(0.001, 0.02), min_size=3, max_size=8),
    st.integers(1, 20),
)
def test_the_closed_form_agrees_with_the_simulation(
    workers: int, items: int, durations: list[float], smallest: int
) -> None:
    work = profile(items, tuple(durations))
    setting = Configuration(
        Traits(inherits_memory=True),
        process_pool_fallback(),
        workers,
        workers,
        tapered(smallest, items, workers),
    )
    runs = [simulate(work, setting, items, seed=seed).makespan for seed in range(5)]
    middle = sorted(runs)[2]
    assert predict(work, setting, items).seconds == pytest.approx(middle, rel=0.35, abs=0.03)


def test_what_if_answers_for_machines_that_are_not_here() -> None:
    plan = amorsize.plan(lambda x: sum(range(30_000)), range(20_000))
    answers = plan.what_if([1, 2, 64, 1_000], backend="multiprocessing")
    assert [answer.workers for answer in answers] == [1, 2, 64, 1_000]
    assert answers[1].prediction.seconds < answers[0].prediction.seconds
    assert answers[2].prediction.seconds < answers[1].prediction.seconds
    with pytest.raises(amorsize.InvalidArgument, match="not considered"):
        plan.what_if([2], backend="nothing")
