"""Failures: an item's exception arrives as it was raised, and says which item it was."""

from __future__ import annotations

import traceback

from amorsize.backend import Backend
from amorsize.plans import Plan
from amorsize.testing.driving import Settings, chunk, names_item, same_results
from amorsize.testing.tasks import Failing, OddError, StubbornError

COUNT = 300
BAD = 280
"""The first failing item: near the end of an iterator, where the sample does not reach it."""


class Failures(Settings):
    """Failures"""

    def test_type_and_index(self, backend: Backend) -> None:
        """An item's exception has its own type, and the item's index in its notes"""
        for kind in (ValueError, KeyError, OSError):
            error = self._raised(backend, kind)
            assert type(error) is kind, f"{kind.__name__} arrived as {type(error).__name__}"
            assert str(error) == str(kind(f"bad {BAD}")), f"the message became {error}"
            names_item(error, BAD)

    def test_the_first_failing_item_decides(self, backend: Backend) -> None:
        """If several items fail, the error is that of the first, as in the loop"""
        plan = self._plan(backend, Failing(BAD, ValueError), iter(range(COUNT)), chunk_size=3)
        error = _error_of(plan)
        names_item(error, BAD)
        assert str(BAD) in str(error), f"the error of a later item was raised: {error}"

    def test_stop_iteration(self, backend: Backend) -> None:
        """StopIteration of an item is an error, not the end of the data"""
        error = self._raised(backend, StopIteration)
        assert type(error) is StopIteration, f"StopIteration arrived as {error!r}"

    def test_system_exit(self, backend: Backend) -> None:
        """SystemExit of an item reaches the caller and does not end the worker in silence"""
        error = self._raised(backend, SystemExit)
        assert type(error) is SystemExit, f"SystemExit arrived as {error!r}"
        names_item(error, BAD)

    def test_exception_with_odd_constructor(self, backend: Backend) -> None:
        """An exception that pickle cannot rebuild still arrives, with its message and index"""
        error = self._raised(backend, OddError)
        assert f"odd: {BAD} and 2" in str(error), f"the message became {error}"
        names_item(error, BAD)

    def test_exception_that_cannot_be_pickled(self, backend: Backend) -> None:
        """An exception that cannot be pickled still arrives, with its message and index"""
        error = self._raised(backend, StubbornError)
        assert f"bad {BAD}" in str(error), f"the message became {error}"
        names_item(error, BAD)

    def test_remote_traceback(self, backend: Backend) -> None:
        """The exception shows the line of the user's code that raised it"""
        error = self._raised(backend, ValueError)
        # The sample may have met the item in the caller: then the traceback is its own.
        text = "".join(traceback.format_exception(error))
        assert "tasks.py" in text, f"the traceback does not show the user's code: {text}"

    def test_results_before_the_failure(self, backend: Backend) -> None:
        """A stream yields all results before the failing item"""
        plan = self._plan(backend, Failing(BAD, ValueError), iter(range(COUNT)))
        got: list[int] = []
        try:
            got.extend(plan.stream())
        except ValueError:
            same_results(got, range(BAD))
        else:
            raise AssertionError("the item's error was not raised")

    def test_failing_chunks_by_hand(self, backend: Backend) -> None:
        """A failing item ends its chunk only if asked to; the worker goes on with the next"""
        with self._open(backend, Failing(2, ValueError)) as driver:
            stopped, full, after = driver.run(
                [
                    chunk([0, 1, 2, 3], number=0),
                    chunk([0, 2, 1, 3], number=1, stop_on_error=False),
                    chunk([0, 1], number=2),
                ]
            )
        same_results(stopped.values, [0, 1], "the chunk before its failure")
        assert [f.position for f in stopped.failures] == [2], f"failures: {stopped.failures}"
        same_results(full.values, [0, None, 1, None], "the chunk that goes on")
        assert [f.position for f in full.failures] == [1, 3], f"failures: {full.failures}"
        assert all(type(f.exception) is ValueError for f in full.failures), f"{full.failures}"
        same_results(after.values, [0, 1], "the chunk after the failures")

    def _raised(self, backend: Backend, kind: type[BaseException]) -> BaseException:
        return _error_of(self._plan(backend, Failing(BAD, kind), iter(range(COUNT))))


def _error_of(plan: Plan[object]) -> BaseException:
    """What the run raises."""
    try:
        results = plan.run()
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return error
    what = "a result was returned in its place" if len(results) == COUNT else f"{len(results)} came"
    raise AssertionError(f"item {BAD} raised, but the run ended without an error: {what}")
