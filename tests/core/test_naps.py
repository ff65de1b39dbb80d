"""Items that wait for microseconds: what is waking up, and what is theirs."""

from __future__ import annotations

import signal
import time
from types import FrameType

import pytest

import amorsize
from amorsize.costs import declared
from amorsize.naps import SHORT_S, is_nap, waking_s
from amorsize.sampler import sample
from amorsize.source import source_of
from tests.core.test_model import FREE, NAPS, TEAM, seconds

LOOKING_S = 0.0005


def nap(_: int) -> None:
    time.sleep(1e-5)


def spin(_: int) -> None:
    until = time.thread_time() + 5e-5
    while time.thread_time() < until:
        pass


@pytest.mark.measures
def test_a_plan_tells_what_waking_up_takes_of_items_that_wait_shortly() -> None:
    plan = amorsize.plan(nap, range(2000))
    assert plan.profile.waking_s > 0
    assert "waking up" in plan.explain()
    assert "waking up" not in amorsize.plan(spin, range(2000)).explain()


def test_only_what_waits_and_hardly_computes_is_a_nap() -> None:
    assert is_nap(1e-4, 5e-5)
    assert not is_nap(1e-6, 5e-5), "it computes"
    assert not is_nap(1.0, 2 * SHORT_S), "waking up plays no part"
    assert not is_nap(1.0, 0.0), "nothing was told"


def test_short_loops_are_not_held_up_by_it() -> None:
    waits = sample(nap, source_of(range(2000))).profile._replace(
        item_s=1e-3, item_cpu_s=5e-5, waiting_share=0.9
    )
    assert waking_s(waits) > 0
    assert waking_s(waits._replace(items=waits.sampled + 20)) == 0


def test_ctrl_c_while_waking_up_is_measured_is_not_lost() -> None:
    """No item of the user's is interrupted then, and the map went on."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    profile = amorsize.plan(nap, range(2000)).profile
    profile = profile._replace(item_s=1e-3, item_cpu_s=SHORT_S, waiting_share=0.9)

    def measure() -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.001)
        for _ in range(1000):
            waking_s(profile)

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt) as raised:
            measure()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert not getattr(raised.value, "__notes__", None)


def test_what_is_measured_beside_the_sample_counts_more_than_what_is_stored() -> None:
    costs = FREE._replace(handover_s=declared(20e-6), waking_s=declared(5e-6))
    team = TEAM._replace(costs=costs)
    work = NAPS._replace(item_s=1e-4, item_cpu_s=60e-6, waiting_share=0.4)
    stored = seconds(work, team, workers=4, chunk=1000)
    beside = seconds(work._replace(waking_s=50e-6), team, workers=4, chunk=1000)
    assert beside < stored / 2


@pytest.mark.measures
def test_looking_at_clocks_is_not_the_items_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def pages() -> int:
        until = time.thread_time() + LOOKING_S
        while time.thread_time() < until:
            pass
        return 0

    monkeypatch.setattr("amorsize.sampler.pages", pages)
    assert sample(nap, source_of(range(500))).profile.item_cpu_s < LOOKING_S / 3
