"""Journeys: functions, items and results of every kind reach the workers and come back."""

from __future__ import annotations

import functools
import operator
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from amorsize.backend import Backend, Chunk, FunctionPayload, OpenRequest
from amorsize.errors import UnpicklableFunction, UnpicklableItem, UnpicklableResult
from amorsize.testing.driving import Driver, Settings, chunk, chunks_of, needs, same_results
from amorsize.testing.tasks import (
    Box,
    Stuck,
    Weighed,
    ignoring,
    lines_of,
    plus_one,
    reversed_bytes,
    spin,
    square,
    stuck_at,
)

COUNT, BAD = 300, 280
LARGE_BYTES = 8_000_000


class Journeys(Settings):
    """Journeys"""

    def test_functions_of_any_kind(self, backend: Backend) -> None:
        """Lambdas, closures, partials, bound methods and built-in functions work"""
        offset = 3
        functions: list[Callable[[Any], Any]] = [
            lambda x: (square(x), x + offset),
            functools.partial(pow, 2),
            functools.partial(lambda a, b: a - b, 100),
            Box(7).add,
            [7].__mul__,
            operator.neg,
        ]
        for function in functions:
            with self._open(backend, function) as driver:
                outcomes = driver.run(chunks_of(range(20), 5))
            got = [value for outcome in outcomes for value in outcome.values]
            same_results(got, [function(x) for x in range(20)])

    def test_large_payloads(self, backend: Backend) -> None:
        """8 MB travel both ways, several at a time"""
        items = [bytes([number]) + bytes(LARGE_BYTES) for number in range(4)]
        with self._open(backend, reversed_bytes) as driver:
            outcomes = driver.run(chunks_of(items, 1))
        for item, outcome in zip(items, outcomes, strict=True):
            (value,) = outcome.values
            assert len(value) == len(item), f"{len(item)} bytes came back as {len(value)}"
            assert value == item[::-1], "large payloads came back changed"

    def test_arrays(self, backend: Backend) -> None:
        """Arrays of numpy arrive writable, in the worker and back in the caller"""
        try:
            import numpy
        except ImportError:
            needs(False, "numpy is not installed")
        for size in (3, 1_000_000):
            items = [numpy.arange(size) + number for number in range(3)]
            with self._open(backend, plus_one) as driver:
                outcomes = driver.run(chunks_of([item.copy() for item in items], 1))
            for item, outcome in zip(items, outcomes, strict=True):
                assert not outcome.failures, f"an array is not writable: {outcome.failures}"
                (value,) = outcome.values
                assert numpy.array_equal(value, item + 1), "an array came back changed"
                assert value.flags.writeable, "a result array is read-only, unlike the loop's"

    def test_function_that_cannot_be_pickled(self, backend: Backend) -> None:
        """A function that cannot be pickled works where nothing is sent, else a clear error"""
        lock = threading.Lock()

        def locked(item: int) -> int:
            spin(0.0002)
            with lock:
                return item

        if backend.traits.shares_memory or backend.traits.inherits_memory:
            same_results(self._plan(backend, locked, range(COUNT)).run(), range(COUNT))
            return
        try:
            self._plan(backend, locked, range(COUNT)).run()
        except UnpicklableFunction as error:
            assert "locked" in str(error), f"the error does not name the function: {error}"
        else:
            raise AssertionError("a function with a lock in it was sent to another process")

    def test_item_that_cannot_be_pickled(self, backend: Backend) -> None:
        """An item that cannot be pickled works where nothing is sent, else is named"""
        items = [*range(BAD), Stuck(0), *range(COUNT - BAD - 1)]
        expected = [x if isinstance(x, int) else -1 for x in items]
        if backend.traits.shares_memory or backend.traits.inherits_memory:
            same_results(self._plan(backend, ignoring, items).run(), expected)
        if backend.traits.shares_memory:
            same_results(self._plan(backend, ignoring, iter(items)).run(), expected)
            return
        try:
            self._plan(backend, ignoring, iter(items)).run()
        except UnpicklableItem as error:
            assert error.index == BAD, f"the error names item {error.index}, not {BAD}"
        else:
            raise AssertionError("an item with a lock in it was sent to another process")

    def test_result_that_cannot_be_pickled(self, backend: Backend) -> None:
        """A result that cannot be pickled works where nothing is sent, else its item is named"""
        plan = self._plan(backend, stuck_at(BAD), iter(range(COUNT)))
        if backend.traits.shares_memory:
            results = plan.run()
            assert isinstance(results[BAD], Stuck), f"item {BAD} returned {results[BAD]!r}"
            return
        try:
            plan.run()
        except UnpicklableResult as error:
            assert error.index == BAD, f"the error names item {error.index}, not {BAD}"
        else:
            raise AssertionError("a result with a lock in it came from another process")

    def test_unpicklable_result_around_sampled_items(self, backend: Backend) -> None:
        """The item of an unpicklable result is named by its position in the data"""
        needs(not backend.traits.shares_memory, "results do not travel")
        with self._open(backend, stuck_at(11)) as driver:
            (outcome,) = driver.run([Chunk(0, ((0, 2), (10, 12)), [0, 1, 10, 11])])
        error = outcome.failures[0].exception
        assert isinstance(error, UnpicklableResult), f"the failure is {error!r}"
        assert error.index == 11, f"the error names item {error.index}, not 11"
        same_results(outcome.values, [0, 1, 10], "the chunk before its failure")

    def test_function_is_loaded_once_per_worker(self, backend: Backend, tmp_path: Path) -> None:
        """The function is rebuilt at most once in each worker, not once per chunk"""
        needs(not backend.traits.shares_memory, "functions do not travel")
        path = str(tmp_path / "loads")
        with self._open(backend, Weighed(path)) as driver:
            outcomes = driver.run(chunks_of(range(60), 2))
        same_results([v for o in outcomes for v in o.values], range(1, 61))
        loads = [pid for pid in lines_of(path) if pid != str(os.getpid())]
        often = {pid: loads.count(pid) for pid in loads if loads.count(pid) > 1}
        assert not often, f"for 30 chunks, workers rebuilt the function {often} times (by process)"

    def test_function_is_sent_once_per_worker(self, backend: Backend) -> None:
        """A large function is sent at most once to each worker, not once per chunk"""
        traits = backend.traits
        needs(not (traits.shares_memory or traits.inherits_memory), "functions do not travel")
        self._usable(backend)
        ballast = os.urandom(1_000_000)
        request = OpenRequest(
            lambda x: x + len(ballast), self._workers(backend), options=self.options
        )
        counted = _Counted(request.payload)
        request = OpenRequest(
            request.function, request.workers, options=self.options, payload=counted
        )
        session = backend.bind(self.options).open(request)
        try:
            outcomes = Driver(session, self.patience_s).run(chunks_of(range(60), 2))
        finally:
            session.close(cancel=False)
        same_results([v for o in outcomes for v in o.values], range(1_000_000, 1_000_060))
        most = 2 * request.workers
        assert _Counted.sent <= most, (
            f"a function of 1 MB was pickled {_Counted.sent} times for 30 chunks "
            f"on {request.workers} workers"
        )

    def test_chunk_with_an_unpicklable_item_fails_alone(self, backend: Backend) -> None:
        """A chunk that cannot travel fails by itself; the session goes on"""
        needs(not backend.traits.shares_memory, "items do not travel")
        with self._open(backend, ignoring) as driver:
            try:
                driver.run([chunk([1, Stuck(0)], first=5)])
            except UnpicklableItem as error:
                assert error.index == 6, f"the error names item {error.index}, not 6"
            else:
                raise AssertionError("an item with a lock in it was sent to another process")
            (outcome,) = driver.run([chunk([1, 2])])
        same_results(outcome.values, [1, 2])


class _Counted(FunctionPayload):
    """A payload that counts how often it is pickled."""

    sent = 0

    def __init__(self, payload: FunctionPayload) -> None:
        super().__init__(payload.digest, payload.data)
        _Counted.sent = 0

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        _Counted.sent += 1
        return super().__reduce_ex__(protocol)
