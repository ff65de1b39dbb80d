"""What workers take from each other is measured where it can matter, once, and kept."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import count

import pytest

import amorsize
from amorsize import cost_store, pricing, probes
from amorsize.backend import Traits
from amorsize.calibration import calibrate
from amorsize.calibration import together as measuring
from amorsize.costs import HOST_FALLBACK, BackendCosts
from amorsize.plugins import registry
from amorsize.probes.bandwidth import Bandwidth
from amorsize.probes.together import compare

pytestmark = pytest.mark.measures

THREADS = Traits(shares_memory=True, shares_gil=True)
FAST = Bandwidth(one_thread=1e10, all_threads=2.5e10, threads=8, block_bytes=1 << 23, seconds=0.1)


@pytest.fixture
def bandwidths(monkeypatch: pytest.MonkeyPatch) -> list[Bandwidth]:
    """What asking for the bandwidth of memory has answered."""
    asked: list[Bandwidth] = []

    def answer() -> Bandwidth:
        asked.append(FAST)
        return FAST

    monkeypatch.setattr(measuring, "memory_bandwidth", answer)
    return asked


def ticks(*times: float) -> Callable[[], float]:
    """A clock by which each thing takes as long as it says."""
    left, now = iter(times), [0.0]

    def clock() -> float:
        now[0] += next(left)
        return now[0]

    return clock


def test_the_same_work_is_timed_alone_and_at_once() -> None:
    meeting = threading.Barrier(3)
    runs = count()

    def alone() -> None:
        next(runs)

    def met() -> None:
        meeting.wait(10)  # only if all of them run at once

    found = compare(alone, [met] * 3, 2)
    assert next(runs) == 2
    assert len(found.alone) == len(found.together) == 2


def test_medians_count() -> None:
    found = compare(int, [int], 3, ticks(0, 1.0, 0, 9.0, 0, 2.0))
    assert (found.alone_s, found.together_s) == (2.0, 2.0)


def test_work_that_fails_says_so() -> None:
    with pytest.raises(ZeroDivisionError):
        compare(int, [int, lambda: 1 // 0], 1)


def test_threads_that_are_not_to_be_had_leave_none_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    before, started, start = threading.active_count(), count(), threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if next(started) % 4 == 2:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError, match="new thread"):
        compare(int, [int] * 4, 1)
    for thread in threading.enumerate():
        if "run" in thread.name:
            thread.join(10)
    assert threading.active_count() == before
    limits = probes.limits()._replace(workers=64)
    assert measuring.together(THREADS, limits, memory=False) == measuring.Together()


@pytest.mark.usefixtures("bandwidths")
def test_cores_that_are_not_shared_do_not_crowd() -> None:
    limits = probes.limits()._replace(workers=3, physical_cores=8)
    found = measuring.together(THREADS, limits, memory=True)
    assert found.crowded is not None
    assert (found.crowded.value, found.crowded.origin) == (1.0, "declared")
    assert found.memory_one_s is not None
    assert found.memory_one_s.value == 1 / FAST.one_thread


def test_cores_that_are_shared_are_measured_to_crowd(bandwidths: list[Bandwidth]) -> None:
    limits = probes.limits()._replace(workers=5, physical_cores=2)
    found = measuring.together(THREADS, limits, memory=False)
    assert not bandwidths
    assert found.memory_one_s is None
    assert found.crowded is not None
    assert found.crowded.checks
    assert found.crowded.value >= 1
    assert found.apart is not None
    assert found.apart.value == 2
    again = measuring.together(THREADS, limits, memory=False)
    assert again.crowded is found.crowded


def test_other_hosts_and_lone_workers_share_nothing() -> None:
    limits = probes.limits()._replace(workers=1)
    for traits, found in ((Traits(remote=True), probes.limits()), (THREADS, limits)):
        assert measuring.together(traits, found, memory=True) == measuring.Together()


@pytest.mark.usefixtures("store")
def test_memory_is_measured_only_for_what_moves_much(bandwidths: list[Bandwidth]) -> None:
    backend = registry().get("threads")
    usual = calibrate(backend, workers=2)
    assert not bandwidths
    assert usual.host_workers is not None
    assert usual.memory_one_s is None
    pricing.measure(backend, workers=2)
    pricing.price(backend, workers=2, worth_s=1e6)
    assert not bandwidths
    wanted = pricing.price(backend, workers=2, worth_s=1e6, large=set(HOST_FALLBACK))
    assert wanted.memory_all_s is not None
    assert wanted.memory_all_s.value == 1 / FAST.all_threads
    pricing.price(backend, workers=2, worth_s=1e6, large=set(HOST_FALLBACK))
    assert len(bandwidths) == 1

    pricing.forget()
    stored = cost_store.load(backend, 2)
    assert stored is not None
    assert stored.costs is not None
    assert stored.costs.memory_all_s is not None
    assert stored.costs.memory_all_s.origin == "cached"
    assert BackendCosts.from_dict(stored.costs.to_dict()) == stored.costs


@pytest.mark.usefixtures("store")
def test_too_little_memory_to_measure_is_told_and_not_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = count()

    def none() -> None:
        next(asked)

    monkeypatch.setattr(measuring, "memory_bandwidth", none)
    backend = registry().get("threads")
    for _ in range(2):
        costs = pricing.price(backend, workers=2, worth_s=1e6, large=set(HOST_FALLBACK))
        assert costs.memory_one_s is not None
        assert costs.memory_one_s.origin == "fallback"
        assert "too little memory" in costs.memory_one_s.note
    assert next(asked) == 1


@pytest.mark.usefixtures("store", "bandwidths")
def test_a_plan_tells_what_its_items_move_and_what_memory_gives() -> None:
    data = [bytes([n]) * 4_000_000 for n in range(8)]
    pricing.measure(registry().get("threads"), workers=2, full=True)
    plan = amorsize.plan(lambda block: block.count(7), data, backend="threads")
    assert plan.profile.buffer_bytes == 4_000_000
    assert "at least 4 MB of memory" in plan.explain()
    assert "memory_all_s" in plan.explain()
    assert plan.costs["threads"]["memory_one_s"]["value"] == 1 / FAST.one_thread
    assert plan.to_dict()["profile"]["buffer_bytes"] == 4_000_000
