"""Whether workers gain what they were started for: arithmetic on what chunks report."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from amorsize.worker import ChunkTimes

GIVE_UP_AFTER_S, GIVE_UP_RATIO = 0.05, 1.1
"""After this many seconds, workers whose items took together less than the elapsed time over
this ratio have gained nothing: the caller goes on alone."""
CHUNKS_EACH = 4
"""Chunks that each worker has to have had before that is said."""
BUSY_SHARE, COMPUTING_SHARE, BUSIER = 0.6, 0.3, 3.0
"""Threads that were to wait compute, if their process is on a processor for the first share of the
elapsed time, or for the second one of their items' own, and each item the last number of times
as long as was planned."""
LOOK_AFTER_S = 0.03
"""Seconds before which nothing is said of what items do: the first one of a thread may take some
times as long as others, and starting many threads takes that long.
"""
AS_PLANNED = 1.5
"""Items that take no more than so many times as long as planned, and no less, wait as planned: the
processor is busy with other things then, starting their threads perhaps."""
UNNOTICED_S = 0.0002
"""CPU seconds that an item may take more than planned without being said to compute: waking up, and
new memory, take longer on many threads.
"""


class Gain:
    """What a session's chunks took together, against the time that is over.

    Args:
        workers: workers of the session.
        waiting_cpu_s: CPU seconds planned for an item, where threads were chosen because items
            wait; ``None`` otherwise.
        item_s: seconds planned for an item, then.
    """

    def __init__(
        self, workers: int, waiting_cpu_s: float | None = None, item_s: float = 0.0
    ) -> None:
        self._workers, self._waiting_cpu_s, self._item_s = workers, waiting_cpu_s, item_s
        self._items, self._wall_s, self._cpu_s = 0, 0.0, 0.0
        self._began_cpu_s = time.process_time()

    def observe(self, items: int, times: ChunkTimes) -> None:
        """A chunk has ended."""
        self._items += items
        self._wall_s += times.wall_s
        self._cpu_s += times.cpu_s

    @property
    def item_cpu_s(self) -> float:
        """CPU seconds an item takes."""
        return self._cpu_s / max(1, self._items)

    def none(self, elapsed_s: float, chunks: int) -> bool:
        """Whether the items took no longer, together, than the run does."""
        enough = elapsed_s > GIVE_UP_AFTER_S and chunks >= CHUNKS_EACH * self._workers
        return enough and elapsed_s > GIVE_UP_RATIO * self._wall_s

    def computes(self, elapsed_s: float) -> bool:
        """Whether items compute that were taken to wait: they share one interpreter lock now,
        and other processes would not.
        """
        if self._waiting_cpu_s is None or self._items < 2 or elapsed_s < LOOK_AFTER_S:
            return False
        # Items that have not ended have computed, too: threads are of this process.
        cpu_s = max(self._cpu_s, time.process_time() - self._began_cpu_s)
        item_s = self._wall_s / self._items
        as_planned = self._item_s / AS_PLANNED <= item_s <= self._item_s * AS_PLANNED
        busy = self._cpu_s > COMPUTING_SHARE * self._wall_s or (
            cpu_s > BUSY_SHARE * elapsed_s and not as_planned
        )
        return busy and self.item_cpu_s > BUSIER * self._waiting_cpu_s + UNNOTICED_S
