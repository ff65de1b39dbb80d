"""Threads run items with the caller's context variables, as the plain loop does."""

from __future__ import annotations

import decimal
import multiprocessing
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from decimal import Decimal
from multiprocessing.pool import ThreadPool
from typing import Any

import pytest

import amorsize
from amorsize.backend import CallersContext
from amorsize_local.processes import ProcessBackend

NAME: ContextVar[str] = ContextVar("NAME")
HOW: dict[str, Any] = {"workers": 2, "chunk_size": 5}


@pytest.fixture(autouse=True)
def _caller() -> Iterator[None]:
    token = NAME.set("caller")
    with decimal.localcontext() as context:
        context.prec = 50
        yield
    NAME.reset(token)


@pytest.fixture(params=["threads", "executor", "pool", "fork"])
def backend(request: pytest.FixtureRequest) -> Iterator[Any]:
    if request.param == "executor":
        with ThreadPoolExecutor(2) as executor:
            executor.submit(abs, 1).result()  # a thread that is older than what the caller sets
            yield executor
    elif request.param == "pool":
        with ThreadPool(2) as pool:
            yield pool
    elif request.param == "fork":
        if "fork" not in multiprocessing.get_all_start_methods():
            pytest.skip("no forks here")
        yield ProcessBackend("fork")
    else:
        yield request.param


def look(item: int) -> tuple[str, str]:
    time.sleep(0.001)
    return NAME.get(), str(Decimal(item) / Decimal(7))


def test_items_see_what_the_caller_has_set(backend: Any) -> None:
    expected = [look(item) for item in range(60)]
    assert amorsize.map(look, range(60), backend=backend, **HOW) == expected


def of_its_own(item: int) -> str:
    decimal.getcontext().prec = 3 + item % 9
    time.sleep(0.001)
    return str(Decimal(1) / Decimal(7))


def test_items_do_not_meet_each_others_precision(backend: Any) -> None:
    expected = [str(round(Decimal(1) / Decimal(7), 3 + item % 9)) for item in range(60)]
    assert amorsize.map(of_its_own, range(60), backend=backend, **HOW) == expected


def test_each_thread_is_in_a_context_of_its_own() -> None:
    together = threading.Barrier(2)
    context = CallersContext()

    def change(name: str) -> str:
        NAME.set(name)
        together.wait(10.0)
        return NAME.get()

    with ThreadPoolExecutor(2) as executor:
        futures = [executor.submit(context.run, change, name) for name in ("a", "b")]
        assert [future.result() for future in futures] == ["a", "b"]
    assert NAME.get() == "caller"


@pytest.mark.parametrize("timeout", [None, 60.0])
def test_a_map_that_nobody_reads_runs_with_its_callers(timeout: float | None) -> None:
    with amorsize.Executor(2, backend="threads") as executor:
        results = executor.map(look, range(20), timeout=timeout)
        time.sleep(0.2)  # a thread of its own has begun
        token = NAME.set("reader")
        assert {name for name, _ in results} == {"caller"}
        NAME.reset(token)
