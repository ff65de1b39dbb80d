"""Trends in the data: found where there is one, not where chance makes one, and used."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable

import pytest

import amorsize
from amorsize.model import largest_of
from amorsize.trend import trend_of
from tests.core.test_model import profile


def positions(count: int) -> list[float]:
    return [(i + 0.5) / count for i in range(count)]


def test_a_rise_is_measured_although_times_are_noisy() -> None:
    draw = random.Random(1)
    places = positions(30)
    times = [1.0 + 0.8 * (place - 0.5) + draw.gauss(0, 0.1) for place in places]
    assert trend_of(places, times) == pytest.approx(0.8, rel=0.25)
    assert trend_of(places, times[::-1]) == pytest.approx(-0.8, rel=0.25)


def test_chance_makes_no_trend_more_often_than_it_should() -> None:
    draw = random.Random(2)
    found = sum(
        trend_of(positions(12), [draw.expovariate(1.0) for _ in range(12)]) != 0 for _ in range(500)
    )
    assert found <= 20


def test_one_giant_item_at_the_end_is_no_trend() -> None:
    assert trend_of(positions(20), [1.0] * 19 + [500.0]) == 0.0


def test_few_points_tell_nothing() -> None:
    assert trend_of(positions(4), [1.0, 2.0, 3.0, 4.0]) == 0.0


def test_sorted_data_is_seen_as_sorted_and_not_as_uneven(lasts: Callable[[float], None]) -> None:
    def work(n: int) -> int:
        lasts(1e-8 * n)
        return n

    data = range(20_000, 60_000, 10)
    profile = amorsize.plan(work, data).profile
    assert profile.sampled >= 20
    assert profile.trend == pytest.approx(1.0, abs=0.5)
    assert profile.item_sd_s < 0.5 * profile.item_s
    plan = amorsize.plan(work, list(reversed(data)))
    assert plan.profile.trend < 0
    assert "items take longer at the front of the data" in str(plan)
    assert amorsize.plan(work, iter(data)).profile.trend == 0


def test_of_falling_times_the_first_chunk_bounds_the_run() -> None:
    from amorsize.backend import Traits
    from amorsize.model import Configuration, predict
    from amorsize.schedule import fixed
    from tests.core.test_simulate import FREE

    setting = Configuration(Traits(inherits_memory=True), FREE, 4, 4.0, fixed(250, 4))
    even = profile(items=1_000, item_s=0.01)
    falling = even._replace(trend=-1.0)
    assert predict(even, setting, 1_000).seconds == pytest.approx(2.5)
    assert predict(falling, setting, 1_000).seconds == pytest.approx(2.5 * 1.375)


def test_the_expected_largest_is_that_of_a_bootstrap() -> None:
    draw = random.Random(3)
    sample = sorted(draw.expovariate(1.0) for _ in range(15))
    largest = [max(draw.choices(sample, k=8)) for _ in range(20_000)]
    assert largest_of(sample, 8) == pytest.approx(statistics.fmean(largest), rel=0.02)
