"""Other work on the machine: estimated at first, measured from the second reading on."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from amorsize.probes import Host
from amorsize.probes.contention import Sample, contention, sample

pytestmark = pytest.mark.measures

Machine = Callable[..., Host]


def stat(*cpus: tuple[int, int]) -> str:
    rows = [f"cpu{n} {busy} 0 0 900 0 0 0 {steal} 0 0" for n, (busy, steal) in enumerate(cpus)]
    return "cpu  1 1 1 1 1 1 1 1 0 0\n" + "\n".join(rows) + "\nintr 5\n"


def test_a_first_reading_is_an_estimate(machine: Machine) -> None:
    found, now = contention(machine({"/proc/loadavg": "3.50 2.00 1.00 3/200 99\n"}))
    assert (found.load1, found.load5, found.load15) == (3.5, 2.0, 1.0)
    assert found.foreign_cores == 2, "three run now, one of them is this process"
    assert found.steal is None
    assert found.window_s is None
    assert now is None


def test_ones_own_past_is_not_a_foreign_load(machine: Machine) -> None:
    found, _ = contention(machine({"/proc/loadavg": "7.90 2.00 1.00 1/200 99\n"}))
    assert found.foreign_cores == 0


def test_the_estimate_is_scaled_to_the_allowed_cpus(machine: Machine) -> None:
    host = machine({"/proc/loadavg": "4.0 4.0 4.0 9/200 99\n"}, affinity=frozenset({0, 1}))
    assert contention(host)[0].foreign_cores == 1


def test_two_readings_measure_what_others_used(machine: Machine) -> None:
    clock = iter([10.0, 12.0])
    host = machine({"/proc/stat": stat((100, 0), (500, 0))}, cpu_seconds=1.0, cpus=2)
    _, before = contention(host, None, lambda: next(clock))
    assert before is not None
    host = machine({"/proc/stat": stat((300, 100), (500, 0))}, cpu_seconds=1.5, cpus=2)
    found, _ = contention(host, before, lambda: next(clock))
    assert found.window_s == 2.0
    assert found.foreign_cores == pytest.approx((2.0 - 0.5) / 2.0)
    assert found.steal == pytest.approx(1.0 / 2.0 / 2)
    assert {fact.name for fact in found.facts} >= {"steal", "foreign"}


def test_only_allowed_cpus_count(machine: Machine) -> None:
    host = machine({"/proc/stat": stat((100, 0), (500, 7))}, affinity=frozenset({1}))
    now = sample(host, lambda: 1.0)
    assert now == Sample(1.0, 5.0, 0.07, 0.0, 1)


def test_living_workers_are_ones_own(machine: Machine) -> None:
    def numbers(ticks: int) -> str:
        return f"(a worker) S 1 1 1 0 -1 0 0 0 0 0 {ticks} 20 3 4 20 0 1 0 5\n"

    host = machine(
        {
            "/proc/stat": stat((1000, 0)),
            "/proc/self/task/7/children": "41 42 ",
            "/proc/41/stat": "41 " + numbers(100),
            "/proc/41/task/41/children": "43\n",
            "/proc/43/stat": "43 " + numbers(200),
            "/proc/42/stat": "gone",
        }
    )
    now = sample(host, lambda: 1.0)
    assert now is not None
    assert now.own_s == pytest.approx((100 + 200 + 2 * 27) / 100)


@pytest.mark.parametrize("gap_s", [0.01, 3600.0], ids=["too short", "too long ago"])
def test_windows_that_say_nothing(machine: Machine, gap_s: float) -> None:
    host = machine({"/proc/stat": stat((100, 0))})
    before = sample(host, lambda: 0.0)
    found, _ = contention(host, before, lambda: gap_s)
    assert found.window_s is None
    assert found.steal is None


def test_counters_that_run_backwards(machine: Machine) -> None:
    before = Sample(0.0, 99.0, 9.0, 0.0, 1)
    found, _ = contention(machine({"/proc/stat": stat((1, 0))}), before, lambda: 1.0)
    assert found.foreign_cores == 0
    assert found.steal == 0
