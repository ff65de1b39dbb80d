"""What a slow consumer of a stream does not need: results that always lie ready when it comes."""

from __future__ import annotations

_FIRST, _SPARE = 2, 2
"""Chunks a worker to begin with; chunks that lie ready beyond the one that is taken."""
_ALL = 1 << 30


class Backlog:
    """How many chunks of a stream need to be in flight for its consumer: few at first, twice as
    many whenever it has to wait for one. Those that have lain ready whenever it came, busy as it
    was, for as many chunks as there are, are not needed.

    Args:
        workers: each may have a chunk in any case.
    """

    def __init__(self, workers: int) -> None:
        self.most = _FIRST * workers
        """Chunks that may run, wait for their turn or lie ready."""
        self._workers = workers
        self._begin()

    def _begin(self) -> None:
        self._least, self._turns = _ALL, 0

    def found(self, ready: int, alive: int) -> None:
        """The consumer was busy, and comes for one of ``ready`` chunks that have ended, of
        ``alive`` that are in flight or have.
        """
        if not ready:  # or it is not known yet: see found_none
            return
        self._least, self._turns = min(self._least, ready), self._turns + 1
        if self._turns >= alive:
            unneeded = self._least - 1 - _SPARE
            if unneeded > 0:
                self.most = max(self._workers, alive - unneeded)
            self._begin()

    def found_none(self) -> None:
        """The consumer has to wait."""
        self.most = min(_ALL, 2 * self.most)
        self._begin()
