"""A worker process for the sample, where an item must not hang or end the caller."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from amorsize.backend import Backend, Chunk, OpenRequest, Session
from amorsize.errors import (
    AmorsizeError,
    DeadlineExceeded,
    ItemNotLoaded,
    ResultNotLoaded,
    UnpicklableItem,
    WorkerLost,
)
from amorsize.guard import GRACE_S
from amorsize.interrupts import shielded
from amorsize.policy import Policy
from amorsize.recovery import Recovery
from amorsize.report import RunReport
from amorsize.worker import Outcome, rebuilt

Failed = tuple[int, Exception, Any]
"""Position, exception and item."""


class Elsewhere:
    """Runs blocks of items one after the other on one worker of a backend.

    Raises:
        AmorsizeError: if the worker cannot be started; :class:`DeadlineExceeded` at the deadline,
            where failures are not forgiven.
    """

    def __init__(self, backend: Backend, function: Callable[[Any], Any], policy: Policy) -> None:
        self._stop_on_error = not policy.forgives
        self._report = RunReport(backend.name, 1)
        self._recovery = Recovery(self._report, policy)
        self._number = 0
        self.wall_s = self.cpu_s = 0.0
        """Seconds and CPU seconds that the items have taken there."""
        self._retries = 0
        self._waits = False
        self._deadline = policy.deadline or math.inf
        self._ends_at = time.perf_counter() + self._deadline
        self._open = partial(backend.open, OpenRequest(function, 1))
        self._session: Session = self._open()

    def run(self, start: int, items: list[Any]) -> tuple[list[Any], list[Failed]]:
        """Results of some items, with ``None`` for one that failed, and the failures. Where
        failures are not forgiven it ends before the first.
        """
        values: list[Any] = []
        failures: list[Failed] = []
        parts = [(0, len(items))]
        while parts:
            first, stop = parts.pop(0)
            found = self._part(start, first, items[first:stop])
            if isinstance(found, int):
                middle = first + max(1, (stop - first) // found)
                parts[:0] = [(first, middle), (middle, stop)] if middle < stop else [(first, stop)]
                continue
            done, failed = found
            values += done
            failures += failed
            if failed and self._stop_on_error:
                break
        return values, failures

    def _part(
        self, start: int, first: int, items: list[Any]
    ) -> tuple[list[Any], list[Failed]] | int:
        """Some of the items; into how many parts to cut them if they did not come back."""
        begin = time.perf_counter()
        spans = ((start + first, start + first + len(items)),)
        chunk = Chunk(self._number, spans, items, 0.0, self._stop_on_error)
        self._number += 1
        try:
            outcome = self._outcome(chunk)
        except WorkerLost as lost:
            flown_s = time.perf_counter() - begin
            if len(items) > 1:
                return self._recovery.parts(flown_s)
            guilt = self._recovery.verdict(start + first, lost, flown_s)
            return 1 if guilt is None else ([None], [(first, guilt, items[0])])
        except DeadlineExceeded as late:
            if self._stop_on_error:
                raise
            self.close()
            self._session = self._open()
            return len(items) if len(items) > 1 else ([None], [(first, late, items[0])])
        except (UnpicklableItem, ItemNotLoaded, ResultNotLoaded) as error:
            return 2 if len(items) > 1 else ([None], [(first, error, items[0])])
        self.wall_s += outcome.times.wall_s
        self.cpu_s += outcome.times.cpu_s
        self._retries += outcome.times.retries
        failed: list[Failed] = []
        for position, raised in outcome.failures:
            if not isinstance(raised, Exception):  # SystemExit and its kind
                raise raised
            failed.append((first + position, raised, items[position]))
        return outcome.values, failed

    def _outcome(self, chunk: Chunk) -> Outcome:
        self._waits = True  # for items, until their outcome is there
        future = self._session.submit(chunk)
        # Those behind one that was late: their worker has to start, too.
        until = max(self._ends_at, time.perf_counter() + GRACE_S)
        while not future.done():
            left = until - time.perf_counter()
            if left <= 0:
                raise DeadlineExceeded(self._deadline)
            self._session.wait({future}, left if left < math.inf else None)
        self._waits = False
        return rebuilt(future.result())

    @property
    def retries(self) -> int:
        """Further attempts at items that had raised, or whose worker was ended."""
        return self._retries + self._report.retries

    def close(self) -> None:
        """End the worker; in the middle of an item together with what its items have started."""
        with shielded():
            self._session.close(cancel=self._waits)


def elsewhere(
    function: Callable[[Any], Any], policy: Policy, named: Backend | None
) -> Elsewhere | None:
    """A worker for the sample if the policy asks for what the caller cannot enforce, and this
    host has a backend that can; ``None`` otherwise, or if the caller named the loop.
    """
    if policy.timeout is None or (named is not None and named.traits.inline):
        return None
    from amorsize.plugins import registry

    for backend in sorted(registry().backends.values(), key=lambda b: b.traits.rank):
        traits = backend.traits
        local = not (traits.shares_memory or traits.remote) and traits.survives_worker_death
        if local and backend.availability().usable:
            try:
                return Elsewhere(backend, function, policy)
            except AmorsizeError:  # it does not start, or the function does not travel
                continue
    return None
