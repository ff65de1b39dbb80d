"""Whether workers gain what they were started for."""

from __future__ import annotations

import pytest

from amorsize.backend import Chunk
from amorsize.gain import Gain, Planned, aloft_s
from amorsize.worker import ChunkTimes


def test_threads_that_wake_up_often_are_not_said_to_compute() -> None:
    gain = Gain(1, Planned(20, 0.0, 12e-6, 1.0))
    times = ChunkTimes(0.05, 0.008, 0.0, 0.0, "here", 0)
    gain.observe(160, times)
    assert not gain.computes(0.010)  # 50 us each, all processors busy with it
    gain.observe(10, times._replace(cpu_s=0.05))
    assert not gain.computes(0.010)  # the first items of threads that have just started
    assert gain.computes(0.060)


def test_items_that_wait_as_long_as_planned_do_not_compute_however_busy_the_processor_is() -> None:
    times = ChunkTimes(1.0, 0.05, 0.0, 0.0, "here", 0)  # 100 items: starting threads takes its time
    as_planned = Gain(64, Planned(64, 0.010, 50e-6, 1.0))
    stretched = Gain(64, Planned(64, 0.005, 50e-6, 1.0))
    for gain in (as_planned, stretched):
        gain.observe(100, times)
    assert not as_planned.computes(0.060)
    assert stretched.computes(0.060)


def two_threads(wall_s: float, cpu_s: float, items: int = 10) -> Gain:
    """Threads whose items were to take 10 ms on a processor, without a pause."""
    gain = Gain(1, Planned(2, 0.010, 0.010))
    gain.observe(items, ChunkTimes(wall_s, cpu_s, 0.0, 0.0, "here", 0, workers=2))
    return gain


def test_threads_that_run_side_by_side_take_no_turns_however_long_items_are() -> None:
    assert not two_threads(0.2, 0.19).takes_turns(0.1)
    assert not two_threads(2.0, 1.9).takes_turns(1.0)


def test_threads_of_which_only_one_runs_at_a_time_take_turns() -> None:
    assert two_threads(0.2, 0.1).takes_turns(0.1)
    assert not two_threads(0.08, 0.04).takes_turns(0.04)  # too early to say
    assert not two_threads(0.2, 0.1, items=2).takes_turns(0.1)


def test_threads_that_wait_as_planned_take_no_turns() -> None:
    gain = Gain(1, Planned(2, 0.058, 0.030, 0.48))
    gain.observe(10, ChunkTimes(0.72, 0.30, 0.0, 0.0, "here", 0, workers=2))
    assert not gain.takes_turns(0.36)  # 0.58 s of the loop
    gain.observe(100, ChunkTimes(30.0, 1.0, 0.0, 0.0, "here", 0, workers=2))
    assert gain.takes_turns(15.36)


def test_threads_that_are_busy_with_waking_each_other_take_turns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits = iter([0, 20_000, 0, 20])
    monkeypatch.setattr("amorsize.gain._waits", lambda: next(waits))
    assert two_threads(0.6, 0.43).takes_turns(0.3)  # four times the CPU seconds
    assert not two_threads(0.6, 0.43).takes_turns(0.3)  # as items are heavier than those sampled


def test_threads_that_wait_for_a_processor_would_do_so_as_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for idle_s, take_turns in ((0.01, False), (0.1, True)):
        queued, idle = iter([1.0, 1.09]), iter([7.0, 7.0 + idle_s])
        monkeypatch.setattr("amorsize.gain._queued_s", lambda told=queued: next(told))
        monkeypatch.setattr("amorsize.gain._idle_s", lambda told=idle: next(told))
        assert two_threads(0.2, 0.1).takes_turns(0.1) is take_turns


def test_items_that_wait_for_a_lock_of_their_own_gain_nothing() -> None:
    def gain(items: int, wall_s: float) -> Gain:
        waiting = Gain(1, Planned(20, 0.002, 50e-6, 1.0))
        waiting.observe(items, ChunkTimes(wall_s, 0.001, 0.0, 0.0, "here", 0, workers=20))
        return waiting

    assert gain(50, 50 * 0.040).excludes(0.100)
    assert not gain(50, 50 * 0.040).excludes(0.080)  # the loop would have taken longer
    assert not gain(50, 50 * 0.002).excludes(0.100)  # it is the threads that are late
    assert not gain(30, 30 * 0.040).excludes(0.060)  # too few to say
    told = gain(50, 50 * 0.040).objection(0.100, 0.0)
    assert told is not None
    assert "one item at a time" in told.why


def test_waiting_does_not_grow_with_what_threads_wait_for_each_other() -> None:
    gain = Gain(1, Planned(8, 0.010, 0.008, 0.2))
    gain.observe(80, ChunkTimes(6.4, 0.64, 0.0, 0.0, "here", 0, workers=8))
    assert gain.takes_turns(0.8)


def test_a_few_chunks_say_nothing_however_many_there_were_before() -> None:
    gain = Gain(2)
    for _ in range(7):
        gain.observe(10, ChunkTimes(0.001, 0.001, 0.0, 0.0, "here", 0))
    assert not gain.none(1.0)
    gain.observe(10, ChunkTimes(0.001, 0.001, 0.0, 0.0, "here", 0))
    assert gain.none(1.0)
    assert not gain.none(1.0, flying_s=1.0)  # what is on its way has been worked on, too


def test_what_is_on_its_way_counts_for_no_more_than_it_should_take() -> None:
    chunks = [Chunk(number, ((number, number + 1),), None, 0.5, False) for number in range(2)]
    assert aloft_s(chunks, {0: (10.0, 0.0), 1: (10.2, 0.0)}, 10.3) == pytest.approx(0.4)
    assert aloft_s(chunks, {0: (10.0, 0.0), 1: (10.2, 0.0)}, 11.0) == pytest.approx(1.0)
