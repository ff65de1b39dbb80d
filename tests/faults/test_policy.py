"""What a user sees of on_error, retries, timeout and deadline, on the local backends."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest

import amorsize
from amorsize.errors import ItemNotLoaded, ResultNotLoaded, UnpicklableItem, UnpicklableResult
from amorsize.testing.tasks import append_line, lines_of, spin
from amorsize.worker import UnpicklableError

BACKENDS = ["serial", "threads", "multiprocessing", "auto"]
ITEMS = 400


def fails(x: int) -> int:
    spin(0.0002)
    if x % 50 == 49:
        raise KeyError(x)
    return -x


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("make", [range, lambda n: iter(range(n))])
def test_skip_leaves_failed_items_out(backend: str, make: Any) -> None:
    plan = amorsize.plan(fails, make(ITEMS), backend=backend, on_error="skip")
    assert plan.run() == [-x for x in range(ITEMS) if x % 50 != 49]
    assert plan.report is not None
    assert sorted(error.index for error in plan.report.failures) == list(range(49, ITEMS, 50))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("ordered", [True, False])
def test_return_puts_an_error_in_its_place(backend: str, ordered: bool) -> None:
    stream = amorsize.imap(fails, range(ITEMS), backend=backend, on_error="return", ordered=ordered)
    results: list[Any] = list(stream)
    errors = {r.index: r for r in results if isinstance(r, amorsize.ItemError)}
    assert sorted(errors) == list(range(49, ITEMS, 50))
    assert sorted(r for r in results if isinstance(r, int)) == sorted(
        -x for x in range(ITEMS) if x % 50 != 49
    )
    if ordered:
        assert all(isinstance(results[index], amorsize.ItemError) for index in errors)
    error = errors[349]
    assert type(error.exception) is KeyError
    assert error.__cause__ is error.exception
    assert error.item == "349"
    assert "raise KeyError(x)" in error.traceback
    assert pickle.loads(pickle.dumps(error)).index == 349


def test_a_failing_run_tells_all_failures_it_knows() -> None:
    plan = amorsize.plan(fails, iter(range(ITEMS)), backend="serial", on_error="raise")
    with pytest.raises(KeyError):
        plan.run()
    assert plan.report is not None
    assert [error.index for error in plan.report.failures] == [49]


@pytest.mark.parametrize("backend", BACKENDS)
def test_ctrl_c_and_exit_are_not_forgiven(backend: str) -> None:
    def leave(x: int) -> int:
        spin(0.0002)
        if x == 300:
            raise SystemExit(3)
        return x

    with pytest.raises(SystemExit):
        amorsize.map(leave, iter(range(ITEMS)), backend=backend, on_error="skip")


@pytest.mark.parametrize("backend", BACKENDS)
def test_retries_run_an_item_again(backend: str, tmp_path: Path) -> None:
    def flaky(x: int) -> int:
        spin(0.0002)
        append_line(f"{tmp_path}/{x}", "call")
        if x % 100 == 7 and len(lines_of(f"{tmp_path}/{x}")) < 3:
            raise OSError("not yet")
        return x

    plan = amorsize.plan(flaky, range(ITEMS), backend=backend, retries=2, backoff=0.001)
    assert plan.run() == list(range(ITEMS))
    assert plan.report is not None
    assert plan.report.retries == 2 * 4
    assert len(lines_of(f"{tmp_path}/8")) == 1


@pytest.mark.parametrize("backend", ["serial", "multiprocessing"])
def test_only_the_wanted_exceptions_are_retried(backend: str, tmp_path: Path) -> None:
    def fail(x: int) -> int:
        append_line(f"{tmp_path}/calls", x)
        raise ValueError(x)

    with pytest.raises(ValueError, match="0") as caught:
        amorsize.map(fail, [0], backend=backend, retries=3, retry_on=OSError)
    assert len(lines_of(f"{tmp_path}/calls")) == 1
    with pytest.raises(ValueError, match="0") as caught:
        amorsize.map(fail, [0], backend=backend, retries=2, retry_on=ValueError, backoff=0)
    assert any("3 attempts" in note for note in caught.value.__notes__)


def test_an_item_that_never_ends_is_ended() -> None:
    def stuck(x: int) -> int:
        spin(0.0002)
        if x == 250:  # can be interrupted
            time.sleep(1000)
        while x == 300:  # cannot
            try:
                time.sleep(1000)
            except BaseException:
                pass
        return x

    plan = amorsize.plan(stuck, iter(range(ITEMS)), timeout=0.2, on_error="return", workers=2)
    assert plan.backend == "multiprocessing"
    results: list[Any] = plan.run()
    errors = [r for r in results if isinstance(r, amorsize.ItemError)]
    assert [error.index for error in errors] == [250, 300]
    assert all(isinstance(error.exception, amorsize.ItemTimeout) for error in errors)
    assert [r for r in results if isinstance(r, int)] == sorted(set(range(ITEMS)) - {250, 300})


def test_an_attempt_that_had_to_be_ended_is_one_of_several(tmp_path: Path) -> None:
    def stubborn(x: int) -> int:
        spin(0.0002)
        while x in (300, 350):
            append_line(str(tmp_path / str(x)), "call")
            if x == 300 and len(lines_of(str(tmp_path / "300"))) == 3:
                break
            try:
                time.sleep(1000)
            except BaseException:
                time.sleep(1000)
        return x

    how: dict[str, Any] = {"timeout": 0.2, "retries": 2, "backoff": 0, "on_error": "return"}
    plan = amorsize.plan(stubborn, iter(range(ITEMS)), workers=2, **how)
    results: list[Any] = plan.run()
    assert [x for x in range(ITEMS) if results[x] != x] == [350]
    assert isinstance(results[350].exception, amorsize.ItemTimeout)
    # The first time others were in its chunk: nobody knew which item it was.
    assert 3 <= len(lines_of(str(tmp_path / "350"))) <= 4
    assert plan.report is not None
    assert plan.report.retries >= 3


@pytest.mark.parametrize("data", [range(40)])
def test_the_sample_neither_hangs_nor_ends_the_caller(data: Any) -> None:
    def bad(x: int) -> int:
        if x == 0:
            os._exit(1)
        while x in (1, 20):
            try:
                time.sleep(1000)
            except BaseException:
                pass
        return x

    results: list[Any] = amorsize.map(bad, data, timeout=0.6, on_error="return", workers=2)
    kinds = {r.index: type(r.exception) for r in results if isinstance(r, amorsize.ItemError)}
    hung = amorsize.ItemTimeout
    assert kinds == {0: amorsize.WorkerDied, 1: hung, 20: hung}
    assert [r for r in results if isinstance(r, int)] == sorted(set(range(40)) - set(kinds))


def test_threads_refuse_a_time_limit_that_they_cannot_keep() -> None:
    with pytest.raises(amorsize.InvalidArgument, match="thread cannot be ended"):
        amorsize.plan(abs, [1], backend="threads", timeout=1)


def test_the_loop_keeps_a_time_limit_where_it_can() -> None:
    with pytest.raises(amorsize.ItemTimeout):
        amorsize.map(time.sleep, [0, 1000], backend="serial", timeout=0.05)


@pytest.mark.parametrize("backend", ["serial", "multiprocessing"])
def test_a_deadline_ends_the_run(backend: str) -> None:
    how: dict[str, Any] = {"backend": backend, "deadline": 0.3, "workers": 2}
    with pytest.raises(amorsize.DeadlineExceeded):
        amorsize.map(time.sleep, [0.02] * 200, **how)
    results = amorsize.map(time.sleep, [0.02] * 200, on_error="return", **how)
    late = [r for r in results if isinstance(r, amorsize.ItemError)]
    assert len(results) == 200
    assert late
    assert results.count(None) == 200 - len(late) > 0


@pytest.mark.parametrize("data", [range(60), iter(range(60))], ids=["a range", "a stream"])
def test_a_deadline_ends_a_sample_in_a_worker(data: Any) -> None:
    def work(x: int) -> int:
        if x == 0:
            time.sleep(1000)
        return x

    how: dict[str, Any] = {"timeout": 20.0, "deadline": 1.5}
    with pytest.raises(amorsize.DeadlineExceeded):
        amorsize.map(work, range(60), **how)
    results: list[Any] = amorsize.map(work, data, on_error="return", **how)
    assert isinstance(results[0].exception, amorsize.DeadlineExceeded)
    assert results[1:] == list(range(1, 60))


@pytest.mark.parametrize(
    "wrong",
    [
        {"on_error": "ignore"},
        {"retries": -1},
        {"retries": True},
        {"backoff": -0.1},
        {"retry_on": KeyboardInterrupt},
        {"retry_on": "ValueError"},
        {"timeout": 0},
        {"deadline": -1},
    ],
)
def test_wrong_wishes_are_refused_before_anything_runs(wrong: Any) -> None:
    with pytest.raises(amorsize.InvalidArgument):
        amorsize.map(pytest.fail, ["it ran"], **wrong)


def test_a_misspelt_argument_is_an_error() -> None:
    with pytest.raises(TypeError, match="retrys"):
        amorsize.map(abs, [1], retrys=1)  # type: ignore[call-arg]


class Fragile:
    """Cannot be rebuilt where it arrives."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> Any:
        return _burst, (self.number,)


def _burst(number: int) -> Any:
    raise ValueError(f"{number} does not arrive")


class Leaving:
    """Its pickling, or its unpickling, raises what is no ``Exception``."""

    def __init__(self, at_once: bool) -> None:
        self.at_once = at_once

    def __reduce__(self) -> tuple[Any, ...]:
        if self.at_once:
            raise SystemExit(3)
        return _leave, ()


class LeavingError(Leaving, Exception):
    """The same as an error."""


class Leave(BaseException):
    """No ``Exception``."""


def _leave() -> Any:
    raise Leave


def test_classes_may_raise_anything_when_they_are_pickled() -> None:
    def work(x: int) -> Any:
        spin(0.0005)
        if x == 210:
            raise LeavingError(at_once=True)
        return Leaving(at_once=True) if x == 200 else Leaving(at_once=False) if x == 220 else x

    plan = amorsize.plan(
        work, iter(range(300)), backend="multiprocessing", workers=2, on_error="return"
    )
    results = plan.run()
    errors = {r.index: type(r.exception) for r in results if isinstance(r, amorsize.ItemError)}
    assert errors == {200: UnpicklableResult, 210: UnpicklableError, 220: ResultNotLoaded}
    assert len(results) == 300
    assert plan.report is not None
    assert plan.report.lost_workers == 0


@dataclass(frozen=True)
class FrozenError(Exception):
    """Takes no notes."""

    number: int = 0


class NotedError(Exception):
    """Its notes are none."""

    __notes__ = 5  # type: ignore[assignment]


class CausedError(Exception):
    """Does not tell what it was raised from."""

    @property
    def __cause__(self) -> Any:  # type: ignore[override]
        raise RuntimeError("no cause")


@pytest.mark.parametrize("kind", [FrozenError, NotedError, CausedError])
@pytest.mark.parametrize("backend", ["serial", "threads", "multiprocessing"])
@pytest.mark.parametrize("retries", [0, 1])
def test_errors_that_refuse_what_they_are_asked_arrive(
    backend: str, kind: type[Exception], retries: int
) -> None:
    def work(x: int) -> int:
        if x == 70:
            raise kind
        return x

    how: dict[str, Any] = {"backend": backend, "workers": 2, "retries": retries, "backoff": 0.0}
    results: list[Any] = amorsize.map(work, range(100), on_error="return", **how)
    arrived = results[70].exception
    if backend == "multiprocessing" and kind is FrozenError:
        assert f"an exception of type {kind.__name__} that cannot travel" in str(arrived)
    else:
        assert type(arrived) is kind
    assert "in work" in results[70].traceback


@pytest.mark.parametrize("on_error", ["raise", "return"])
def test_what_cannot_travel_is_named_and_the_rest_arrives(on_error: Any) -> None:
    def result(x: int) -> Any:
        spin(0.002)  # of a stream, as much runs in the caller as starting workers may take
        return threading.Lock() if x == 200 else Fragile(210) if x == 210 else x

    def items() -> Any:
        yield from (
            threading.Lock() if x == 220 else Fragile(x) if x == 230 else x for x in range(300)
        )

    for function, data, expected in (
        (result, iter(range(300)), {200: UnpicklableResult, 210: ResultNotLoaded}),
        (lambda x: spin(0.002), items(), {220: UnpicklableItem, 230: ItemNotLoaded}),
    ):
        plan = amorsize.plan(
            function, data, backend="multiprocessing", workers=2, on_error=on_error
        )
        if on_error == "raise":
            index, kind = min(expected.items())
            with pytest.raises(kind) as caught:
                plan.run()
            assert any(f"item {index} " in note or f"item {index}" in note
                       for note in caught.value.__notes__)  # fmt: skip
            continue
        results = plan.run()
        errors = {r.index: type(r.exception) for r in results if isinstance(r, amorsize.ItemError)}
        assert errors == expected
        assert len(results) == 300


def nothing() -> Any:
    return threading.Lock(), Fragile(0)


@pytest.mark.measures
@pytest.mark.parametrize(("first", "kind"), [(0, 0), (200, 0), (200, 1)])
def test_items_that_cannot_travel_stay_here_unless_a_backend_was_named(
    first: int, kind: int, calls: Any
) -> None:
    def work(pair: Any) -> int:
        spin(0.002)
        calls(pair[0])
        return int(pair[0])

    def items() -> Any:
        for number in range(400):
            yield number, nothing()[kind] if number >= first else None

    plan = amorsize.plan(work, items())
    assert plan.run() == list(range(400))
    assert calls.items == list(range(400))
    assert plan.report is not None
    assert plan.report.backend == "serial"
    assert (plan.backend == "serial") == (first == 0)
    assert first == 0 or "cannot be sent" in str(plan.report)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_named_backend_skips_items_that_cannot_travel_though_they_were_sampled(
    method: str,
) -> None:
    data = ((number, threading.Lock() if number == 0 else None) for number in range(300))
    results = amorsize.map(
        itemgetter(0),
        data,
        backend="multiprocessing",
        options={"start_method": method},
        workers=2,
        on_error="skip",
    )
    assert results == list(range(300))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_what_kills_workers_does_not_come_here_with_what_cannot_be_sent() -> None:
    code = """
import os, threading, time
import amorsize

home = os.getpid()

def work(pair):
    if pair[0] == 60 and os.getpid() != home:
        time.sleep(0.5)  # until an item that cannot be sent has been found
    if pair[0] == 60:
        os._exit(7)
    end = time.thread_time() + 0.004
    while time.thread_time() < end:
        pass
    return pair[0]

data = zip(range(400), [None] * 90 + [threading.Lock()] * 310)
plan = amorsize.plan(work, data, workers=2)
print(plan.backend)
try:
    plan.run()
except amorsize.WorkerDied as error:
    print("died", error.index)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    if done.stdout.startswith("multiprocessing"):
        assert "died 60" in done.stdout


def test_one_poisoned_item_in_a_thousand() -> None:
    home = os.getpid()

    def poison(x: int) -> int:
        if x == 666 and os.getpid() != home:
            os._exit(1)
        return x

    results: list[int | amorsize.ItemError] = amorsize.map(
        poison, iter(range(1000)), backend="multiprocessing", workers=2, on_error="return"
    )
    assert [r for r in results if isinstance(r, int)] == [x for x in range(1000) if x != 666]
    dead = results[666]
    assert isinstance(dead, amorsize.ItemError)
    assert isinstance(dead.exception, amorsize.WorkerDied)


def test_an_item_whose_worker_dies_five_times_by_chance_is_not_blamed(tmp_path: Path) -> None:
    home = os.getpid()

    def unlucky(x: int) -> int:
        if x == 666 and os.getpid() != home:
            append_line(str(tmp_path / "deaths"), x)
            if len(lines_of(str(tmp_path / "deaths"))) <= 5:
                os.kill(os.getpid(), signal.SIGKILL)
        return x

    how: dict[str, Any] = {"backend": "multiprocessing", "workers": 2, "chunk_size": 1}
    assert amorsize.map(unlucky, iter(range(1000)), **how) == list(range(1000))


def test_a_pool_that_only_dies_is_an_error() -> None:
    home = os.getpid()

    def dies(x: int) -> int:
        if os.getpid() != home:
            os._exit(1)
        return x

    with pytest.raises((amorsize.WorkersKeepDying, amorsize.WorkerDied)):
        amorsize.map(dies, iter(range(300)), backend="multiprocessing", workers=2)
    with pytest.raises(amorsize.WorkersKeepDying):
        amorsize.map(dies, iter(range(300)), backend="multiprocessing", workers=2, on_error="skip")
