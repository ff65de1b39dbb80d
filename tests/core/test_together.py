"""What workers of one host take from each other: more of it never makes a prediction smaller, and
what is not known changes nothing.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amorsize.backend import Traits
from amorsize.costs import HOST_FALLBACK, BackendCosts, declared
from amorsize.model import (
    CORES,
    CROWDED,
    MEMORY,
    PAGES,
    Configuration,
    Prediction,
    hindered,
    memory_s,
    predict,
)
from amorsize.profile import Profile
from amorsize.schedule import fixed
from amorsize.simulate import simulate
from tests.core.test_model import FREE, profile

FORKS, THREADS = Traits(inherits_memory=True), Traits(shares_memory=True, shares_gil=True)
ITEMS = 960


def on(
    workers: int, *, memory: tuple[float, float] = (1e-10, 4e-11), crowded: float = 1.5
) -> BackendCosts:
    """Of a host with so many workers, half as many cores, and 10 and 25 GB a second."""
    return FREE._replace(
        memory_one_s=declared(memory[0]),
        memory_all_s=declared(memory[1]),
        crowded=declared(crowded),
        page_turns=declared(1.0),
        host_workers=declared(workers),
        apart=declared(workers / 2),
    )


def look(
    work: Profile, costs: BackendCosts, workers: int, traits: Traits = FORKS, cores: int = 8
) -> Prediction:
    return predict(work, Configuration(traits, costs, workers, cores, fixed(1, workers)), ITEMS)


def moving(nbytes: float, **facts: object) -> Profile:
    """Items of 10 ms that hold nothing."""
    usual = profile(items=ITEMS, gil_share=0.0, buffer_bytes=nbytes)
    return usual._replace(**facts)  # type: ignore[arg-type]


def test_workers_that_only_move_data_get_what_memory_gives() -> None:
    """100 MB an item, 10 GB a second alone: eight workers together move 25 GB a second."""
    found = look(moving(1e8), on(8), 8)
    assert found.seconds == pytest.approx(ITEMS * 1e8 / 25e9)
    assert found.term(MEMORY) == pytest.approx(ITEMS * (1e8 / 25e9 - 0.01 / 8))
    assert look(moving(1e8), on(8), 2).term(MEMORY) == 0.0  # 20 GB a second are to be had


def test_what_else_an_item_does_takes_as_long_as_before() -> None:
    """A quarter of the time on memory, which takes 3.2 times as long."""
    found = look(moving(0.25e8), on(8, crowded=1.0), 8)
    assert found.seconds == pytest.approx(ITEMS * 0.01 / 8 * (0.75 + 0.25 * 3.2))


def test_workers_share_cores_only_beyond_their_number() -> None:
    times = {n: look(moving(0), on(8), n).seconds * n / ITEMS / 0.01 for n in (1, 2, 4, 6, 8)}
    assert times == pytest.approx({1: 1.0, 2: 1.0, 4: 1.0, 6: 1.25, 8: 1.5})
    assert look(moving(0), on(8), 8).term(CROWDED) == pytest.approx(ITEMS * 0.01 / 8 * 0.5)


def test_what_waits_is_not_crowded() -> None:
    work = moving(0, item_cpu_s=0.0, waiting_share=1.0)
    assert look(work, on(8), 8).seconds == pytest.approx(ITEMS * 0.01 / 8)


def test_an_item_too_short_for_its_bytes_leaves_them_alone() -> None:
    idle = moving(1e8, item_cpu_s=0.001, waiting_share=0.9)
    assert memory_s(idle, on(8)) == 0.0
    assert look(idle, on(8, crowded=1.0), 8).term(MEMORY) == 0.0


def test_a_larger_machine_is_taken_to_have_as_much_more_of_everything() -> None:
    here, there = (look(moving(1e8), on(8), n, cores=n).seconds * n / ITEMS for n in (8, 64))
    assert there == pytest.approx(here)


def test_what_is_assumed_of_memory_counts_until_it_is_measured() -> None:
    found = look(moving(1e8), FREE._replace(**HOST_FALLBACK), 8)
    assert found.seconds == pytest.approx(ITEMS * 1e8 / 40e9)


def test_other_hosts_have_memory_of_their_own() -> None:
    far = look(moving(1e8), on(8), 8, Traits(remote=True)).seconds
    assert far == pytest.approx(look(moving(1e8), FREE, 8, Traits(remote=True)).seconds)


@given(
    st.floats(0, 1e8), st.floats(1, 1.5), st.integers(1, 64), st.floats(1e-11, 1e-10),
    st.floats(1, 2), st.sampled_from([FORKS, THREADS]),
)  # fmt: skip
def test_more_traffic_and_less_to_share_never_make_it_faster(
    nbytes: float, more: float, workers: int, every_s: float, crowded: float, traits: Traits
) -> None:
    def seconds(nbytes: float, every_s: float, crowded: float) -> float:
        costs = on(8, memory=(1e-10, every_s), crowded=crowded)
        return look(moving(nbytes), costs, workers, traits).seconds

    least = seconds(nbytes / more, every_s, crowded)
    # Bytes take the time that computing took: what crowds that, they do not.
    assert least <= seconds(nbytes, every_s, crowded) + ITEMS * nbytes * 1e-10 * (crowded - 1)
    assert least <= seconds(nbytes / more, every_s * more, crowded) * (1 + 1e-9)
    assert least <= seconds(nbytes / more, every_s, crowded * more) * (1 + 1e-9)


@given(st.floats(0, 1e8), st.integers(1, 64), st.sampled_from([FORKS, THREADS]))
def test_nothing_known_changes_nothing(nbytes: float, workers: int, traits: Traits) -> None:
    costs = on(8, crowded=1.0)
    without = look(moving(0), FREE._replace(page_turns=None), workers, traits)
    assert look(moving(0), costs, workers, traits) == without
    assert look(moving(nbytes), FREE, workers, traits) == without


@given(st.floats(0, 1e8), st.floats(0, 0.01))
def test_one_worker_shares_with_nobody(nbytes: float, fault_s: float) -> None:
    work = moving(nbytes, fault_s=fault_s)
    for traits in (FORKS, THREADS):
        assert look(work, on(8), 1, traits).seconds == look(work, FREE, 1, traits).seconds


@given(st.floats(0, 1e8), st.integers(1, 64))
def test_the_simulation_agrees(nbytes: float, workers: int) -> None:
    setting = Configuration(FORKS, on(8), workers, workers, fixed(1, workers))
    work = moving(nbytes)
    predicted = predict(work, setting, ITEMS)
    played = simulate(work, setting, ITEMS).makespan
    assert played == pytest.approx(predicted.seconds, rel=0.07)
    assert hindered(work, setting, workers) >= 1.0


def test_more_workers_than_cores_are_as_slow_on_the_processors() -> None:
    found = look(moving(1e7), on(8), 32)
    assert found.seconds == pytest.approx(ITEMS * (0.01 + 0.009 * 0.5 + 0.001 * 2.2) / 8)
    assert found.term(CORES) > 0


def test_new_pages_come_in_turns_or_at_once_as_measured() -> None:
    work = moving(0, fault_s=0.008)
    in_turns = look(work, on(8)._replace(page_turns=declared(8.0)), 8, THREADS)
    assert in_turns.seconds >= ITEMS * 0.008
    assert in_turns.term(PAGES) == pytest.approx(look(work, FREE, 8, THREADS).term(PAGES), rel=0.6)
    assert look(work, on(8), 8, THREADS).term(PAGES) == 0.0
    assert look(work, on(8)._replace(page_turns=declared(8.0)), 8, FORKS).term(PAGES) == 0.0


@given(st.floats(1, 8), st.floats(0, 1), st.integers(2, 64))
def test_longer_turns_never_make_it_faster(turns: float, less: float, threads: int) -> None:
    work = moving(0, fault_s=0.008)
    short, long = (
        look(work, on(8)._replace(page_turns=declared(n)), threads, THREADS).seconds
        for n in (1 + (turns - 1) * less, turns)
    )
    assert short <= long * (1 + 1e-9)
