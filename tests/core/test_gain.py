"""Whether workers gain what they were started for."""

from __future__ import annotations

from amorsize.gain import Gain
from amorsize.worker import ChunkTimes


def test_threads_that_wake_up_often_are_not_said_to_compute() -> None:
    gain = Gain(1, waiting_cpu_s=12e-6)
    times = ChunkTimes(0.05, 0.008, 0.0, 0.0, "here", 0)
    gain.observe(160, times)
    assert not gain.computes(0.010)  # 50 us each, all processors busy with it
    gain.observe(10, times._replace(cpu_s=0.05))
    assert not gain.computes(0.010)  # the first items of threads that have just started
    assert gain.computes(0.060)


def test_items_that_wait_as_long_as_planned_do_not_compute_however_busy_the_processor_is() -> None:
    times = ChunkTimes(1.0, 0.05, 0.0, 0.0, "here", 0)  # 100 items: starting threads takes its time
    as_planned = Gain(64, waiting_cpu_s=50e-6, item_s=0.010)
    stretched = Gain(64, waiting_cpu_s=50e-6, item_s=0.005)
    for gain in (as_planned, stretched):
        gain.observe(100, times)
    assert not as_planned.computes(0.060)
    assert stretched.computes(0.060)
