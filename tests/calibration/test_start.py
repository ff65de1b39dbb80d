"""How a start-up is split into a fixed part, one of each worker, and one that waits for cores."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amorsize.calibration.start import Start, split
from amorsize.costs import fallback
from tests.calibration.test_quality import DEFAULT

SECONDS = st.floats(0.0, 10.0)
STARTS = st.lists(st.builds(Start, SECONDS, SECONDS, SECONDS, SECONDS), min_size=1, max_size=5)


def test_workers_that_start_side_by_side_add_what_the_caller_does() -> None:
    alone = [Start(0.080, 0.0, 0.001, 0.075), Start(0.090, 0.0, 0.003, 0.080)]
    full = [Start(0.100, 0.0, 0.010, 0.075), Start(0.095, 0.0, 0.010, 0.080)]
    found = split(alone, full, 2, cores=2)
    assert found.each_s == pytest.approx(0.009)
    assert found.fixed_s + 2 * found.each_s == pytest.approx(0.0975)


def test_what_a_worker_adds_that_drowns_in_noise_is_a_share_of_the_start() -> None:
    alone, full = [Start(0.080, 0.0, 0.0010, 0.080)] * 3, [Start(0.090, 0.0, 0.0011, 0.080)] * 3
    found = split(alone, full, 2, cores=2)
    assert found.each_s == pytest.approx(0.09 / 20)
    assert found.fixed_s + 2 * found.each_s == pytest.approx(0.09)


def test_workers_that_are_waited_for_one_after_the_other_add_that() -> None:
    alone, full = [Start(1.5, 0.0, 0.0, 0.01)] * 3, [Start(2.5, 0.0, 0.0, 0.01)] * 3
    found = split(alone, full, 2, cores=2)
    assert found.each_s == pytest.approx(0.99)


def test_threads_have_no_fixed_part() -> None:
    alone, full = [Start(2e-4, 5e-5, 2e-4, 0.0)] * 3, [Start(3.5e-4, 5e-5, 3.5e-4, 0.0)] * 3
    found = split(alone, full, 2, cores=2)
    assert (found.fixed_s, found.cpu_s) == (0.0, 0.0)
    assert found.each_s == pytest.approx(1.5e-4)


def test_a_moment_in_which_starts_take_longer_does_not_count_among_many() -> None:
    alone = [Start(2e-4, 5e-5, 2e-4, 0.0)] * 20
    full = [Start(4e-4, 5e-5, 4e-4, 0.0)] * 8 + [Start(5e-3, 5e-5, 4e-4, 0.0)] * 12
    assert split(alone, full, 4, cores=2).each_s == pytest.approx(3.5e-4 / 4)


def test_workers_beyond_the_cores_wait_for_those_that_start() -> None:
    costs = DEFAULT._replace(
        startup_s=fallback(0.1), startup_worker_s=fallback(0.0), startup_cpu_s=fallback(0.1)
    )
    assert costs.starting_s(2, cores=2) == pytest.approx(0.1)
    assert costs.starting_s(8, cores=2) == pytest.approx(0.4)


@given(STARTS, STARTS, st.integers(1, 2), st.floats(0.1, 64.0))
def test_no_part_is_negative_and_together_they_are_no_more_than_was_seen(
    alone: list[Start], full: list[Start], workers: int, cores: float
) -> None:
    fixed_s, each_s, cpu_s = split(alone, full, workers, cores)
    assert min(fixed_s, each_s, cpu_s) >= 0
    assert fixed_s + workers * each_s <= max(start.wall_s for start in full) + 1e-9
