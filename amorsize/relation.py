"""Whether seconds follow a size, and which seconds a size then stands for. Pure.

Seconds in proportion to the size, along a line, or as a power of it: whichever does better on
times that it has not seen, the simpler one in doubt. It counts only if chance does not explain it,
and if it is less wrong than the mean is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

LEAST = 3
"""Points below which there is nothing to tell."""
_CONVINCING = {False: 0.5, True: 0.8}
"""Part of the mean's error that may be left; more where seconds are likely to follow."""
_FOLDS = 8
"""Parts of which each is left out once; of fewer points each."""
_STUDENT = {
    False: (31.8, 6.96, 4.54, 3.75, 3.36, 3.14, 3.0, 2.9),
    True: (6.31, 2.92, 2.35, 2.13, 2.02, 1.94, 1.89, 1.86),
}
"""Student's t that chance exceeds once in a hundred, and once in twenty where seconds are likely to
follow: for so many points beyond two; with more points the last one."""
_SIMPLER = 0.7
"""A richer relation has to be wrong by less than this part of what a simpler one is."""


class Relation(NamedTuple):
    """Seconds as a function of a size."""

    factor: float
    """Seconds for each unit of the size to the power of ``exponent``."""
    exponent: float
    """Power of the size; 1 for a straight line."""
    least_s: float
    """Seconds of an item of no size, for a line."""
    spread_s: float
    """Standard deviation of the times around it, in seconds; 0 while it is only being tried."""

    def at(self, size: float) -> float:
        """Seconds that an item of this size should take."""
        if self.exponent == 1.0:
            return max(0.0, self.least_s + self.factor * size)
        return self.factor * size**self.exponent if size > 0 else 0.0

    def all_at(self, sizes: Sequence[float]) -> list[float]:
        """The same of many sizes."""
        factor, exponent, least_s = self.factor, self.exponent, self.least_s
        smallest = min(sizes, default=0.0)
        if exponent == 1.0 and factor >= 0 and least_s + factor * smallest >= 0:
            return [least_s + factor * size for size in sizes]
        if exponent != 1.0 and smallest > 0:
            return [factor * size**exponent for size in sizes]
        return list(map(self.at, sizes))


_Fit = Callable[[Sequence[float], Sequence[float]], Relation]


def relation(
    sizes: Sequence[float], times: Sequence[float], *, likely: bool = False
) -> Relation | None:
    """How times rise with sizes; ``None`` if they do not, or if chance may have made it so.
    ``likely`` asks for less evidence.
    """
    if len(sizes) < LEAST or not _rise_together(sizes, times, likely):
        return None
    best, least = None, _CONVINCING[likely] * _error(_constant, sizes, times)
    positive = min(sizes) > 0 and min(times) > 0
    for fit in (_proportion, _line, _power) if positive else (_proportion, _line):
        error = _error(fit, sizes, times)
        if error <= (least if best is None else _SIMPLER * least):
            best, least = fit, error
    return None if best is None else _with_spread(best(sizes, times), sizes, times)


def _rise_together(sizes: Sequence[float], times: Sequence[float], likely: bool) -> bool:
    """Whether the correlation is more than chance. Of positive numbers that of their logarithms:
    one that is far larger than all others would make any correlation that it likes.
    """
    if min(sizes) > 0 and min(times) > 0:
        sizes, times = [math.log(s) for s in sizes], [math.log(t) for t in times]
    along, across, product = _moments(sizes, times)
    if along <= 0 or across <= 0:
        return False
    r = product / math.sqrt(along * across)
    freedom, table = len(sizes) - 2, _STUDENT[likely]
    needed = table[min(freedom, len(table)) - 1]
    return r > 0 and r * math.sqrt(freedom) >= needed * math.sqrt(max(0.0, 1 - r * r))


def _moments(xs: Sequence[float], ys: Sequence[float]) -> tuple[float, float, float]:
    x, y = math.fsum(xs) / len(xs), math.fsum(ys) / len(ys)
    return (
        math.fsum((v - x) ** 2 for v in xs),
        math.fsum((w - y) ** 2 for w in ys),
        math.fsum((v - x) * (w - y) for v, w in zip(xs, ys, strict=True)),
    )


def _constant(sizes: Sequence[float], times: Sequence[float]) -> Relation:
    return Relation(0.0, 1.0, math.fsum(times) / len(times), 0.0)


def _proportion(sizes: Sequence[float], times: Sequence[float]) -> Relation:
    """So many seconds for each unit; of nothing else if the sizes are of no use."""
    total = math.fsum(sizes)
    if total <= 0:
        return _constant(sizes, times)
    return Relation(math.fsum(times) / total, 1.0, 0.0, 0.0)


def _line(sizes: Sequence[float], times: Sequence[float]) -> Relation:
    """Least squares."""
    along, _, product = _moments(sizes, times)
    factor = product / along if along > 0 else 0.0
    least_s = (math.fsum(times) - factor * math.fsum(sizes)) / len(sizes)
    return Relation(factor, 1.0, least_s, 0.0)


def _power(sizes: Sequence[float], times: Sequence[float]) -> Relation:
    """Least squares of the logarithms, scaled so that all times together are right."""
    logs = [math.log(size) for size in sizes]
    along, _, product = _moments(logs, [math.log(t) for t in times])
    exponent = product / along if along > 0 else 0.0
    factor = math.fsum(times) / math.fsum(size**exponent for size in sizes)
    return Relation(factor, exponent, 0.0, 0.0)


def _with_spread(found: Relation, sizes: Sequence[float], times: Sequence[float]) -> Relation:
    around = math.fsum((t - found.at(s)) ** 2 for s, t in zip(sizes, times, strict=True))
    return found._replace(spread_s=math.sqrt(around / max(1, len(times) - 2)))


def _error(fit: _Fit, sizes: Sequence[float], times: Sequence[float]) -> float:
    """Sum of the errors at each point if the fit has not seen it, nor others of its fold."""
    folds, total = min(_FOLDS, len(sizes)), 0.0
    points = list(zip(sizes, times, strict=True))
    for fold in range(folds):
        seen = [point for n, point in enumerate(points) if n % folds != fold]
        at = fit([size for size, _ in seen], [seconds for _, seconds in seen]).at
        total += math.fsum(abs(at(size) - seconds) for size, seconds in points[fold::folds])
    return total
