"""The round trip of a chunk is taken from those that their workers had waited for."""

from __future__ import annotations

import pytest

from amorsize.trips import Trips
from amorsize.worker import ChunkTimes


def times(started_s: float, worker: str = "host:1") -> ChunkTimes:
    """Of a chunk of 10 ms."""
    return ChunkTimes(0.010, 0.010, 0.0, started_s, worker, 0)


def test_the_engines_costs_hold_until_a_worker_waits() -> None:
    trips = Trips(0.005)
    trips.observe(0.9, times(0.0))
    trips.observe(0.9, times(0.0, "host:2"))
    for number in range(1, 20):  # one after the other, without a gap: they lay there
        trips.observe(0.9, times(number * 0.010))
    assert trips.seconds == 0.005


def test_what_a_worker_waits_for_is_learnt() -> None:
    trips = Trips(0.005)
    for number in range(40):
        trips.observe(0.050, times(number * 0.040))
    assert trips.seconds == pytest.approx(0.040, rel=0.05)


def test_a_slow_consumer_does_not_make_trips_longer() -> None:
    """What it is known for sure: no shorter than what was waited for, no longer than the whole."""
    trips = Trips(0.005)
    for number in range(40):
        trips.observe(0.9, times(number * 0.9), away_s=0.889)
    assert trips.seconds == 0.005
    for number in range(40, 80):
        trips.observe(0.9, times(number * 0.9), away_s=0.850)
    assert trips.seconds == pytest.approx(0.040, rel=0.05)
    for number in range(80, 120):
        trips.observe(0.020, times(number * 0.9), away_s=0.015)
    assert trips.seconds == pytest.approx(0.010, rel=0.05)
