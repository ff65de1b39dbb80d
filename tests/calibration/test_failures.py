"""A measurement that fails falls back, says so, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import psutil
import pytest

import amorsize
from amorsize import cost_store, pricing
from amorsize.backend import Availability, Backend, Chunk, OpenRequest, Session, Traits
from amorsize.calibration import CalibrationFailed, calibrate
from amorsize.cost_store import CostStoreWarning, Stored
from amorsize.costs import STEADY_S, Figure
from amorsize.plugins import registry
from amorsize_local.processes import ProcessBackend
from amorsize_local.threads import ThreadBackend

pytestmark = pytest.mark.usefixtures("store")


def forked_workers() -> set[psutil.Process]:
    """Children of the fork server; it belongs to the interpreter, and ends with it."""
    here = psutil.Process()
    return set(here.children(recursive=True)) - set(here.children())


@pytest.fixture
def no_process_left() -> Iterator[None]:
    before = forked_workers()
    yield
    _, alive = psutil.wait_procs(forked_workers() - before, timeout=5)
    assert not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]


class Wrapped(Session):
    """A session of processes with something wrong."""

    def __init__(self, inner: Session, submit: Callable[[Session, Chunk], Future[Any]]) -> None:
        self._inner, self._submit, self.workers = inner, submit, inner.workers

    def submit(self, chunk: Chunk) -> Future[Any]:
        return self._submit(self._inner, chunk)

    def wait(self, futures: Any, timeout_s: float | None) -> set[Future[Any]]:
        mine = [future for future in futures if not hasattr(future, "never")]
        if not mine:
            return super().wait(futures, timeout_s)
        return self._inner.wait(mine, timeout_s)

    def close(self, *, cancel: bool) -> None:
        self._inner.close(cancel=cancel)


class Faulty(Backend):
    """Processes whose session is wrapped."""

    name = "faulty"
    traits = Traits()
    submit: Callable[[Session, Chunk], Future[Any]]
    opened = 0

    def __init__(self, submit: Callable[[Session, Chunk], Future[Any]]) -> None:
        self.inner, self.submit = ProcessBackend("forkserver"), submit

    def availability(self) -> Availability:
        return Availability(True)

    def release(self) -> None:
        self.inner.release()

    def open(self, request: OpenRequest) -> Session:
        type(self).opened += 1
        return Wrapped(self.inner.open(request), self.submit)


def dies_half_way(session: Session, chunk: Chunk) -> Future[Any]:
    if chunk.number == 20:
        for process in forked_workers():
            process.send_signal(signal.SIGKILL)
        raise ConnectionResetError("the engine has gone")
    return session.submit(chunk)


def never_answers(session: Session, chunk: Chunk) -> Future[Any]:
    future: Future[Any] = Future()
    future.never = True  # type: ignore[attr-defined]
    return future


@pytest.mark.usefixtures("no_process_left")
@pytest.mark.parametrize(
    ("submit", "limit_s", "reason"),
    [(dies_half_way, 30.0, "gone"), (never_answers, 1.0, "not over after 1 s")],
)
def test_an_engine_that_dies_or_hangs_half_way(submit: Any, limit_s: float, reason: str) -> None:
    with pytest.raises(CalibrationFailed, match=reason):
        calibrate(Faulty(submit), workers=2, limit_s=limit_s)


@pytest.mark.usefixtures("no_process_left")
def test_an_engine_that_hangs_in_a_call_of_its_own() -> None:
    release = threading.Event()

    class Hanging(Faulty):
        def open(self, request: OpenRequest) -> Session:
            release.wait(60)
            return super().open(request)

    backend = Hanging(lambda session, chunk: session.submit(chunk))
    with pytest.raises(CalibrationFailed, match=r"did not answer within 0\.2 s"):
        calibrate(backend, workers=2, limit_s=0.2)
    release.set()
    for thread in threading.enumerate():
        if thread.name == "amorsize-calibration":
            thread.join(30)
            assert not thread.is_alive()


def test_no_permission_to_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> int:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "fork", refuse)
    with pytest.raises(CalibrationFailed, match="not permitted"):
        calibrate(ProcessBackend("fork"), workers=2)


CONFINED = """
import time
import amorsize

def work(x):
    time.sleep(0.002)  # waiting pays on many workers, however busy the machine is
    return x

plan = amorsize.plan(work, range(400))
assert plan.backend != "serial", plan
assert plan.run() == list(range(400))
print(amorsize.plan(work, range(50_000), backend="multiprocessing"))
print(plan.report)
"""


def test_where_no_process_and_no_thread_may_be_started_the_loop_does_it_all(
    cgroups: Any, store: Path
) -> None:
    name = f"amorsize-tasks-{os.getpid()}"
    try:
        cgroups.make(name, tasks=1)
    except OSError as error:
        pytest.skip(f"this limit cannot be set here: {error}")
    done = subprocess.run(
        [sys.executable, "-c", f"{cgroups.entry(name)}\n{CONFINED}"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "(fallback, not measured: " in done.stdout
    assert "cannot start workers" in done.stdout
    assert "items on serial (1 worker)" in done.stdout
    assert re.search(r"moved from \w+ to serial at item \d+: backend '\w+' is not", done.stdout)


def test_a_plan_says_that_and_why_costs_are_not_measured(store: Path) -> None:
    backend = Faulty(dies_half_way)
    costs = pricing.price(backend, workers=2, worth_s=1e6)
    assert costs.latency_s.origin == "fallback"
    assert "the engine has gone" in costs.latency_s.note

    known = registry()
    known.add(_plugin(backend), "faulty-plugin")
    try:
        plan = amorsize.plan(_slow, range(2000), backend="faulty", workers=2)
        assert "(fallback, not measured: " in plan.explain()
        assert "the engine has gone" in plan.explain()
    finally:
        known.backends.pop("faulty")


def _plugin(backend: Backend) -> Any:
    class Plugin:
        @amorsize.hookimpl
        def amorsize_backends(self) -> list[Backend]:
            return [backend]

    return Plugin()


def _slow(item: int) -> int:
    return sum(range(20_000)) + item


def test_a_failure_is_remembered_by_other_processes_for_a_while(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = Faulty(dies_half_way)
    pricing.price(backend, workers=2, worth_s=1e6)
    pricing.forget()  # as another process
    opened = Faulty.opened
    costs = pricing.price(backend, workers=2, worth_s=1e6)
    assert Faulty.opened == opened
    assert "the engine has gone" in costs.latency_s.note
    pricing.forget()
    monkeypatch.setattr(cost_store, "FAILURE_AGE_S", 0.0)
    pricing.price(backend, workers=2, worth_s=1e6)
    assert Faulty.opened > opened


def test_costs_that_runs_contradict_are_measured_anew(store: Path) -> None:
    backend = ProcessBackend("spawn")
    costs = backend.fallback_costs().with_origin("measured")
    costs = costs._replace(startup_s=costs.startup_s._replace(value=0.05, origin="measured"))
    cost_store.save(backend, 2, Stored(costs))
    agrees, contradicts = 0.07, 1.0
    for seen in (contradicts, contradicts, agrees, contradicts, contradicts):
        pricing.forget()  # each run in a process of its own
        assert pricing.price(backend, workers=2, worth_s=0.0).startup_s.origin == "cached"
        pricing.observe(backend, workers=2, first_answer_s=seen, shutdown_s=0.0, first=False)
    assert cost_store.load(backend, 2) is not None
    pricing.forget()
    pricing.price(backend, workers=2, worth_s=0.0)
    pricing.observe(backend, workers=2, first_answer_s=contradicts, shutdown_s=0.0, first=False)
    assert cost_store.load(backend, 2) is None
    assert pricing.price(backend, workers=2, worth_s=0.0).startup_s.origin == "fallback"


def test_the_first_answer_after_all_of_many_workers_have_started_contradicts_nothing(
    store: Path,
) -> None:
    backend = ThreadBackend()
    costs, each = backend.fallback_costs(), Figure(0.001, "measured")
    costs = costs._replace(startup_s=Figure(0.0, "measured"), startup_worker_s=each)
    cost_store.save(backend, 128, Stored(costs))
    for seen in (0.05, 0.08, 0.13, 0.12):  # after some of them, or all
        pricing.forget()
        pricing.price(backend, workers=128, worth_s=0.0)
        pricing.observe(backend, workers=128, first_answer_s=seen, shutdown_s=0.0, first=False)
    assert cost_store.load(backend, 128) is not None
    for _ in range(3):
        pricing.forget()
        pricing.price(backend, workers=128, worth_s=0.0)
        pricing.observe(backend, workers=128, first_answer_s=0.5, shutdown_s=0.0, first=False)
    assert cost_store.load(backend, 128) is None


def test_what_a_run_saw_of_a_start_does_not_keep_the_rest_from_being_measured() -> None:
    backend = ThreadBackend()
    pricing.observe(backend, workers=2, first_answer_s=0.5, shutdown_s=0.1, first=False)
    seen = pricing.price(backend, workers=2, worth_s=0.0)
    assert seen.startup_s.origin == "observed"
    assert seen.dispatch_s.origin == "fallback"
    assert pricing.price(backend, workers=2, worth_s=1e6).dispatch_s.checks


def test_real_runs_do_not_contradict_what_was_just_measured(store: Path) -> None:
    backend = ProcessBackend("spawn")
    pricing.measure(backend, workers=2)
    for _ in range(4):
        backend.release()
        amorsize.plan(
            abs, range(200), backend="multiprocessing", options={"start_method": "spawn"}, workers=2
        ).run()
    backend.release()
    assert cost_store.load(backend, 2) is not None


def test_spawn_is_not_believed_to_be_cheaper_than_fork(store: Path) -> None:
    fork, spawn = ProcessBackend("fork"), ProcessBackend("spawn")
    costs = fork.fallback_costs()
    slow = costs._replace(startup_s=costs.startup_s._replace(value=5.0, origin="measured"))
    cost_store.save(fork, 2, Stored(slow))
    found = pricing.measure(spawn, workers=2)
    assert found.startup_s.origin == "fallback"
    assert "not consistent: spawn" in found.startup_s.note


CALIBRATING = """
import sys, warnings
warnings.simplefilter("error")
from amorsize import pricing
from amorsize.backend import Backend
from amorsize_local.threads import ThreadBackend
import amorsize.calibration as calibration
measured = []
inner = calibration.calibrate
def counted(*args, **settings):
    measured.append(1)
    return inner(*args, **settings)
calibration.calibrate = counted
sys.stdin.readline()
costs = pricing.price(ThreadBackend(), workers=2, worth_s=1e6)
print(len(measured), costs.dispatch_s.origin, costs.dispatch_s.value)
"""


def test_eight_processes_at_once_measure_once_and_leave_one_valid_store(store: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", CALIBRATING],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(8)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    told = [process.communicate(timeout=60) for process in processes]
    assert not [err for _, err in told if err]
    rows = [out.split() for out, _ in told]
    assert sum(int(row[0]) for row in rows) == 1
    assert len({float(row[2]) for row in rows}) == 1
    (file,) = store.iterdir()
    assert json.loads(file.read_text())["costs"]["dispatch_s"]["checks"]


def _read_only(store: Path) -> None:
    store.mkdir(parents=True)
    store.chmod(0o500)


def _a_file(store: Path) -> None:
    store.parent.mkdir(parents=True)
    store.touch()


def _foreign(store: Path) -> None:
    cost_store.save(ThreadBackend(), 2, Stored(ThreadBackend().fallback_costs()))
    (file,) = store.iterdir()
    if os.getuid() != 0:
        pytest.skip("only root can give files away")
    os.chown(file, 12345, 12345)


def _half_written(store: Path) -> None:
    cost_store.save(ThreadBackend(), 2, Stored(ThreadBackend().fallback_costs()))
    (file,) = store.iterdir()
    file.write_bytes(file.read_bytes()[:100])


def _changed(**fields: str) -> Callable[[Path], None]:
    def damage(store: Path) -> None:
        cost_store.save(ThreadBackend(), 2, Stored(ThreadBackend().fallback_costs()))
        (file,) = store.iterdir()
        text = json.dumps(json.loads(file.read_text()) | {name: f"@{name}" for name in fields})
        for name, value in fields.items():
            text = text.replace(f'"@{name}"', value)
        file.write_text(text)

    return damage


def _a_pipe(store: Path) -> None:
    cost_store.save(ThreadBackend(), 2, Stored(ThreadBackend().fallback_costs()))
    (file,) = store.iterdir()
    file.unlink()
    os.mkfifo(file, 0o600)


def _empty(store: Path) -> None:
    cost_store.save(ThreadBackend(), 2, Stored(ThreadBackend().fallback_costs()))
    (file,) = store.iterdir()
    file.write_bytes(b"")


@pytest.mark.parametrize(
    "damage",
    [
        _read_only,
        _a_file,
        _foreign,
        _half_written,
        _empty,
        _a_pipe,
        _changed(contradictions="Infinity"),
        _changed(measured_at="1" * 400),
        _changed(costs="[]"),
        _changed(costs='{"dispatch_s": {"value": -1, "origin": "measured"}}'),
        _changed(identity='"[[", "deep": ' + "[" * 10_000 + "]" * 10_000 + ', "identity": 1'),
    ],
)
def test_a_damaged_cache_costs_a_warning_and_a_measurement(
    store: Path, damage: Callable[[Path], None]
) -> None:
    damage(store)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        costs = pricing.price(ThreadBackend(), workers=2, worth_s=1e6)
    assert costs.dispatch_s.checks  # measured, whatever a busy machine makes of it
    told = [w for w in caught if issubclass(w.category, CostStoreWarning)]
    if damage is not _read_only or os.getuid() != 0:  # root may write everywhere
        assert told
    assert all("stored" in str(w.message) for w in told)


def test_nothing_is_measured_or_started_that_cannot_pay(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("measured")

    monkeypatch.setattr("amorsize.calibration.calibrate", never)
    assert amorsize.map(abs, range(1000)) == list(range(1000))
    for backend in registry().backends.values():
        if backend.traits.remote and not backend.availability().running:
            costs = pricing.price(backend, workers=2, worth_s=1e6)
            assert costs.startup_s.origin == "fallback"
    assert not store.exists()
    assert STEADY_S["local"] + STEADY_S["local"] <= 0.3
    assert STEADY_S["remote"] <= 1.0
