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


def task(state: str, cpu: int, threads: int = 1) -> str:
    rest = " ".join(["1"] * 16 + [str(threads)] + ["0"] * 18 + [str(cpu)] + ["0"] * 5)
    return f"1 (some (odd) name) {state} {rest}\n"


def test_a_bound_process_counts_who_is_on_its_cpus(machine: Machine) -> None:
    """The load of the machine may all be on the CPUs that it may not use."""
    tree = {
        "/proc/loadavg": "9.0 4.0 4.0 7/200 99\n",
        **{f"/proc/{n}/stat": task("R", 4) for n in (10, 11, 12)},
        "/proc/13/stat": task("S", 0),
        "/proc/14/stat": task("R", 1),
        "/proc/15/stat": task("S", 0, threads=3),
        "/proc/15/task/15/stat": task("S", 0),
        "/proc/15/task/16/stat": task("R", 0),
        "/proc/15/task/17/stat": task("R", 5),
        "/proc/16/stat": "gone",
    }
    bound = frozenset({0, 1})
    assert contention(machine(tree, affinity=bound))[0].foreign_cores == 2
    assert contention(machine({}, affinity=frozenset({2, 3})))[0].foreign_cores == 0
    assert contention(machine({}, affinity=frozenset(range(8))))[0].foreign_cores == 6


def test_among_too_many_tasks_the_load_is_taken_to_be_spread(machine: Machine) -> None:
    tree = {f"/proc/{n}/stat": task("S", 5) for n in range(1000, 1600)}
    tree["/proc/loadavg"] = "4.0 4.0 4.0 9/200 99\n"
    assert contention(machine(tree, affinity=frozenset({0, 1})))[0].foreign_cores == 1


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
    assert now == Sample(1.0, 5.0, 0.07, 0.0, 1, 9.0)


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
