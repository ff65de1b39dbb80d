"""The model as arithmetic: known limits, and monotony where nature is monotone."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amorsize.backend import Capacity, Traits, process_pool_fallback
from amorsize.costs import BackendCosts, declared, fallback
from amorsize.errors import PlanInfeasible
from amorsize.model import PAGES, Configuration, crowding, predict
from amorsize.planner import Candidate, Decision, Offer, Wish, decide, fair_share
from amorsize.profile import Packing, Profile
from amorsize.schedule import fixed, tapered, whole
from amorsize.simulate import simulate

NONE = declared(0.0)
FREE = BackendCosts(NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, declared(1.0))
SERIAL = Offer("serial", Traits(shares_memory=True, inline=True, rank=0), Capacity(1, 8), FREE)
THREADS = Offer(
    "threads",
    Traits(shares_memory=True, shares_gil=True, rank=1),
    Capacity(8, 8, elastic=True),
    FREE,
)
PROCESSES = Offer(
    "processes", Traits(inherits_memory=True, rank=2), Capacity(8, 8), process_pool_fallback()
)
ALL = [SERIAL, THREADS, PROCESSES]


def profile(items: int = 1_000, item_s: float = 0.01, **facts: object) -> Profile:
    usual = Profile(
        items=items,
        sampled=0,
        sample_s=0.0,
        item_s=item_s,
        item_cpu_s=item_s,
        item_sd_s=0.0,
        longest_s=item_s,
        durations=(item_s,) * 7,
        first_call_s=item_s,
        warmup_s=0.0,
        gil_share=1.0,
        gil_measured=True,
        waiting_share=0.0,
        inner_cores=1.0,
        item_rss_bytes=0,
    )
    return usual._replace(**facts)  # type: ignore[arg-type]


def choose(work: Profile, wish: Wish | None = None, offers: list[Offer] | None = None) -> Decision:
    return decide(work, offers or ALL, wish or Wish())


def seconds(work: Profile, offer: Offer, workers: int, chunk: int, items: int = 1_000) -> float:
    setting = Configuration(offer.traits, offer.costs, workers, 8, fixed(chunk, workers))
    return predict(work, setting, items).seconds


def test_the_plain_loop_takes_items_times_item() -> None:
    setting = Configuration(SERIAL.traits, SERIAL.costs, 1, 8, whole())
    assert predict(profile(), setting, 1_000).seconds == pytest.approx(10.0)


def test_free_workers_divide_the_work() -> None:
    setting = Configuration(Traits(inherits_memory=True), FREE, 8, 8, tapered(1, 10, 8))
    assert predict(profile(), setting, 1_000).seconds == pytest.approx(10.0 / 8, rel=0.01)


def test_terms_add_up() -> None:
    setting = Configuration(PROCESSES.traits, PROCESSES.costs, 8, 8, tapered(1, 10, 8))
    prediction = predict(profile(item_sd_s=0.02), setting, 1_000)
    assert sum(term.seconds for term in prediction.terms) == pytest.approx(prediction.seconds)


def test_a_busy_driver_is_a_ceiling() -> None:
    costs = process_pool_fallback()._replace(dispatch_s=fallback(0.005))
    offer = PROCESSES._replace(costs=costs)
    assert seconds(profile(), offer, 8, 1) >= 1_000 * 0.005
    assert seconds(profile(), offer, 8, 25) < 1_000 * 0.005


def test_what_is_parallel_inside_takes_in_workers_what_it_took_with_one_core() -> None:
    offer, work = PROCESSES._replace(costs=FREE), profile(item_cpu_s=0.02, inner_cores=2.0)
    assert seconds(work._replace(item_alone_s=0.012), offer, 8, 1) == pytest.approx(1.5, rel=0.02)
    assert seconds(work, offer, 8, 1) == pytest.approx(2.5, rel=0.02)  # by its CPU time alone


@given(st.floats(1e-4, 1), st.floats(1e-4, 10), st.integers(1, 8))
def test_threads_and_workers_with_many_cores_do_not_run_items_alone(
    item_s: float, alone_s: float, workers: int
) -> None:
    wide = profile(item_s=item_s, item_cpu_s=2 * item_s, inner_cores=2.0)
    alone = wide._replace(item_alone_s=alone_s)
    assert seconds(alone, THREADS, workers, 1) == seconds(wide, THREADS, workers, 1)
    if workers <= 4:
        assert seconds(alone, PROCESSES, workers, 1) == seconds(wide, PROCESSES, workers, 1)


def test_the_last_round_counts_whole() -> None:
    nine = seconds(profile(items=9, item_s=1.0), PROCESSES._replace(costs=FREE), 8, 1, items=9)
    assert nine == pytest.approx(2.0)


@given(st.floats(1e-6, 10), st.integers(2, 10_000), st.integers(1, 64), st.integers(1, 500))
def test_more_work_never_takes_less(item_s: float, items: int, workers: int, chunk: int) -> None:
    less = seconds(profile(item_s=item_s), PROCESSES, workers, chunk, items)
    more = seconds(profile(item_s=item_s * 1.5), PROCESSES, workers, chunk, items)
    assert less <= more * (1 + 1e-9)


def test_cpu_work_goes_to_processes_and_waiting_to_threads() -> None:
    assert choose(profile()).chosen.backend == "processes"
    waiting = profile(item_cpu_s=1e-5, gil_share=0.01, waiting_share=0.99)
    decision = choose(waiting)
    assert decision.chosen.backend == "threads"
    assert decision.chosen.workers > 8


@pytest.mark.parametrize("busy_s", [2e-5, 1e-4, 1e-3, 3e-3])
def test_workers_beyond_the_processors_save_enough_for_their_number(busy_s: float) -> None:
    share = 1 - busy_s / 0.01
    decision = choose(profile(item_cpu_s=busy_s, gil_share=0.0, waiting_share=share))
    chosen = decision.chosen
    assert chosen.backend == "threads"
    fewer = [c for c in decision.rejected if c.backend == "threads" and c.workers < chosen.workers]
    for other in [c for c in fewer if c.workers >= THREADS.capacity.workers]:
        doublings = math.log2(chosen.workers / other.workers)
        assert chosen.prediction.seconds < other.prediction.seconds * 0.92**doublings


def test_threads_work_while_others_start() -> None:
    """As the referee plays it out: each thread starts a millisecond after the one before."""
    costs = FREE._replace(startup_worker_s=fallback(0.001))
    waits = profile(items=200, item_cpu_s=0.0, gil_share=0.0, waiting_share=1.0)
    setting = Configuration(THREADS.traits, costs, 20, 8, fixed(1, 20))
    played = simulate(waits, setting, 200).makespan
    assert predict(waits, setting, 200).seconds == pytest.approx(played, rel=0.05)
    assert played < 0.12


def test_code_without_the_gil_goes_to_threads() -> None:
    assert choose(profile(gil_share=0.0)).chosen.backend == "threads"


def test_tiny_work_stays_in_the_loop() -> None:
    assert choose(profile(items=1_000, item_s=1e-6)).chosen.backend == "serial"


def test_large_results_stay_in_the_loop() -> None:
    heavy = Packing(nbytes=8e6, dump_s=0.004, load_s=0.008, measured=True)
    assert choose(profile(item_s=0.01, outputs=heavy)).chosen.backend != "processes"


def test_never_more_workers_than_items_or_memory() -> None:
    assert choose(profile(items=3, item_s=1.0)).chosen.workers <= 3
    grows = profile(item_rss_bytes=200 << 20)
    assert choose(grows, Wish(memory_bytes=512 << 20)).chosen.workers <= 2


def test_each_rejected_candidate_has_a_reason() -> None:
    decision = choose(profile())
    assert decision.rejected
    assert all(isinstance(c, Candidate) and c.reason for c in decision.rejected)
    times = [c.prediction.seconds for c in decision.rejected]
    assert times == sorted(times)


def test_unpicklable_work_is_refused_with_the_reason() -> None:
    locked = profile(outputs=Packing(error="TypeError: no", measured=True))
    decision = choose(locked)
    assert decision.chosen.backend in ("serial", "threads")
    assert "TypeError: no" in decision.refused[0].reason
    with pytest.raises(PlanInfeasible, match="TypeError: no"):
        choose(locked, offers=[PROCESSES])


def test_items_of_a_stream_travel_to_workers_that_inherit_memory() -> None:
    heavy = Packing(nbytes=1e5, dump_s=0.004, load_s=0.004, measured=True)
    work = profile(item_s=0.01, inputs=heavy)
    inherited, sent = (seconds(one, PROCESSES, 4, 10) for one in (work, streamed(work)))
    assert sent > inherited + 1_000 * heavy.dump_s - 1_000 * work.item_s / 4
    locked = work._replace(inputs=Packing(error="TypeError: no", measured=True))
    assert choose(locked).chosen.backend == "processes"
    assert choose(streamed(locked)).chosen.backend == "serial"


def streamed(work: Profile) -> Profile:
    return work._replace(streamed=True)


def test_short_loops_are_left_for_more_than_half_of_what_starting_workers_takes() -> None:
    work, slow = profile(items=100, item_s=0.001), 0.035
    costs = FREE._replace(startup_s=fallback(slow))
    startling = PROCESSES._replace(costs=costs, capacity=Capacity(2, 2))
    assert choose(work, offers=[SERIAL, startling]).chosen.backend == "serial"  # 85 of 100 ms
    longer = profile(items=200, item_s=0.001)
    assert choose(longer, offers=[SERIAL, startling]).chosen.backend == "processes"


def test_an_engine_that_starts_slowly_does_not_keep_another_one_from_being_chosen() -> None:
    work = profile(items=1_000, item_s=0.001, gil_share=0.85)
    threads = THREADS._replace(capacity=Capacity(2, 2))
    slow = PROCESSES._replace(costs=FREE._replace(startup_s=fallback(0.3)), capacity=Capacity(2, 2))
    assert choose(work, offers=[SERIAL, threads]).chosen.backend == "threads"
    assert choose(work, offers=[SERIAL, threads, slow]).chosen.backend == "threads"


def test_streams_of_unknown_length_are_left_for_a_clear_gain() -> None:
    costs = FREE._replace(item_s=fallback(0.00025))  # on two workers 1.33 times as fast
    little = PROCESSES._replace(costs=costs, capacity=Capacity(2, 2))
    known = profile(items=10_000, item_s=0.0005)
    assert choose(known, offers=[SERIAL, little]).chosen.backend == "processes"
    unknown = known._replace(items=None)
    assert choose(unknown, offers=[SERIAL, little]).chosen.backend == "serial"
    assert choose(unknown, offers=[SERIAL, PROCESSES]).chosen.backend == "processes"


def test_slow_dispatch_makes_chunks_grow() -> None:
    work = profile(items=100_000, item_s=1e-4)
    quick = choose(work, offers=[PROCESSES]).chosen
    slow_costs = process_pool_fallback()._replace(
        dispatch_s=fallback(0.005), slot_s=fallback(0.005)
    )
    slow = choose(work, offers=[PROCESSES._replace(costs=slow_costs)]).chosen
    assert slow.schedule.smallest > quick.schedule.smallest


def test_wishes_are_exact() -> None:
    chosen = choose(profile(), Wish(workers=3, chunk_size=7), [PROCESSES]).chosen
    assert (chosen.workers, chosen.schedule) == (3, fixed(7, 3))
    assert choose(profile(), Wish(fixed_chunks=True), [PROCESSES]).chosen.schedule.kind == "fixed"


def test_planning_a_billion_items_is_as_quick_as_a_thousand() -> None:
    decision = choose(profile(items=1_000_000_000, item_s=0.001))
    assert decision.chosen.schedule.shape(1_000_000_000).chunks > 1_000


def test_a_busy_machine_gives_workers_less() -> None:
    assert fair_share(8, 4, 0.1) == 8
    assert fair_share(8, 4, 3.0) == 8
    assert fair_share(8, 8, 4.0) == pytest.approx(8 * 8 / 12)
    idle = choose(profile(), offers=[PROCESSES]).chosen
    busy = choose(profile(), offers=[PROCESSES._replace(busy_cores=6.0)]).chosen
    assert busy.prediction.seconds > 1.3 * idle.prediction.seconds


def test_a_cluster_that_is_not_up_is_named_or_not_started() -> None:
    far = Traits(remote=True, rank=3)
    tempting = Offer("far", far, Capacity(64, 64), FREE, cold_cluster=True)
    decision = choose(profile(), offers=[SERIAL, tempting])
    assert decision.chosen.backend == "serial"
    assert "unless it is named" in decision.rejected[0].reason
    assert choose(profile(), offers=[tempting]).chosen.backend == "far"
    up = tempting._replace(cold_cluster=False)
    assert choose(profile(), offers=[SERIAL, up]).chosen.backend == "far"


def test_work_that_half_waits_needs_more_workers_than_the_two_bounds_say() -> None:
    # Two processors, as much waiting as computing: four workers would do if they took turns.
    assert crowding(2, 2.0, 1.0, 1.0) == 1.0
    at_the_knee, beyond, far_beyond = (crowding(n, 2.0, 1.0, 1.0) for n in (4, 8, 64))
    assert at_the_knee == pytest.approx(1.26, abs=0.02)
    assert 1.0 <= far_beyond <= beyond < 1.02


def test_work_that_waits_is_bounded_by_its_waiting() -> None:
    # 99 ms of waiting for each millisecond of work: ten workers do ten items in 100 ms.
    rate = 1 / (crowding(10, 2.0, 0.001, 0.099) * 0.001 / 2)
    assert rate == pytest.approx(10 / 0.1, rel=0.05)


def test_threads_that_want_the_lock_now_and_then_wait_for_each_other() -> None:
    # A third of each item holds the lock: two threads would fit, but now and then meet.
    shares = (0.0, 0.33, 0.9)
    takes = [seconds(profile(gil_share=share), THREADS, 2, 5) for share in shares]
    assert takes[0] == pytest.approx(5.0, rel=0.02)
    assert 1.05 * takes[0] < takes[1] < 1.2 * takes[0]
    assert takes[2] > 0.9 * 10.0


def test_threads_are_given_new_memory_in_turns_and_processes_are_not() -> None:
    work = profile(gil_share=0.0, fault_s=0.006)
    assert seconds(work, THREADS, 2, 5) > 1.2 * 5.0
    assert seconds(work, PROCESSES, 2, 5) == seconds(profile(), PROCESSES, 2, 5)
    assert choose(work, offers=[THREADS]).chosen.prediction.term(PAGES) > 0


def test_work_that_never_waits_is_not_crowded() -> None:
    assert crowding(64, 2.0, 1.0, 0.0) == 1.0


# -- chunks that workers share ---------------------------------------------------------------

TEAM = THREADS._replace(traits=THREADS.traits._replace(shares_chunks=True))
NAPS = profile(item_s=0.001, item_cpu_s=10e-6, gil_share=0.0, waiting_share=0.99)


def test_items_of_shared_chunks_wait_for_none_of_their_chunk() -> None:
    dealt = seconds(NAPS, THREADS, workers=10, chunk=300)
    shared = seconds(NAPS, TEAM, workers=10, chunk=300)
    assert dealt == pytest.approx(0.3)  # one worker has 300 of them
    assert shared == pytest.approx(0.1, rel=0.01)


def test_shared_chunks_are_few() -> None:
    costs = FREE._replace(dispatch_s=declared(20e-6))
    chosen = choose(NAPS, offers=[TEAM._replace(costs=costs)]).chosen
    assert len(list(chosen.schedule.sizes(1_000))) <= 8


def test_threads_that_want_the_lock_too_often_take_a_hand_over_each() -> None:
    costs = FREE._replace(handover_s=declared(20e-6))
    few, many = (
        seconds(NAPS, TEAM._replace(costs=costs), workers=count, chunk=1_000) for count in (16, 128)
    )
    assert few == pytest.approx(1_000 * 0.001 / 16, rel=0.05)
    assert many == pytest.approx(1_000 * 20e-6, rel=0.15)


@given(st.integers(2, 256), st.floats(20e-6, 0.1), st.floats(0.0, 1e-3))
def test_a_hand_over_never_makes_a_prediction_smaller(
    workers: int, item_s: float, handover_s: float
) -> None:
    work = profile(item_s=item_s, item_cpu_s=item_s / 10, gil_share=0.05, waiting_share=0.9)
    dear = TEAM._replace(costs=FREE._replace(handover_s=declared(handover_s)))
    assert seconds(work, dear, workers, 100) >= seconds(work, TEAM, workers, 100) - 1e-12


def test_uneven_waits_crowd_the_lock_sooner() -> None:
    team = TEAM._replace(costs=FREE._replace(handover_s=declared(20e-6)))
    many = 100_000  # so that the uneven end is nothing beside them
    even = seconds(NAPS, team, workers=32, chunk=many, items=many)
    uneven = seconds(NAPS._replace(item_sd_s=0.002), team, workers=32, chunk=many, items=many)
    assert even == pytest.approx(many * 0.001 / 32, rel=0.15)
    assert uneven > 1.1 * even


def test_even_waits_that_are_long_are_followed_by_all_threads_in_a_row() -> None:
    team = TEAM._replace(costs=FREE._replace(handover_s=declared(20e-6)))
    long = profile(item_s=0.01, item_cpu_s=10e-6, gil_share=0.0, waiting_share=0.999)
    in_a_row = 0.01 / 128 + 20e-6
    assert seconds(long, team, workers=128, chunk=1_000) / 1_000 == pytest.approx(in_a_row, rel=0.1)


def test_a_moment_on_a_processor_holds_the_lock_but_for_waking_up() -> None:
    costs = FREE._replace(handover_s=declared(20e-6), waking_s=declared(15e-6))
    work = NAPS._replace(item_cpu_s=40e-6)
    found = seconds(work, TEAM._replace(costs=costs), workers=128, chunk=1_000)
    assert found == pytest.approx(1_000 * (25e-6 + 20e-6), rel=0.1)


def test_next_to_no_computing_crowds_nothing() -> None:
    assert crowding(3, 1.0, 1e-309, 1.0) == 1.0
