"""The kit finds what is wrong with broken backends, and says it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from amorsize.backend import (
    Availability,
    Backend,
    BackendUnavailable,
    Chunk,
    ExecutorBackend,
    ExecutorSession,
    FunctionPayload,
    OpenRequest,
    Outcome,
    Session,
    Traits,
    run_chunk,
    run_packed,
)
from amorsize.errors import InvalidArgument
from amorsize.testing import BackendContract, run_contract
from amorsize.testing.contract import requirements
from amorsize.worker import Failure


class Pool(ExecutorBackend):
    """A sound backend of threads, to be broken."""

    name = "pool"
    traits = Traits(shares_memory=True, shares_gil=True, rank=1)

    def executor(self, workers: int) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(workers)


class Spoiled(Pool):
    """A pool whose outcomes or items are tampered with."""

    def __init__(self, spoil: Callable[[OpenRequest, Chunk], Outcome]) -> None:
        self._spoil = spoil

    def open(self, request: OpenRequest) -> Session:
        return SpoiledSession(self, request, self._spoil)


class SpoiledSession(ExecutorSession):
    def __init__(
        self, backend: Pool, request: OpenRequest, spoil: Callable[[OpenRequest, Chunk], Outcome]
    ) -> None:
        super().__init__(backend.name, backend.traits, request, backend.executor(request.workers))
        self._spoil = spoil

    def _submit(self, chunk: Chunk) -> Future[Any]:
        return self._executor.submit(self._spoil, self._request, chunk)


def _honest(request: OpenRequest, chunk: Chunk) -> Outcome:
    items = request.items_of(chunk)
    return run_chunk(request.function, items, stop_on_error=chunk.stop_on_error)


def runs_the_last_item_twice(request: OpenRequest, chunk: Chunk) -> Outcome:
    items = request.items_of(chunk)
    run_chunk(request.function, items[-1:])
    return _honest(request, chunk)


def drops_the_last_item(request: OpenRequest, chunk: Chunk) -> Outcome:
    outcome = _honest(request, chunk)
    return Outcome(outcome.values[:-1] or outcome.values, outcome.failures, outcome.times)


def swallows_exceptions(request: OpenRequest, chunk: Chunk) -> Outcome:
    items = request.items_of(chunk)
    outcome = run_chunk(request.function, items, stop_on_error=False)
    return Outcome(outcome.values, (), outcome.times)


def wraps_exceptions(request: OpenRequest, chunk: Chunk) -> Outcome:
    outcome = _honest(request, chunk)
    wrapped = tuple(Failure(p, RuntimeError(str(error))) for p, error in outcome.failures)
    return Outcome(outcome.values, wrapped, outcome.times)


class LosesOrder(Pool):
    """Hands outcomes to futures as they come, the second chunk's first."""

    def open(self, request: OpenRequest) -> Session:
        return LosesOrderSession(self.name, self.traits, request, self.executor(request.workers))


class LosesOrderSession(ExecutorSession):
    def submit(self, chunk: Chunk) -> Future[Any]:
        waiting = self.__dict__.setdefault("waiting", [])
        second: threading.Event = self.__dict__.setdefault("second", threading.Event())
        waiting.append(outer := Future[Any]())

        def run() -> Outcome:
            if chunk.number == 0:
                second.wait(0.5)
            return _honest(self._request, chunk)

        def hand_over(done: Future[Any]) -> None:
            waiting.pop(0).set_result(done.result())
            second.set()

        self._executor.submit(run).add_done_callback(hand_over)
        return outer


class ClaimsToShare(Pool):
    """Says that workers share chunks, and gives each chunk to one."""

    traits = Pool.traits._replace(shares_chunks=True)


class Withdraws(Pool):
    """Drops the first items of what is withdrawn instead of the last."""

    def open(self, request: OpenRequest) -> Session:
        return WithdrawingSession(self.name, self.traits, request, self.executor(request.workers))


class WithdrawingSession(ExecutorSession):
    def submit(self, chunk: Chunk) -> Future[Any]:
        self.__dict__.setdefault("chunks", []).append((chunk, outer := Future[Any]()))
        return outer

    def withdraw(self) -> None:
        for chunk, outer in self.__dict__["chunks"]:
            outcome = _honest(self._request, chunk)
            outer.set_result(Outcome(outcome.values[10:], (), outcome.times))


class LeaksThread(Pool):
    """Leaves a thread behind for each session."""

    def __init__(self) -> None:
        self.end = threading.Event()

    def open(self, request: OpenRequest) -> Session:
        threading.Thread(target=self.end.wait, name="heartbeat", daemon=True).start()
        return super().open(request)


class LeaksProcess(Pool):
    """Leaves a process behind for each session."""

    def __init__(self) -> None:
        self.processes: list[subprocess.Popen[bytes]] = []

    def open(self, request: OpenRequest) -> Session:
        command = [sys.executable, "-c", "input()"]
        self.processes.append(subprocess.Popen(command, stdin=subprocess.PIPE))
        return super().open(request)


class Hangs(Pool):
    """Forgets one chunk in ten."""

    def open(self, request: OpenRequest) -> Session:
        return HangingSession(self.name, self.traits, request, self.executor(request.workers))


class HangingSession(ExecutorSession):
    def submit(self, chunk: Chunk) -> Future[Any]:
        return Future() if chunk.number % 10 == 3 else super().submit(chunk)


class Lies(Pool):
    """Says it is usable, and is not."""

    def open(self, request: OpenRequest) -> Session:
        raise BackendUnavailable("pool", "the queue does not answer")


class IsShy(Pool):
    """Says it is not usable, and is."""

    def availability(self) -> Availability:
        return Availability(False, "no licence", "buy one")


class IgnoresCancel(Pool):
    """Runs what is queued to its end, whatever close is told."""

    def open(self, request: OpenRequest) -> Session:
        return StubbornSession(self.name, self.traits, request, self.executor(request.workers))


class StubbornSession(ExecutorSession):
    def close(self, *, cancel: bool) -> None:
        super().close(cancel=False)


class TakesAnyOption(Pool):
    """Ignores options it does not know."""

    def bind(self, options: Mapping[str, Any]) -> Backend:
        return self


class Processes(ExecutorBackend):
    """A pool of processes, without promises."""

    name = "processes"

    @contextmanager
    def executor(self, workers: int) -> Iterator[ProcessPoolExecutor]:
        import multiprocessing

        with ProcessPoolExecutor(workers, multiprocessing.get_context("fork")) as pool:
            yield pool


class LoadsPerChunk(Processes):
    """Unpickles the function for every chunk."""

    def open(self, request: OpenRequest) -> Session:
        return LoadingSession(self.name, self.traits, request, self.executor(request.workers))


class LoadingSession(ExecutorSession):
    def _submit(self, chunk: Chunk) -> Future[Any]:
        payload = self._request.payload
        return self._executor.submit(_load_and_run, payload.data, chunk.items or [])


def _load_and_run(data: bytes, items: list[Any]) -> Any:
    fresh = FunctionPayload(f"{os.urandom(8)!r}", data)
    return run_packed(fresh, items)


class SaysItSurvives(Processes):
    """Promises to survive the death of a worker; its pool does not."""

    def open(self, request: OpenRequest) -> Session:
        return ExecutorSession(self.name, self.traits, request, self.executor(request.workers))


class SharesALock(ExecutorBackend):
    """Workers that are threads of one interpreter, which it does not tell."""

    name = "one-lock"
    traits = Traits()

    def executor(self, workers: int) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(workers)

    def open(self, request: OpenRequest) -> Session:
        # Not owned: as the worker of such an engine this process would be held to its share.
        context = self.executor(request.workers)
        return ExecutorSession(self.name, self.traits, request, context, owned=False)


BROKEN: dict[str, tuple[Callable[[], Backend], dict[str, str]]] = {
    "loses order": (
        LosesOrder,
        {
            "test_outcomes_belong_to_their_chunks": "not those of chunk",
            # in another order, or too few of them, as chunks around sampled items differ in size
            "test_keep_their_order": " results ",
        },
    ),
    "claims to share chunks": (
        ClaimsToShare,
        {"test_shared_chunks_keep_all_workers_busy": "did not run at once"},
    ),
    "withdraws what was first": (
        Withdraws,
        {"test_withdrawn_chunks_end_with_what_has_begun": "not those of chunk 0"},
    ),
    "runs an item twice": (
        lambda: Spoiled(runs_the_last_item_twice),
        {
            "test_each_item_runs_once": "items ran more than once: [",
            "test_each_item_of_a_generator_runs_once": "items ran more than once: [",
        },
    ),
    "drops the last item": (
        lambda: Spoiled(drops_the_last_item),
        {
            "test_equal_the_loops": "results for 300 items",
            "test_outcomes_belong_to_their_chunks": "4 results for 5 items",
        },
    ),
    "swallows exceptions": (
        lambda: Spoiled(swallows_exceptions),
        {
            "test_type_and_index": "item 280 raised, but the run ended without an error",
            "test_failing_chunks_by_hand": "4 results for 2 items",
        },
    ),
    "wraps exceptions": (
        lambda: Spoiled(wraps_exceptions),
        {
            "test_type_and_index": "ValueError arrived as RuntimeError",
            "test_stop_iteration": "StopIteration arrived as RuntimeError",
        },
    ),
    "loads the function per chunk": (
        LoadsPerChunk,
        {"test_function_is_loaded_once_per_worker": "workers rebuilt the function"},
    ),
    "leaks a thread": (
        LeaksThread,
        {
            "test_nothing_outlives_a_run": "1 thread outlived the run: ['heartbeat']",
            "test_an_unused_session_ends": "outlived close(cancel=False): ['heartbeat']",
        },
    ),
    "leaks a process": (
        LeaksProcess,
        {"test_nothing_outlives_a_run": "1 process outlived the run: ['"},
    ),
    "hangs": (
        Hangs,
        {
            "test_outcomes_belong_to_their_chunks": "1 of 8 chunks have no outcome after 1 s",
            "test_equal_the_loops": "it hangs: no end after 2 s",
        },
    ),
    "lies about availability": (
        Lies,
        {
            "test_availability_is_honest": "called usable, but open() failed",
            "test_little_data": "the queue does not answer",
        },
    ),
    "hides that it is available": (
        IsShy,
        {"test_availability_is_honest": "called not usable (no licence), but it opened"},
    ),
    "ignores cancel": (
        IgnoresCancel,
        {"test_cancel_drops_what_is_queued": "still ran 200 of 200 queued chunks"},
    ),
    "shares an interpreter": (
        SharesALock,
        {"test_interpreters": "2 chunks ran at once in 1 interpreters, whose locks they share"},
    ),
    "takes any option": (
        TakesAnyOption,
        {"test_options": "bind() accepted an option called no_such_option"},
    ),
    "does not survive as promised": (
        SaysItSurvives,
        {"test_session_survives_a_death": "the executor is broken with it"},
    ),
}


class Impatient(BackendContract):
    patience_s = 1.0


@pytest.fixture(autouse=True)
def _no_long_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("amorsize.testing.lifetimes.GRACE_S", 0.2)


@pytest.fixture(autouse=True)
def _own_sigterm() -> Iterator[None]:
    """Forked workers inherit what this process does on SIGTERM, and Ray leaves a handler behind."""
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("breakage", BROKEN)
def test_broken_backend_is_caught(breakage: str) -> None:
    make, expected = BROKEN[breakage]
    backend = make()
    rows = run_contract(backend, Impatient, only=expected, limit_s=2)
    _clean_up(backend)
    reasons = {row.check: row.reason for row in rows if row.status == "fail"}
    assert reasons.keys() == expected.keys()
    for check, message in expected.items():
        assert message in reasons[check]


def _clean_up(backend: Backend) -> None:
    if isinstance(backend, LeaksThread):
        backend.end.set()
    if isinstance(backend, LeaksProcess):
        for process in backend.processes:
            process.communicate()


def test_a_sound_backend_passes() -> None:
    rows = run_contract(Pool())
    assert [row for row in rows if row.status == "fail"] == []
    assert len(rows) == len(requirements())
    assert all(row.reason for row in rows if row.status == "skip")
    assert {row.status for row in rows} == {"pass", "skip"}


@pytest.mark.parametrize(
    "error",
    [BackendUnavailable("pool", "not installed", "install it"), ModuleNotFoundError("no pool")],
)
def test_an_unavailable_backend_skips_with_its_reason(error: Exception) -> None:
    class Absent(Pool):
        def availability(self) -> Availability:
            return Availability(False, "not installed", "install it")

        def open(self, request: OpenRequest) -> Session:
            raise error

    rows = run_contract(Absent())
    assert [row for row in rows if row.status == "fail"] == []
    (row,) = [row for row in rows if row.check == "test_equal_the_loops"]
    assert (row.status, row.reason) == ("skip", "pool is not available: not installed")


@pytest.mark.parametrize("name", ["test_equal_the_loops", "_plan", "_workers"])
def test_the_contract_cannot_be_hollowed_out(name: str) -> None:
    with pytest.raises(TypeError, match=f"redefines {name}: the contract cannot be hollowed"):
        type("TestMine", (BackendContract,), {name: lambda self, backend: None})

    class Mixin:
        def test_name(self, backend: Backend) -> None: ...

    with pytest.raises(TypeError, match="redefines test_name"):
        type("TestMine", (Mixin, BackendContract), {})


def test_settings_and_further_tests_may_be_added() -> None:
    own = {"workers": 1, "patience_s": 5.0, "test_mine": lambda self, backend: None}
    assert issubclass(type("TestMine", (BackendContract,), own), BackendContract)


def test_unknown_checks_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="no such checks: test_nothing"):
        run_contract(Pool(), only=["test_nothing"])


def test_every_requirement_is_one_line() -> None:
    for group, name, requirement in requirements():
        assert group, name
        assert requirement.strip(), name
        assert "\n" not in requirement, name
