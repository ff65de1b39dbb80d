"""What to do about chunks that did not come back: pure bookkeeping of deaths and suspects."""

from __future__ import annotations

from amorsize.backend import Chunk
from amorsize.errors import ItemTimeout, WorkerDied, WorkerLost
from amorsize.policy import DEFAULT, Policy
from amorsize.report import RunReport

ATTEMPTS = 6
"""Times an item may cost its worker, alone with it, before it is held guilty: workers also die of
other causes, and the longer an item takes, the more of them hit it. With four, as Dask and Ray have
it, the campaign's random kills (``python -m tests.faults``) blame an innocent one now and then."""
PARTS_AFTER_TIMEOUT = 64
"""Parts of a chunk whose worker was ended for an item's time limit: each further round would
cost the limit again."""


def most_deaths(workers: int) -> int:
    """Deaths in a row, without one finished chunk between them, after which a pool is given up:
    enough for a dozen deadly items next to each other.
    """
    return 48 + 4 * workers


class Recovery:
    """The state of a run as to lost workers.

    Args:
        report: takes the counts.
        policy: what the caller wishes to happen when items fail.
    """

    most_workers: int | None = None
    """Chunks that may run at once, since memory ran out; ``None`` for no limit."""
    in_a_row: int = 0
    """Deaths since a chunk came back."""

    def __init__(self, report: RunReport, policy: Policy = DEFAULT) -> None:
        self.report, self.timeout_s = report, policy.timeout
        # An attempt whose worker had to be ended is one of the item's, as one that raised.
        self._retries = policy.retries if issubclass(ItemTimeout, policy.retry_on) else 0
        self._deaths: dict[int, int] = {}
        self._timeouts: dict[int, int] = {}

    def progressed(self) -> None:
        """A chunk came back."""
        self.in_a_row = 0

    def lost(self, chunk: Chunk) -> None:
        """A worker vanished with this chunk."""
        self.in_a_row += 1
        self.report.lost_workers += 1
        self.report.rerun_items += chunk.count

    def shrink(self, workers: int) -> int | None:
        """Memory ran out: with how many workers to go on, ``None`` if there is just one."""
        now = workers if self.most_workers is None else min(workers, self.most_workers)
        if now <= 1:
            return None
        self.most_workers = now // 2
        self.report.remarks.append(
            f"memory ran out and a worker was killed: from {now} to {self.most_workers} workers"
        )
        return self.most_workers

    def parts(self, flown_s: float) -> int:
        """Into how many parts a lost chunk is cut."""
        return PARTS_AFTER_TIMEOUT if self._is_overdue(flown_s) else 2

    def verdict(self, index: int, lost: WorkerLost, flown_s: float) -> Exception | None:
        """What an item is guilty of that lost its worker while it was alone, ``None`` if it
        gets another chance. ``flown_s`` are the seconds since its chunk was submitted.
        """
        if self._is_overdue(flown_s):
            assert self.timeout_s is not None
            self._timeouts[index] = self._timeouts.get(index, 0) + 1
            if self._timeouts[index] <= self._retries:
                self.report.retries += 1
                return None
            return _caused(ItemTimeout(self.timeout_s, "; its worker was ended"), lost)
        self._deaths[index] = self._deaths.get(index, 0) + 1
        if self._deaths[index] < ATTEMPTS:
            return None
        return _caused(WorkerDied(index, lost.reason, self._deaths[index]), lost)

    def _is_overdue(self, flown_s: float) -> bool:
        return self.timeout_s is not None and flown_s >= self.timeout_s


def _caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error
