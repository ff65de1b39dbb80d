"""How long a measurement may take: a time after which nothing is repeated, and one after which
it is given up, whatever the engine does.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_GRACE_S = 1.0
"""Seconds that a measurement gets to clean up once its time is over."""


class CalibrationFailed(Exception):
    """The backend could not be measured; the caller uses its fallback costs and says why."""


class Budget:
    """The time for one measurement.

    Args:
        steady_s: seconds after which nothing is repeated any more.
        limit_s: seconds after which it is given up.
    """

    def __init__(self, steady_s: float, limit_s: float) -> None:
        self._began = time.perf_counter()
        self.steady_s, self.limit_s = steady_s, limit_s
        self.cancelled = False
        """Set to give up now."""

    @property
    def used_s(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._began

    def allows(self, seconds: float, share: float = 1.0) -> bool:
        """Whether something that takes ``seconds`` is over within a share of the time for
        repeats.
        """
        return self.used_s + seconds <= share * self.steady_s

    def left_s(self) -> float:
        """Seconds until it must be over.

        Raises:
            CalibrationFailed: if that is now.
        """
        left = 0.0 if self.cancelled else self.limit_s - self.used_s
        if left <= 0:
            raise CalibrationFailed(f"it was not over after {self.limit_s:g} s")
        return left


def bounded(call: Callable[[], T], budget: Budget, *, here: bool) -> T:
    """Call in a thread of its own and give up when the time is over, for an engine may hang in a
    call of its own. The thread then ends, and cleans up, as soon as that call returns. ``here``
    calls in this thread: forked workers must inherit it.

    Raises:
        CalibrationFailed: if it is not over in time, or whatever ``call`` raises.
    """
    if here:
        return call()
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="amorsize-calibration", daemon=True)
    thread.start()
    try:
        thread.join(budget.limit_s + _GRACE_S)
    except BaseException:  # Ctrl-C
        budget.cancelled = True
        thread.join(_GRACE_S)
        raise
    if thread.is_alive():
        budget.cancelled = True
        raise CalibrationFailed(f"it did not answer within {budget.limit_s:g} s")
    if errors:
        raise errors[0]
    return results[0]
