"""A run that finds its plan wrong changes its mind, and still runs every item once."""

from __future__ import annotations

import time
from typing import Any

import pytest

import amorsize
from amorsize.blocks import profile_of
from amorsize.leaving import computing, mixed
from amorsize.planning import Planning
from amorsize.profile import Packing, Profile
from amorsize.sampler import sample
from amorsize.source import source_of

pytestmark = pytest.mark.measures


def burn(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_the_loop_moves_to_workers_when_items_grow(
    calls: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whatever else keeps this machine busy now: the question is what the run makes of its items.
    monkeypatch.setattr("amorsize.planner.NOTICEABLE_LOAD", 1e9)

    def grows(x: int) -> int:
        burn(0.02 if x > 40 else 0.00002)
        calls(x)
        return x

    plan = amorsize.plan(grows, iter(list(range(90))))
    assert plan.backend == "serial"
    assert plan.run() == list(range(90))
    assert calls.items == list(range(90))
    assert plan.report is not None
    assert plan.report.moves
    assert plan.report.backend != "serial"
    assert "times as long" in str(plan.report)


def test_a_named_backend_is_never_left() -> None:
    plan = amorsize.plan(lambda x: burn(0.003 if x > 50 else 0), iter(range(150)), backend="serial")
    plan.run()
    assert plan.report is not None
    assert plan.report.backend == "serial"
    assert not plan.report.moves


def test_chunks_shrink_when_items_prove_longer() -> None:
    def grows(x: int) -> int:
        burn(0.0002 if x < 1500 else 0.002)
        return x

    plan = amorsize.plan(grows, (x for x in range(2500)), backend="multiprocessing", workers=2)
    assert plan.run() == list(range(2500))
    assert plan.report is not None
    counts = [record.items for record in plan.report.chunks]
    assert max(counts[-6:]) < max(counts)


def test_a_first_call_that_waits_does_not_make_the_others_wait(
    calls: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amorsize.planner.NOTICEABLE_LOAD", 1e9)

    def loads_first(x: int) -> int:
        if x == 0:
            time.sleep(0.1)
        else:
            burn(0.005)
        calls(x)
        return x

    plan = amorsize.plan(loads_first, list(range(400)))
    assert (plan.backend, plan.sampled) == ("threads", 1)
    assert plan.run() == list(range(400))
    assert sorted(calls.items) == list(range(400))
    assert plan.report is not None
    moves = str(plan.report)
    assert "do not wait as sampled" in moves
    assert "to multiprocessing" in moves  # and perhaps back, on a machine that others keep busy
    on_threads = [record.items for record in plan.report.chunks if "/" in record.times.worker]
    assert sum(on_threads) < 360  # mostly a handful, at the latest when the first large chunk ends


def test_items_of_which_some_wait_and_some_compute_are_seen_alone_before_planning_anew(
    calls: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amorsize.planner.NOTICEABLE_LOAD", 1e9)

    def some_wait(x: int) -> int:
        if x % 4 == 0:
            time.sleep(0.1 if x == 0 else 0.01)
        else:
            burn(0.003)
        calls(x)
        return x

    plan = amorsize.plan(some_wait, list(range(800)))
    assert (plan.backend, plan.sampled) == ("threads", 1)
    assert plan.run() == list(range(800))
    assert sorted(calls.items) == list(range(800))
    assert plan.report is not None
    assert "do not wait as sampled" in str(plan.report)
    assert "do not only wait as sampled" in str(plan.report)


def test_what_items_do_alone_decides_whether_they_wait() -> None:
    for item_cpu_s, waiting in ((0.0095, 0.0), (0.002, 0.8)):
        facts = mixed(0.010, item_cpu_s).facts
        assert facts is not None
        assert facts["waiting_share"] == pytest.approx(waiting)
        assert facts["gil_share"] == pytest.approx(1 - waiting)
    assert mixed(0.010, 0.002).item_s == 0.010


def test_threads_that_turn_out_to_share_one_lock_are_left(
    calls: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amorsize.planner.NOTICEABLE_LOAD", 1e9)

    def lets_go(*args: Any, **facts: Any) -> Profile:
        seen = profile_of(*args, **facts)
        return seen._replace(gil_share=0.0, gil_measured=True, waiting_share=0.0)

    monkeypatch.setattr("amorsize.sampler.profile_of", lets_go)

    def holds(x: int) -> int:
        burn(0.01)
        calls(x)
        return x

    plan = amorsize.plan(holds, range(200))
    assert plan.backend == "threads"
    assert plan.run() == list(range(200))
    assert calls.items == list(range(200))
    assert plan.report is not None
    assert "threads seem to wait for each other" in str(plan.report)
    assert plan.report.backend == "multiprocessing"


def test_what_is_slower_now_sends_slower_and_what_computes_does_not() -> None:
    planning = Planning(abs, source_of(range(100)), sample(abs, source_of(range(100))))
    sent = Packing(nbytes=1.0, dump_s=1e-3, load_s=2e-3, measured=True)
    planning = planning._with(planning.profile._replace(item_s=0.01, outputs=sent))
    slower = planning.revised(0.02, 50).profile.outputs
    assert (slower.dump_s, slower.load_s) == (2e-3, 4e-3)
    computes = planning.without(computing(0.02), 50).profile
    assert (computes.item_s, computes.outputs) == (0.02, sent)
