"""Functions whose truth is known."""

from __future__ import annotations

import gc
import hashlib
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from importlib import import_module
from typing import Any

import pytest

from amorsize import watched
from amorsize.blocks import Block, Blocks, profile_of
from amorsize.monitor import Monitor, running_threads, usable_cores
from amorsize.probes.host import Host
from amorsize.probes.openblas import loaded_pools
from amorsize.profile import Profile
from amorsize.sampler import sample
from amorsize.source import source_of
from amorsize.travel_times import measure_packing

pytestmark = pytest.mark.measures


def spin(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def results_of(kept: list[tuple[int, list[Any]]]) -> dict[int, Any]:
    return {start + i: value for start, block in kept for i, value in enumerate(block)}


def test_results_are_kept_by_index_and_no_item_runs_twice() -> None:
    ran: list[int] = []

    def negative(x: int) -> int:
        ran.append(x)
        return -x

    drawn = sample(negative, source_of(range(10_000)))
    kept = results_of(drawn.results)
    assert kept == {x: -x for x in ran}
    assert len(ran) == len(set(ran)) == drawn.profile.sampled


def test_sequences_are_sampled_across_their_length() -> None:
    drawn = sample(lambda x: spin(0.0005), source_of(range(1_000)))
    positions = sorted(results_of(drawn.results))
    assert positions[0] == 0
    assert any(400 < position < 600 for position in positions)
    assert drawn.profile.sampled < 50


def test_iterators_are_sampled_from_the_front() -> None:
    read: list[int] = []

    def data() -> Iterator[int]:
        for x in range(1_000):
            read.append(x)
            yield x

    source = source_of(data())
    drawn = sample(lambda x: spin(0.0005), source)
    assert read == list(range(drawn.profile.sampled))
    assert drawn.profile.items is None


def test_all_of_little_data_is_sampled() -> None:
    drawn = sample(abs, source_of([-1, 2]))
    assert drawn.profile.items == 2
    assert drawn.profile.sampled <= 2
    assert sample(abs, source_of(iter([]))).profile.items == 0


def test_one_long_item_is_enough() -> None:
    assert sample(lambda x: spin(0.05), source_of(range(5))).profile.sampled == 1


def test_the_first_call_is_set_apart() -> None:
    state: list[int] = []

    def lazy(x: int) -> None:
        spin(0.0005 if state else 0.02)
        state.append(x)

    profile = sample(lazy, source_of(range(2_000))).profile
    assert profile.warmup_s > 0.01
    assert profile.item_s < 0.005


def test_waiting_is_told_from_working() -> None:
    waits = max(
        (sample(lambda x: time.sleep(0.002), source_of(range(200))).profile for _ in range(3)),
        key=lambda profile: profile.waiting_share,  # a busy machine hides some of it
    )
    works = sample(lambda x: spin(0.002), source_of(range(200))).profile
    assert waits.waiting_share > 0.6
    assert works.waiting_share < 0.5
    assert waits.item_cpu_s < works.item_cpu_s


def test_released_lock_is_told_from_a_held_one() -> None:
    block = bytes(8_000_000)
    free = min(
        (
            sample(lambda x: hashlib.sha256(block).digest(), source_of(range(100))).profile
            for _ in range(3)
        ),
        key=lambda profile: profile.gil_share,  # a busy machine looks like a lock
    )
    held = sample(lambda x: sum(range(200_000)), source_of(range(500))).profile
    assert free.gil_measured
    assert held.gil_measured
    assert free.gil_share < 0.5 < held.gil_share


def test_a_failing_item_is_kept_with_its_index() -> None:
    drawn = sample(lambda x: 1 / (x - 500), source_of(range(1_000)))
    assert drawn.failure is not None
    index, error = drawn.failure
    assert index == 500
    assert isinstance(error, ZeroDivisionError)
    assert "item 500 (500)" in error.__notes__[0]


def test_interrupts_pass_through() -> None:
    def interrupt(x: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample(interrupt, source_of(range(10)))


def test_packing_is_measured_on_what_was_sampled() -> None:
    drawn = sample(lambda x: bytes(1_000), source_of([bytes(50)] * 500))
    into, out = measure_packing(drawn, inputs=True)
    assert 1_000 <= out.nbytes < 1_100
    assert into.nbytes < 100
    assert out.load_s > 0
    _, refused = measure_packing(
        sample(lambda x: (i for i in [x]), source_of(range(9))), inputs=False
    )
    assert "generator" in refused.error


class OfAScript:
    """Will belong to ``__main__``: cannot be imported by a worker, and travels whole."""

    def __init__(self, number: int) -> None:
        self.number = number


def test_a_class_that_travels_whole_is_the_messages_and_not_the_items(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import_module("cloudpickle")
    drawn = sample(id, source_of(range(9)))
    drawn = drawn._replace(recent_items=tuple(OfAScript(number) for number in range(200)))
    plain = measure_packing(drawn, inputs=True)
    monkeypatch.setattr(OfAScript, "__module__", "__main__")
    monkeypatch.setattr(sys.modules["__main__"], "OfAScript", OfAScript, raising=False)
    sent = measure_packing(drawn, inputs=True)
    assert plain[0].message_s < sent[0].message_s
    assert sent[0].dump_s < sent[0].message_s / 3  # of one item alone it is nearly all
    assert not sent[0].error


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="threads are not told here")
def test_threads_that_ran_before_are_not_the_functions() -> None:
    spin = partial(hashlib.pbkdf2_hmac, "sha256", b"like a pool", b"after its work", 3_000_000)
    thread = threading.Thread(target=spin)
    thread.start()
    seen = 0
    while seen < 20:  # it may still wait for the interpreter lock to get at its work
        time.sleep(0.0005)
        seen = seen + 1 if running_threads() > 1 else 0
    block = bytes(40_000_000)  # long against the ticks in which the system counts
    profile = sample(lambda x: hashlib.sha256(block).digest(), source_of(range(100))).profile
    thread.join()
    assert profile.inner_cores < 1.5


def test_a_first_item_of_no_cost_does_not_halve_the_mean_of_few_others() -> None:
    def work(cost: int) -> int:
        return sum(range(cost))

    costs = [1, *[400_000] * 400]
    profile = sample(work, source_of(costs)).profile
    middle = sorted(profile.durations)[len(profile.durations) // 2]  # others make some longer
    assert profile.item_s > 0.7 * middle


def test_the_sampler_does_not_let_go_of_the_lock_between_items() -> None:
    def work(_: int) -> int:
        return sum(range(40_000))

    shares = []
    for _ in range(7):
        watched.forget(work)
        shares.append(sample(work, source_of(list(range(1_000)))).profile.gil_share)
    assert sorted(shares)[3] > 0.7


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of waiting for a processor")
@pytest.mark.usefixtures("busy_machine")
def test_what_computes_does_not_seem_to_wait_on_a_busy_machine() -> None:
    block = bytes(20_000_000)

    def digest(_: int) -> bytes:
        return hashlib.sha256(block).digest()

    profile = sample(digest, source_of(list(range(40)))).profile
    assert profile.waiting_share < 0.1


def test_the_lock_is_watched_as_long_while_planning_is_prepared() -> None:
    block, meant_s = bytes(500_000), Monitor.needed_s()

    def digest(_: int) -> bytes:
        return hashlib.sha256(block).digest()

    for _ in range(8):  # in some the preparation begins with the sample
        watched.forget(digest)
        # It goes on for all of the sample, and lets the function have the lock at once.
        meanwhile = [lambda: threading.Event().wait(0.02)]
        profile = sample(digest, source_of(list(range(5_000))), meanwhile=meanwhile).profile
        assert profile.sample_s >= 0.9 * meant_s


def test_a_second_item_tells_what_a_long_first_call_had_to_load(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("amorsize.enough.usable_cores", lambda: 2)

    def load_and_work(item: int) -> int:
        until = time.thread_time() + (0.002 if item else 0.3)
        while time.thread_time() < until:
            pass
        return item

    # Were they all as long, a second one would take a fiftieth of the time of two workers.
    assert sample(load_and_work, source_of(range(100))).profile.item_s < 0.1
    # Of few, it would take a good part of it.
    assert sample(load_and_work, source_of(range(8))).profile.sampled == 1


def test_items_that_are_parallel_inside_are_also_seen_with_one_core() -> None:
    np = pytest.importorskip("numpy")
    pools = loaded_pools(Host())[0]
    if usable_cores() < 2 or [pool.size for pool in pools] != [usable_cores()]:
        pytest.skip("numpy uses one core here, or no OpenBLAS")
    matrix, seen = np.random.default_rng(0).random((1_000, 1_000)), list[Any]()

    def work(_: int) -> float:
        seen.append(pools[0].size)
        return float((matrix @ matrix @ matrix)[0, 0])

    profile = sample(work, source_of(range(400))).profile
    assert pools[0].size == usable_cores()
    if profile.inner_cores < 1.5:
        pytest.skip("other programs have the other cores")
    assert seen[0] == usable_cores()
    assert seen[-1] == 1
    assert profile.item_alone_s > profile.item_s / 2


def test_libraries_get_their_threads_back_when_an_item_raises() -> None:
    np = pytest.importorskip("numpy")
    pools = loaded_pools(Host())[0]
    sizes = [pool.size for pool in pools]
    matrix = np.random.default_rng(0).random((1_000, 1_000))

    def work(item: int) -> float:
        if any(pool.size == 1 for pool in pools):
            raise ValueError(item)
        return float((matrix @ matrix @ matrix)[0, 0])

    sample(work, source_of(range(400)))
    assert [pool.size for pool in pools] == sizes


@pytest.mark.measures
def test_what_planning_computes_beside_items_that_wait_is_not_their_work() -> None:
    def plan() -> None:
        until = time.thread_time() + 0.01
        while time.thread_time() < until:
            pass

    def wait(_: int) -> None:
        time.sleep(0.002)

    profile = sample(wait, source_of(range(1000)), meanwhile=[plan]).profile
    assert profile.waiting_share > 0.5
    assert profile.item_cpu_s < 0.001


def test_what_watching_takes_is_no_work_of_items_that_wait() -> None:
    source = source_of(range(200))
    monitor = Monitor()
    monitor.start()
    monitor.stop()
    monitor.leave()
    assert monitor.threads == 1

    def sampled(beside_s: float) -> Profile:
        """Of items that take 10 ms, 20 us on a processor; other threads take some seconds beside
        all of them.
        """
        seen = Blocks(source)
        for start in range(3):
            seen.add(Block(start, [None], 0.01, 0.00002, 0.00002 + beside_s / 3))
        return profile_of(seen, source, monitor)

    # The end and the start of a thread are not on its own clock: 0.04 to 0.095 ms were seen.
    assert sampled(0.00009).item_cpu_s == pytest.approx(0.00002)
    assert sampled(0.003).item_cpu_s == pytest.approx(0.00002 + 0.0029 / 3)


def test_a_full_garbage_collection_is_no_work_of_the_item_it_interrupts() -> None:
    ballast = [(number,) for number in range(300_000)]
    collecting: list[float] = []

    def collects(x: int) -> int:
        spin(0.0005)
        if x == 100:  # the second item of a sample of 200
            before = time.perf_counter()
            gc.collect()
            collecting.append(time.perf_counter() - before)
        return x

    profile = sample(collects, source_of(range(200))).profile
    assert len(ballast) == 300_000
    assert len(collecting) == 1
    assert profile.sampled > 2
    assert profile.longest_s < 0.0005 + collecting[0]


def test_what_only_the_first_of_items_that_wait_computes_is_not_taken_for_theirs() -> None:
    loaded: list[int] = []

    def fetch(x: int) -> int:
        if not loaded:
            loaded.append(x)
            spin(0.004)
        time.sleep(0.02)
        return x

    profile = sample(fetch, source_of(range(200))).profile
    assert profile.sampled == 2
    assert profile.item_cpu_s < 0.002
    assert profile.waiting_share > 0.8
