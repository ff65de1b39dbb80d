"""What :func:`amorsize.imap` returns: an iterator that can be closed from anywhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator, Iterator
from types import FrameType
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from amorsize.report import RunReport

R_co = TypeVar("R_co", covariant=True)

PATIENCE_S, _LOOK_S = 2.0, 0.01
"""Most seconds that :meth:`Stream.close` waits for another thread to leave the stream."""


class Stream(Iterator[R_co]):
    """Results of a run as they come. Closing it, or leaving its ``with`` block, cancels the run and
    ends its workers; so does dropping it.

    Args:
        results: yields them.
        cancel: tells a run that is in the middle of something in another thread to end.
        report: what the run measures.
    """

    report: RunReport
    """Predicted against actual, and the items that failed; complete once the stream has ended."""

    def __init__(
        self,
        results: Generator[R_co, None, None],
        cancel: Callable[[], object],
        report: RunReport,
    ) -> None:
        self._results, self._cancel, self.report = results, cancel, report

    def __iter__(self) -> Iterator[R_co]:
        """The results themselves: a loop over them does not go through this object."""
        return self._results

    def __next__(self) -> R_co:
        return next(self._results)

    def __enter__(self) -> Stream[R_co]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Cancel what runs, from any thread; a thread that waits for the next result finds the
        stream at its end. Nothing happens if it is over already.
        """
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                self._results.close()
            except ValueError as error:
                if not self._is_busy(error):
                    raise
                self._cancel()
                if self._is_above() or time.monotonic() > until:
                    return
                time.sleep(_LOOK_S)
            else:
                return

    def _is_busy(self, error: ValueError) -> bool:
        """Whether a generator says that some thread is in it, and nobody else anything."""
        return error.__traceback__ is not None and error.__traceback__.tb_next is None

    def _is_above(self) -> bool:
        """Whether it is this thread that is in the stream: an observer closes it, say, or the
        handler of a signal.
        """
        inside = getattr(self._results, "gi_frame", None)
        frame: FrameType | None = sys._getframe()
        while frame is not None and frame is not inside:
            frame = frame.f_back
        return frame is not None
