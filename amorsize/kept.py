"""A run with a journal: what workers have finished is kept as soon as the caller has it, however
long its consumer takes, and also if that takes no more.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import suppress
from itertools import islice
from typing import Any

from amorsize.backend import Chunk
from amorsize.runner import Run
from amorsize.source import Piece
from amorsize.worker import Outcome


class KeptRun(Run):
    """A run that hands its results to a journal before its consumer may have them."""

    keep: Callable[[int, list[Any]], object]
    """Takes results of consecutive items, and the index of the first."""

    def _take(self, chunk: Chunk, outcome: Outcome) -> None:
        known = len(self._ready)
        super()._take(chunk, outcome)
        for start, values in islice(self._ready, known, None):
            self.keep(start, values)

    def _hand_out(self) -> Generator[Piece, None, bool]:
        """Look what has ended meanwhile whenever the consumer was busy, and when it has gone."""
        try:
            busy = yield from super()._hand_out()
        except GeneratorExit:
            with suppress(Exception):  # nobody waits for it: what is not kept runs again
                while self._take_meanwhile():
                    pass
            raise
        if busy and self._ready:  # else the run looks by itself
            self._take_meanwhile()
        return busy

    def _take_meanwhile(self) -> bool:
        """Take what has ended; whether there was any."""
        if self._session is None or os.getpid() != self._home:
            return False
        return self._take_ended(self._session, 0.0)
