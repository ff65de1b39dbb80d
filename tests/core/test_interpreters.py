"""Workers that share an interpreter: in each of them Python code of one worker runs at a time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amorsize.backend import Capacity, Traits
from amorsize.model import GIL, Configuration, predict
from amorsize.planner import Offer, Wish, decide
from amorsize.schedule import fixed
from tests.core.test_model import ALL, FREE, THREADS, profile

CLUSTER = Traits(remote=True, rank=3)


def seconds(traits: Traits, workers: int, interpreters: int | None, gil_share: float) -> float:
    setting = Configuration(traits, FREE, workers, 64, fixed(1, workers), interpreters)
    return predict(profile(gil_share=gil_share), setting, 960).seconds


@pytest.mark.parametrize(("interpreters", "lanes"), [(1, 1), (2, 2), (4, 4), (8, 8), (None, 8)])
def test_what_holds_the_lock_runs_once_in_each(interpreters: int | None, lanes: int) -> None:
    assert seconds(CLUSTER, 8, interpreters, 1.0) == pytest.approx(9.6 / lanes)


def test_what_releases_it_runs_in_all_workers() -> None:
    assert seconds(CLUSTER, 8, 1, 0.0) == pytest.approx(9.6 / 8)
    crowded = seconds(CLUSTER, 8, 1, 0.25)
    assert 9.6 / 4 <= crowded == pytest.approx(9.6 / 4, rel=0.05)  # they meet at the lock


@given(st.integers(1, 64), st.integers(1, 64), st.floats(0, 1))
def test_one_interpreter_is_as_good_as_threads_of_the_caller(
    workers: int, interpreters: int, gil_share: float
) -> None:
    one = seconds(CLUSTER, workers, 1, gil_share)
    assert one == pytest.approx(seconds(THREADS.traits, workers, None, gil_share))
    assert one >= seconds(CLUSTER, workers, interpreters, gil_share) - 1e-9


def test_a_cluster_of_threads_is_chosen_for_what_releases_the_lock_only() -> None:
    threads = Offer("far", CLUSTER, Capacity(64, 64, interpreters=1), FREE)
    processes = threads._replace(capacity=Capacity(64, 64))
    held, free = profile(), profile(gil_share=0.0)
    assert decide(held, [*ALL, threads], Wish()).chosen.backend == "processes"
    assert decide(free, [*ALL, threads], Wish()).chosen.backend == "far"
    assert decide(held, [*ALL, processes], Wish()).chosen.backend == "far"
    terms = decide(held, [threads], Wish()).chosen.prediction
    assert terms.term(GIL) > 0.4 * terms.seconds


def test_as_many_share_one_where_there_are_more_workers() -> None:
    four = Capacity(4, 4.0, interpreters=2)
    assert four.scaled(64, 64.0).interpreters == 32
    assert four.interpreters_of(1, CLUSTER) == 1
    assert Capacity(4, 4.0).scaled(64, 64.0).interpreters_of(64, CLUSTER) == 64
    assert Capacity(4, 4.0).interpreters_of(4, THREADS.traits) == 1
