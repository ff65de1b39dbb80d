"""How often to measure: until the median stands within 15 %, or the time is over."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from typing import NamedTuple

from amorsize.calibration.bounded import Budget

STEADY = 0.15
"""Relative standard error of a median at which repeating ends."""
QUICK_S = 0.001
"""Round trip up to which repeats are cheap."""
_NORMAL = 1.4826
"""Standard deviation over median absolute deviation, of normal errors."""
_MEDIAN = 1.2533
"""Standard error of a median over that of a mean, of normal errors."""


class Repeats(NamedTuple):
    """A quantity measured several times."""

    value: float
    """The median."""
    spread: float
    """Median absolute deviation over the median."""
    error: float
    """Relative standard error of the median."""
    number: int
    """Number of measurements."""


def summary(values: Sequence[float]) -> Repeats:
    """Median, spread and error of some measurements."""
    middle = statistics.median(values)
    if middle <= 0:
        return Repeats(middle, 0.0, math.inf, len(values))
    spread = statistics.median(abs(value - middle) for value in values) / middle
    error = _NORMAL * _MEDIAN * spread / math.sqrt(len(values))
    if len(values) < 3:  # too few for a deviation: half of what they differ, or a usual value
        error = (max(values) - min(values)) / 2 / middle if len(values) == 2 else STEADY
    return Repeats(middle, spread, error, len(values))


def repeated(
    measure: Callable[[], float], budget: Budget, *, least: int, most: int, share: float = 1.0
) -> list[float]:
    """Measure at least ``least`` times, and on until the median is steady, ``most`` times, or a
    share of the budget is used.
    """
    values: list[float] = []
    while len(values) < most:
        begin = budget.used_s
        values.append(measure())
        if len(values) < least:
            continue
        if len(values) > 2 and summary(values).error <= STEADY:
            break
        if not budget.allows(budget.used_s - begin, share):
            break
    return values
