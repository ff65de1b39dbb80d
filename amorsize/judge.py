"""What a failed item means: the end of the run, or a placeholder among the results."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from amorsize.errors import ItemError, RemoteTraceback, shorten
from amorsize.exceptions import cause_of, text_of
from amorsize.loop import annotate
from amorsize.policy import DEFAULT, SKIPPED, Policy
from amorsize.report import RunReport
from amorsize.source import Piece, Span

AFTER_ALL = 1 << 62
"""Index of an error of the data itself: any item before it that fails comes first."""


class FirstFailure:
    """Error state of a run: the lowest index that failed, as the plain loop would meet it."""

    index: int = -1
    error: BaseException | None = None

    def offer(self, index: int, error: BaseException) -> None:
        """Keep the error if no earlier item has failed."""
        if self.error is None or index < self.index:
            self.index, self.error = index, error


class Judge:
    """Applies the caller's policy to failed items, and keeps them for the report."""

    def __init__(self, report: RunReport, policy: Policy = DEFAULT) -> None:
        self.report, self.policy = report, policy
        self.failure = FirstFailure()
        """The error that ends the run, once there is one."""

    def failed(self, index: int, error: BaseException, item: Any, worker: str = "") -> list[Any]:
        """An item has failed. Returns what stands in its place, in a list; an empty list if
        nothing does because the run ends. Only an ``Exception`` is forgiven.
        """
        annotate(error, index, item, worker)
        told = item_error(index, error, item, worker)
        self.report.fail(told)
        if not self.policy.forgives or not isinstance(error, Exception):
            self.failure.offer(index, error)
            return []
        return [placeholder(self.policy, told)]

    def ended(self, index: int, error: BaseException) -> None:
        """An item of a loop has ended the run with an error that names it already; or the data
        itself, after all its items.
        """
        if index != AFTER_ALL:
            self.report.fail(item_error(index, error, None))
        self.failure.offer(index, error)

    def given_up(self, spans: Iterable[Span], error: Exception) -> Iterator[Piece]:
        """What stands in the places of items that no time was left for."""
        for start, stop in spans:
            if start == stop:
                continue
            self.report.failed_items += max(0, stop - start - 1)
            self.report.fail(ItemError(start, "not run", error))
            if self.policy.on_error == "skip":
                yield start, [SKIPPED] * (stop - start)
            else:
                yield start, [ItemError(index, "not run", error) for index in range(start, stop)]


def item_error(index: int, error: BaseException, item: Any, worker: str = "") -> ItemError:
    """The failure as a fact that holds on to no frame of the stack: their locals would live as
    long as the results.
    """
    cause = cause_of(error)
    text = cause.text if isinstance(cause, RemoteTraceback) else text_of(error)
    return ItemError(index, shorten(item), error, worker, text)


def placeholder(policy: Policy, error: ItemError) -> Any:
    """What stands among the results for a forgiven item."""
    BaseException.with_traceback(error.exception, None)  # its text is kept
    return error if policy.on_error == "return" else SKIPPED


def is_placeholder(value: object) -> bool:
    """Whether a result is none of the function's."""
    return value is SKIPPED or type(value) is ItemError
