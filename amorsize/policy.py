"""What the caller wishes to happen when items fail: facts only, checked before anything runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypedDict, get_args

from amorsize import checking
from amorsize.errors import InvalidArgument

OnError = Literal["raise", "skip", "return"]
_PLACES, _OTHERS = ("backend", "workers", "chunk_size", "options"), ("journal", "seed", "voices")
_OF_RUNS = ("progress", "observers")
"""Arguments of public calls that are no matter of failures, to be told to who misspells one."""
LONGEST_PAUSE_S = 60.0
"""Longest pause between two attempts at an item, however often it has failed."""

RetryOn = type[Exception] | tuple[type[Exception], ...]


if TYPE_CHECKING:  # a dictionary with types takes a while to build, and only checkers ask

    class Faults(TypedDict, total=False):
        """The arguments of :func:`amorsize.plan`, ``map`` and their kind that concern failures.

        They hold for the items of the sample too, on every backend.
        """

        on_error: OnError
        """What an item's error does: ``"raise"`` (the default) ends the run with the error of the
        first failing item, as the loop would; ``"skip"`` leaves the item out; ``"return"`` puts an
        :class:`amorsize.ItemError` in its place. All are collected in ``report.failures``."""
        retries: int
        """Further attempts at an item that raised; default 0."""
        backoff: float
        """Longest pause before the second attempt in seconds, default 0.1. It doubles with each
        further one up to a minute; the actual pause is random between half of it and all of it."""
        retry_on: RetryOn
        """Exceptions that are worth another attempt; default ``Exception``."""
        timeout: float | None
        """Seconds that one attempt at an item may take; ``None``, the default, for no limit. One
        beyond it fails with :class:`amorsize.ItemTimeout`; if its code does not let itself be
        interrupted, its worker is ended and replaced."""
        deadline: float | None
        """Seconds that the whole run may take, sample aside; ``None`` (the default) for no limit.
        Beyond it the run ends with :class:`amorsize.DeadlineExceeded`."""


class Policy(NamedTuple):
    """:class:`Faults`, complete and checked."""

    on_error: OnError = "raise"
    retries: int = 0
    backoff: float = 0.1
    retry_on: tuple[type[Exception], ...] = (Exception,)
    timeout: float | None = None
    deadline: float | None = None

    @property
    def forgives(self) -> bool:
        """Whether the run goes on after an item has failed."""
        return self.on_error != "raise"

    @property
    def guards(self) -> bool:
        """Whether something has to happen around each call of the function."""
        return self.retries > 0 or self.timeout is not None

    def pause_s(self, attempt: int) -> float:
        """Seconds to wait after attempt number ``attempt`` (from 1) failed. Random, so that
        items which failed together do not all come back together.
        """
        import random  # takes milliseconds to load

        longest = min(LONGEST_PAUSE_S, self.backoff * 2.0 ** min(attempt - 1, 32))
        return longest * random.uniform(0.5, 1.0)


DEFAULT = Policy()


class Skipped:
    """Stands for a result that is left out; never reaches the user. There is one."""

    def __reduce__(self) -> str:
        return "SKIPPED"


SKIPPED = Skipped()


def policy_of(faults: Faults) -> Policy:
    """Check the caller's wishes.

    Raises:
        TypeError: for an unknown name.
        InvalidArgument: for a value that cannot work.
    """
    if not faults:
        return DEFAULT
    unknown = sorted(set(faults) - set(Policy._fields))
    if unknown:
        raise TypeError(_unexpected(unknown[0]))
    policy = Policy(**faults)  # type: ignore[arg-type]
    if policy.on_error not in get_args(OnError):
        allowed = ", ".join(map(repr, get_args(OnError)))
        raise InvalidArgument(f"on_error must be one of {allowed}, not {policy.on_error!r}")
    return policy._replace(
        retries=checking.count("retries", policy.retries, least=0) or 0,
        backoff=checking.seconds("backoff", policy.backoff, least=0.0),
        retry_on=_exceptions(policy.retry_on),
        timeout=checking.limit("timeout", policy.timeout, least=1e-6),
        deadline=checking.limit("deadline", policy.deadline, least=1e-6),
    )


def _unexpected(name: str) -> str:
    if name in _OF_RUNS:
        return f"{name!r} is an argument of a plan's run() and stream(), not of plan()"
    known = ", ".join([*_PLACES, *Policy._fields, *_OTHERS])
    return f"unexpected argument {name!r}; there are: {known}"


def _exceptions(wanted: Any) -> tuple[type[Exception], ...]:
    kinds = wanted if isinstance(wanted, tuple) else (wanted,)
    if not kinds or not all(isinstance(k, type) and issubclass(k, Exception) for k in kinds):
        raise InvalidArgument(
            f"retry_on must be a class of exceptions below Exception or a tuple of such, "
            f"not {wanted!r}"
        )
    return kinds
