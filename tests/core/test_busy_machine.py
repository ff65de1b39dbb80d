"""What a sample makes of a machine that others keep busy: their time is not its items'."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from amorsize.backend import Traits
from amorsize.blocks import Block, Blocks, profile_of
from amorsize.feed import Feed
from amorsize.judge import Judge
from amorsize.model import CORES, Configuration, predict
from amorsize.monitor import Monitor
from amorsize.planner import Offer, Wish, decide
from amorsize.profile import Profile
from amorsize.report import RunReport
from amorsize.runqueue import RunQueue
from amorsize.sampler import sample
from amorsize.schedule import fixed, whole
from amorsize.serial import SerialRun
from amorsize.source import source_of
from tests.core.test_model import ALL, FREE, profile

ITEMS = 1_000


class Clocks:
    """What the system tells of the thread: seconds off any processor, and of these in the queue."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.off_s = self.queued_s = 5.0
        monkeypatch.setattr("amorsize.runqueue._off_s", lambda: self.off_s)
        monkeypatch.setattr("amorsize.runqueue.queued_s", lambda: self.queued_s)

    def pass_by(self, *, queued_s: float = 0.0, waiting_s: float = 0.0) -> float:
        """So much time; the seconds off the processor."""
        self.off_s += queued_s + waiting_s
        self.queued_s += queued_s
        return queued_s + waiting_s


def test_what_pushes_a_block_aside_is_told_from_its_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clocks = Clocks(monkeypatch)
    queue = RunQueue()
    for queued_s, waiting_s in ((0.02, 0.0), (0.0, 0.01), (0.03, 0.004)):
        queue.begin()
        off_s = clocks.pass_by(queued_s=queued_s, waiting_s=waiting_s)
        assert queue.within(off_s) == pytest.approx(queued_s)


def test_what_pushes_it_aside_between_blocks_is_not_the_blocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clocks = Clocks(monkeypatch)
    queue = RunQueue()
    clocks.pass_by(queued_s=0.05)
    queue.begin()
    off_s = clocks.pass_by(waiting_s=0.004)
    clocks.pass_by(queued_s=0.03)  # before the system is asked
    assert queue.within(off_s) == pytest.approx(0.0)


def sampled(*blocks: Block) -> Profile:
    """What a sample of these finds; the watch saw nothing."""
    source, monitor = source_of(range(ITEMS)), Monitor()
    seen = Blocks(source)
    for block in blocks:
        seen.add(block)
    return profile_of(seen, source, monitor)


def block(start: int, items: int = 1, *, wall_s: float, cpu_s: float, **facts: object) -> Block:
    return Block(start, [None] * items, wall_s, cpu_s, cpu_s, **facts)  # type: ignore[arg-type]


def test_items_that_are_pushed_aside_neither_take_long_nor_wait() -> None:
    usual = [block(n, wall_s=0.001, cpu_s=0.001, waits=0) for n in (0, 200, 400)]
    aside = block(600, wall_s=0.051, cpu_s=0.001, queued_s=0.05, waits=0)
    found = sampled(*usual, aside)
    assert found.item_s == pytest.approx(0.001)
    assert found.longest_s == pytest.approx(0.001)
    assert found.waiting_share == pytest.approx(0.0)


def test_items_that_wait_do_so_beside_others_too() -> None:
    """The lock seems to be held by whoever is kept from a processor."""
    blocks = [
        block(n, wall_s=0.03, cpu_s=0.004, queued_s=0.022, waits=1) for n in (0, 200, 400, 600)
    ]
    found = sampled(*blocks)
    assert found.item_s == pytest.approx(0.008)
    assert found.waiting_share == pytest.approx(0.5)


@pytest.mark.parametrize("waits", [1, 100])
def test_a_wait_now_and_then_is_the_watchs(waits: int) -> None:
    first = block(0, wall_s=0.001, cpu_s=0.00001, waits=0)
    found = sampled(first, block(500, 200, wall_s=0.010, cpu_s=0.007, waits=waits))
    assert found.waiting_share == pytest.approx(0.3 if waits == 100 else 0.0, abs=0.01)


def test_one_thread_has_its_share_of_the_cores_too() -> None:
    """In the loop, or with the lock: neither seems to be faster than the other for that."""
    work, cores = profile(), 2 * 3 / (3 + 6)
    loop = Configuration(Traits(inline=True), FREE, 1, 2, whole(), own_core=0.5)
    alone = predict(work, loop._replace(own_core=1.0), ITEMS).seconds
    beside = predict(work, loop, ITEMS)
    assert beside.seconds == pytest.approx(2 * alone)
    assert beside.term(CORES) == pytest.approx(alone)
    shared = Traits(shares_memory=True, shares_gil=True)
    threads = Configuration(shared, FREE, 3, cores, fixed(10, 3), 1, own_core=0.5)
    assert predict(work, threads, ITEMS).seconds >= 0.99 * beside.seconds


def test_a_plan_for_a_busy_machine_divides_work_all_the_same() -> None:
    """Two workers get twice the share that the loop gets."""
    offers = [Offer(o.name, o.traits, o.capacity, o.costs, 16.0, o.cold_cluster) for o in ALL]
    decision = decide(profile(), offers, Wish())
    assert decision.chosen.workers > 1


@pytest.mark.parametrize("aside", [True, False])
def test_the_loop_is_surprised_by_its_items_alone(
    aside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each takes a millisecond; then other programs have the processor for three, or it waits."""
    clocks, cpu_s = Clocks(monkeypatch), [0.0]
    told = SimpleNamespace(
        perf_counter=lambda: clocks.off_s + cpu_s[0], thread_time=lambda: cpu_s[0]
    )
    monkeypatch.setattr("amorsize.serial.time", told)

    def work(item: int) -> int:
        cpu_s[0] += 0.001
        clocks.pass_by(**{"queued_s" if aside else "waiting_s": 0.003})
        return item

    report = RunReport("serial", 1)
    run = SerialRun(work, Feed(source_of(range(100)), []), report, Judge(report), 0.001)
    assert sum(len(values) for _, values in run.pieces()) == (100 if aside else 2)
    assert run.observed_s == (None if aside else pytest.approx(0.004))


@pytest.mark.usefixtures("busy_machine")
def test_a_busy_machine_does_not_make_items_longer() -> None:
    def compute(number: int) -> int:
        until = time.thread_time() + 0.001
        while time.thread_time() < until:
            number += 1
        return 0

    found = [sample(compute, source_of(range(ITEMS))).profile for _ in range(9)]
    usual = sorted(one.item_s for one in found)[len(found) // 2]
    assert usual < 0.002
    assert sum(one.waiting_share > 0.1 for one in found) < 5
