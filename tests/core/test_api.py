"""What a user sees of plan, map and imap on the local backends."""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import amorsize
from amorsize.backend import (
    Availability,
    BackendCosts,
    Capacity,
    OpenRequest,
    Session,
    Traits,
    fallback,
)
from amorsize.blocks import profile_of
from amorsize.errors import (
    BackendNotFound,
    InvalidArgument,
    NotCallable,
    NotIterable,
    UnpicklableResult,
)
from amorsize.monitor import usable_cores
from amorsize.plugins import registry
from amorsize.probes import Limits
from amorsize.profile import Profile

LOCAL = ["serial", "threads", "multiprocessing", "auto"]
PARALLEL = ["threads", "multiprocessing"]


def spin(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def after(seconds: float, value: Any) -> Any:
    spin(seconds)
    return value


def slow_square(x: int) -> int:
    spin(0.0003)
    return x * x


class OddError(Exception):
    """An exception whose constructor does not take its args back."""

    def __init__(self, left: int, right: int) -> None:
        super().__init__(f"{left} and {right}")
        self.left, self.right = left, right


@pytest.mark.parametrize("backend", LOCAL)
@pytest.mark.parametrize("make", [list, tuple, iter, lambda r: (x for x in r), set, lambda r: r])
def test_results_are_those_of_the_loop(backend: str, make: Callable[[range], Any]) -> None:
    expected = [slow_square(x) for x in make(range(200))]
    assert amorsize.map(slow_square, make(range(200)), backend=backend) == expected


@pytest.mark.parametrize("backend", LOCAL)
@pytest.mark.parametrize(
    "data", [[], iter([]), [5], iter([5]), {}, "", "ab", {1: 2}, b"xy", (1, 2)]
)
def test_small_and_odd_data(backend: str, data: Any) -> None:
    data, again = itertools.tee(data) if isinstance(data, Iterator) else (data, data)
    assert amorsize.map(repr, data, backend=backend) == [repr(x) for x in again]


@pytest.mark.parametrize("backend", LOCAL)
def test_each_item_runs_once(backend: str, calls: Any) -> None:
    plan = amorsize.plan(lambda x: calls(after(0.0002, x)), range(300), backend=backend)
    assert len(calls.items) == plan.sampled
    assert plan.run() == list(range(300))
    assert calls.items == list(range(300))


@pytest.mark.parametrize("backend", LOCAL)
def test_each_item_of_a_generator_runs_once(backend: str, calls: Any) -> None:
    plan = amorsize.plan(calls, (x for x in range(300)), backend=backend)
    assert plan.run() == list(range(300))
    assert calls.items == list(range(300))
    with pytest.raises(amorsize.PlanConsumed):
        plan.run()


@pytest.mark.parametrize("backend", LOCAL)
@pytest.mark.parametrize("index", [0, 1, 137, 299])
def test_error_has_its_type_and_index(backend: str, index: int) -> None:
    def fail(x: int) -> int:
        spin(0.0002)
        if x == index:
            raise KeyError("bad")
        return x

    with pytest.raises(KeyError) as caught:
        amorsize.map(fail, range(300), backend=backend)
    assert any(f"item {index} " in note for note in caught.value.__notes__)


@pytest.mark.parametrize("backend", LOCAL)
def test_the_first_failing_item_decides(backend: str) -> None:
    def fail(x: int) -> int:
        spin(0.0002)
        if x >= 40:
            raise ValueError(x)
        return x

    with pytest.raises(ValueError, match="40"):
        amorsize.map(fail, range(300), backend=backend)


@pytest.mark.parametrize("backend", LOCAL)
def test_stop_iteration_is_an_error_not_an_end(backend: str) -> None:
    def stop(x: int) -> int:
        if x == 50:
            raise StopIteration
        return x

    with pytest.raises(StopIteration):
        amorsize.map(stop, range(100), backend=backend)


@pytest.mark.parametrize("backend", PARALLEL)
def test_exception_with_odd_constructor_arrives(backend: str) -> None:
    def fail(x: int) -> int:
        raise OddError(x, 2)

    with pytest.raises(Exception, match="and 2") as caught:
        amorsize.map(lambda x: fail(x) if x == 9 else x, range(10), backend=backend)
    assert "item 9" in "".join(caught.value.__notes__)


@pytest.mark.parametrize("backend", LOCAL)
def test_generator_error_comes_after_its_items(backend: str) -> None:
    def data() -> Iterator[int]:
        yield from range(100)
        raise OSError("source is gone")

    with pytest.raises(OSError, match="gone"):
        amorsize.map(slow_square, data(), backend=backend)
    got: list[int] = []
    with pytest.raises(OSError, match="gone"):
        got.extend(amorsize.imap(slow_square, data(), backend=backend))
    assert got == [x * x for x in range(100)]


@pytest.mark.parametrize("backend", LOCAL)
def test_lambdas_closures_partials_and_methods(backend: str) -> None:
    offset = 3
    for fn in (lambda x: x + offset, functools.partial(pow, 2), [7].__mul__):
        assert amorsize.map(fn, range(50), backend=backend) == [fn(x) for x in range(50)]


@pytest.mark.parametrize("bad", [{"workers": 0}, {"backend": "no such"}, {"on_error": "hide"}])
def test_bad_arguments_read_nothing(bad: dict[str, Any]) -> None:
    data = iter(x for x in range(9))
    with pytest.raises(amorsize.AmorsizeError):
        amorsize.map(abs, data, **bad)
    assert list(data) == list(range(9))


def test_a_generator_that_ends_soon_is_planned_like_a_list() -> None:
    from amorsize.events import RunFinished

    predicted = []

    def keep(event: Any) -> None:
        if isinstance(event, RunFinished):
            predicted.append(event.report.predicted)

    assert amorsize.map(abs, (x for x in range(300)), observers=[keep]) == list(range(300))
    assert predicted[0] is not None


@pytest.mark.parametrize("backend", LOCAL)
def test_stream_of_endless_data_reads_little(backend: str) -> None:
    read = itertools.count()
    stream = amorsize.imap(
        slow_square, ((next(read), x)[1] for x in itertools.count()), backend=backend
    )
    assert list(itertools.islice(stream, 100)) == [x * x for x in range(100)]
    stream.close()
    assert next(read) < 5_000


@pytest.mark.parametrize("backend", LOCAL)
def test_unordered_stream_has_all_results(backend: str) -> None:
    got = amorsize.imap(slow_square, range(200), ordered=False, backend=backend)
    assert sorted(got) == [x * x for x in range(200)]


def test_poison_item_is_named_and_the_pool_survives() -> None:
    plan = amorsize.plan(slow_square, range(10), backend="multiprocessing")
    assert plan.run() == [x * x for x in range(10)]
    parent = os.getpid()

    def die(x: int) -> int:
        spin(0.0005)
        if x == 61 and os.getpid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    with pytest.raises(amorsize.WorkerDied) as caught:
        amorsize.map(die, range(100), backend="multiprocessing")
    assert caught.value.index == 61
    assert "SIGKILL" in str(caught.value)


def test_a_worker_that_dies_once_costs_nothing(tmp_path: Path) -> None:
    marker, parent = tmp_path / "died", os.getpid()

    def die_once(x: int) -> int:
        spin(0.0005)
        if x == 61 and os.getpid() != parent and not marker.exists():
            marker.touch()
            os._exit(3)
        return x

    plan = amorsize.plan(die_once, range(100), backend="multiprocessing")
    assert plan.run() == list(range(100))
    assert marker.exists()
    assert plan.report is not None
    assert plan.report.lost_workers == 1


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_start_methods(method: str) -> None:
    options = {"start_method": method}
    offset = 1
    result = amorsize.map(
        lambda x: x + offset, range(100), backend="multiprocessing", options=options
    )
    assert result == list(range(1, 101))


def test_script_without_main_guard_runs_under_spawn(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import amorsize\n"
        "class Thing:\n"
        "    def __init__(self, x): self.x = x\n"
        "def twice(thing): return Thing(thing.x * 2)\n"
        "data = [Thing(x) for x in range(20)]\n"
        "how = {'start_method': 'spawn'}\n"
        "out = amorsize.map(twice, data, backend='multiprocessing', options=how)\n"
        "print([t.x for t in out] == [2 * x for x in range(20)], type(out[-1]) is Thing)\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True"]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (dict(fn=3), NotCallable),
        (dict(data=3), NotIterable),
        (dict(backend="dusk"), BackendNotFound),
        (dict(backend=object()), BackendNotFound),
        (dict(workers=0), InvalidArgument),
        (dict(workers=-1), InvalidArgument),
        (dict(workers=1.5), InvalidArgument),
        (dict(workers=True), InvalidArgument),
        (dict(chunk_size=0), InvalidArgument),
        (dict(options={"start_method": "fork"}), InvalidArgument),
        (dict(backend="multiprocessing", options={"start_method": "warp"}), InvalidArgument),
        (dict(backend="threads", options={"colour": 1}), InvalidArgument),
    ],
)
def test_bad_input_fails_before_any_item_runs(
    arguments: dict[str, Any], error: type[Exception]
) -> None:
    ran: list[int] = []
    call: dict[str, Any] = {"fn": ran.append, "data": [1, 2, 3], **arguments}
    with pytest.raises(error) as caught:
        amorsize.map(**call)
    assert isinstance(caught.value, amorsize.AmorsizeError)
    assert ran == []


def test_unpicklable_result_names_its_item() -> None:
    with pytest.raises(UnpicklableResult, match="item 0"):
        amorsize.map(lambda x: (x for _ in ()), range(10), backend="multiprocessing")
    with pytest.raises(UnpicklableResult) as caught:
        amorsize.map(
            lambda x: sys._getframe() if x == 97 else slow_square(x),
            range(100),
            backend="multiprocessing",
        )
    assert caught.value.index == 97


def test_unpicklable_results_leave_threads_or_the_loop() -> None:
    plan = amorsize.plan(lambda x: after(0.002, sys._getframe()), range(50))
    assert plan.backend in ("serial", "threads")
    assert len(plan.run()) == 50


def test_arguments_of_a_pool_work_by_hand() -> None:
    plan = amorsize.plan(slow_square, range(500))
    arguments = plan.arguments("multiprocessing")
    assert arguments.processes >= 1
    assert arguments.chunksize >= 1
    with arguments.context().Pool(**arguments.pool()) as pool:
        assert pool.map(slow_square, range(500), **arguments) == [x * x for x in range(500)]


def test_plan_runs_elsewhere_and_again() -> None:
    plan = amorsize.plan(slow_square, range(100))
    expected = [x * x for x in range(100)]
    for backend in (None, "serial", "threads", "multiprocessing"):
        assert plan.run(backend=backend) == expected


def test_report_accounts_for_the_run() -> None:
    plan = amorsize.plan(slow_square, range(400), backend="multiprocessing", workers=2)
    plan.run()
    report = plan.report
    assert report is not None
    assert report.items == 400 - plan.sampled
    assert report.workers == 2
    assert sum(term.actual for term in report.terms) == pytest.approx(report.actual, rel=0.01)
    assert sum(t.predicted or 0 for t in report.terms) == pytest.approx(report.predicted, rel=1e-6)
    assert report.compute_s >= 0.0003 * report.items
    assert "predicted" in str(report)


def test_numpy_data_is_read_like_the_loop() -> None:
    numpy = pytest.importorskip("numpy")
    rows = numpy.arange(12_000.0).reshape(1_000, 12)
    for backend in LOCAL:
        got = amorsize.map(lambda row: row * 2, rows, backend=backend)
        assert all((a == b * 2).all() for a, b in zip(got, rows, strict=True))
        got[-1][0] = 1.0  # as writable as the loop's
        kinds = {type(v) for v in amorsize.map(lambda v: v, rows[:, 0], backend=backend)}
        assert kinds == {numpy.float64}


class Elsewhere(amorsize.Backend):
    """An engine on other hosts that is not up, and cannot be asked what it costs."""

    name = "elsewhere"
    traits = Traits(remote=True)

    def __init__(self, startup_s: float) -> None:
        self.startup_s = startup_s

    def availability(self) -> Availability:
        return Availability(True, "installed", running=False)

    def fallback_costs(self) -> BackendCosts:
        return super().fallback_costs()._replace(startup_s=fallback(self.startup_s))

    def capacity(self, limits: Limits) -> Capacity:
        raise AssertionError("this loop does not ask for it")

    def open(self, request: OpenRequest) -> Session:
        raise AssertionError("it is not to be started")


@pytest.mark.parametrize(
    ("startup_s", "told"), [(30.0, "takes longer than the loop"), (0.1, "hardly pays for the loop")]
)
def test_an_engine_that_would_have_to_be_started_is_not_priced_for_a_short_loop(
    startup_s: float, told: str
) -> None:
    engines = [Elsewhere(startup_s)]
    plugin = types.ModuleType("elsewhere")
    plugin.amorsize_backends = amorsize.hookimpl(lambda: engines)  # type: ignore[attr-defined]
    registry().add(plugin, "elsewhere")
    try:
        plan = amorsize.plan(time.sleep, [0.01] * 20)
    finally:
        registry().remove("elsewhere")
    assert f"elsewhere: it is not up, and starting it {told}" in str(plan)


class AnotherPool(Elsewhere):
    """Processes of this host that are not up, and cannot be asked what they cost."""

    name = "another-pool"
    traits = Traits(inherits_memory=True)


@pytest.mark.measures
@pytest.mark.skipif(usable_cores() < 2, reason="threads cannot save anything on one core")
def test_processes_are_not_priced_where_threads_lose_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def undisturbed(*args: Any, **facts: Any) -> Profile:
        seen = profile_of(*args, **facts)
        return seen._replace(
            item_cpu_s=seen.item_s,
            item_sd_s=0.0,
            longest_s=seen.item_s,
            durations=(seen.item_s,),
            gil_share=0.0,
            waiting_share=0.0,
            inner_cores=1.0,
            trend=0.0,
        )

    # However busy this machine is: the question is what the plan makes of a lock that is free.
    monkeypatch.setattr("amorsize.planner.NOTICEABLE_LOAD", 1e9)
    monkeypatch.setattr("amorsize.sampler.profile_of", undisturbed)
    plugin = types.ModuleType("another_pool")
    plugin.amorsize_backends = amorsize.hookimpl(lambda: [AnotherPool(0.1)])  # type: ignore[attr-defined]
    registry().add(plugin, "another-pool")
    try:
        plan = amorsize.plan(lambda block: hashlib.sha256(block).digest(), [bytes(2_000_000)] * 150)
    finally:
        registry().remove("another-pool")
    assert plan.backend == "threads"
    assert "another-pool: no faster than threads" in str(plan)


@pytest.mark.parametrize("data", [[], [1]])
def test_a_report_does_not_take_nothing_to_run_for_an_unknown_length(data: list[int]) -> None:
    plan = amorsize.plan(abs, data, backend="serial")
    assert plan.run() == data
    assert "unknown" not in str(plan.report)
    assert "predicted 0.000 s" in str(plan.report)
