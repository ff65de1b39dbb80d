"""Checks of what callers pass, made before anything runs."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from amorsize.errors import InvalidArgument

_FOREVER_S = 1e9
"""Seconds from which on a limit is none: clocks and timers of systems do not reach much further."""


def count(name: str, value: Any, *, least: int = 1) -> int | None:
    """A whole number of any type, or ``None``.

    Raises:
        InvalidArgument: if it is something else, or less than ``least``.
    """
    if value is None:
        return None
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or number < least:
        raise InvalidArgument(f"{name} must be a whole number of at least {least}, not {value!r}")
    return number


def counts(name: str, values: Any) -> list[int]:
    """Several whole numbers from 1 on.

    Raises:
        InvalidArgument: if they are something else.
    """
    if not isinstance(values, Iterable) or isinstance(values, str | bytes):
        raise InvalidArgument(f"{name} must be several whole numbers, not {values!r}")
    found = [count(name, value) for value in values]
    return [number for number in found if number is not None]


def seconds(name: str, value: Any, *, least: float) -> float:
    """A number of seconds.

    Raises:
        InvalidArgument: if it is something else, or less than ``least``.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= least:
        raise InvalidArgument(
            f"{name} must be a number of seconds, {least:g} or more, not {value!r}"
        )
    return value


def limit(name: str, value: Any, *, least: float) -> float | None:
    """Seconds of a limit; ``None`` for one that is never reached. Errors as :func:`seconds`."""
    if value is None or seconds(name, value, least=least) >= _FOREVER_S:
        return None
    return float(value)


def cores(value: Any) -> float | None:
    """Processors, which need not be whole, or ``None``.

    Raises:
        InvalidArgument: if it is no number above 0.
    """
    if value is None:
        return None
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value < math.inf:
        raise InvalidArgument(f"cores must be a number above 0, not {value!r}")
    return float(value)


def options(value: Any) -> Mapping[str, Any]:
    """Options of a backend by name.

    Raises:
        InvalidArgument: if it is no mapping of names.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise InvalidArgument(
            f"options must be a mapping of names to values, like {{'name': value}}, not {value!r}"
        )
    return value


def journal(value: Any) -> None:
    """A path, or ``None``.

    Raises:
        InvalidArgument: if it is something else.
    """
    if value is not None and not isinstance(value, str | os.PathLike):
        raise InvalidArgument(f"journal must be the path of a file, not {value!r}")


def observers(value: Any) -> Sequence[Any]:
    """Callables that are told what happens.

    Raises:
        InvalidArgument: if they are something else.
    """
    if not isinstance(value, Iterable):
        raise InvalidArgument(f"observers must be several callables, like [{value!r}]")
    found = list(value)
    for one in found:
        if not callable(one):
            raise InvalidArgument(f"an observer must be callable, but {one!r} is not")
    return found


def progress(value: Any) -> Any:
    """Whether and how to show progress.

    Raises:
        InvalidArgument: if it is neither true nor false, nor callable.
    """
    if not isinstance(value, bool) and not callable(value):
        raise InvalidArgument(f"progress must be True, False or an observer, not {value!r}")
    return value


def flag(name: str, value: Any) -> bool:
    """True or false.

    Raises:
        InvalidArgument: if it is neither.
    """
    if not isinstance(value, bool):
        raise InvalidArgument(f"{name} must be True or False, not {value!r}")
    return value
