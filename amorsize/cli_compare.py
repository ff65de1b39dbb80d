"""``amorsize run --compare``: the plain loop beside a run."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, NamedTuple

from amorsize.packing import dumps


class Comparison(NamedTuple):
    """How the plain loop did."""

    seconds: float | None
    """What it took, ``None`` if it did not get to its end."""
    problem: str = ""
    """What is wrong with it, or with the run's results."""


def compared(
    function: Callable[[Any], Any], items: Sequence[Any], results: Sequence[Any], seed: int | None
) -> Comparison:
    """Time the plain loop, with the run's random numbers, and hold its results against ``results``.

    Args:
        function: the function, without retries or limits.
        items: the items, as they were before the run.
        results: the run's.
        seed: the run's.
    """
    if seed is not None:
        from amorsize.seeds import Numbered, seeded

        function, items = seeded(function, seed), list(map(Numbered, count(), items))
    begin = time.perf_counter()
    try:
        expected = [function(item) for item in items]
    except Exception as error:
        return Comparison(None, f"the plain loop raised {type(error).__name__}: {error}")
    seconds = time.perf_counter() - begin
    if len(expected) != len(results):
        return Comparison(seconds, "the run has another number of results than the plain loop")
    for index, pair in enumerate(zip(expected, results, strict=True)):
        if not same(*pair):
            what = f"the results differ from the plain loop's, first that of item {index}"
            return Comparison(seconds, f"{what}: is fn random?")
    return Comparison(seconds)


def same(one: Any, other: Any) -> bool:
    """Whether two results are equal, or are but for NaN, which equals nothing, or for a
    comparison that tells nothing, as that of two objects by identity or of two arrays.
    """
    if one is other:
        return True
    verdict = _verdict(one, other)
    if verdict is True or (_is_nan(one) and _is_nan(other)) or _same_pickles(one, other):
        return True
    if type(one) is type(other) and isinstance(one, dict | list | tuple):
        return _same_parts(one, other)
    return verdict is None and _same_values(one, other)


def _verdict(one: Any, other: Any) -> bool | None:
    """What ``==`` says, ``None`` if that is no yes or no."""
    try:
        verdict = one == other
    except Exception:
        return None
    return verdict if isinstance(verdict, bool) else None


def _is_nan(value: Any) -> bool:
    return _verdict(value, value) is False


def _same_pickles(one: Any, other: Any) -> bool:
    """Whether both are pickled alike after a journey: the run's may have been on one, which
    changes what they refer to twice.
    """
    try:
        return _travelled(one) == _travelled(other)
    except Exception:  # what cannot be pickled cannot be told apart in this way
        return False


def _travelled(value: Any) -> bytes:
    return dumps(pickle.loads(dumps(value)))  # noqa: S301


def _same_parts(one: Any, other: Any) -> bool:
    """Whether two containers of one kind have the same parts, of which some may be NaN."""
    try:
        if isinstance(one, dict):
            return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
        return len(one) == len(other) and all(map(same, one, other))
    except RecursionError:  # one that contains itself
        return False


def _same_values(one: Any, other: Any) -> bool:
    """Whether tables, arrays or scalars of numpy's kind hold the same, however they are laid out;
    of anything else, whether both look alike.
    """
    try:
        if type(one) is type(other) and hasattr(one, "equals"):
            return bool(one.equals(other))
        if type(one) is type(other) and hasattr(one, "tolist"):
            return same(one.tolist(), other.tolist())
        return repr(one) == repr(other)
    except Exception:
        return False
