"""Whether workers gain what they were started for: arithmetic on what chunks report."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from amorsize.enough import WAITING
from amorsize.leaving import GAINS_NOTHING, ONE_AT_A_TIME, Leaving, computing, taking_turns
from amorsize.monitor import queued_s

if TYPE_CHECKING:
    from amorsize.backend import Chunk
    from amorsize.worker import ChunkTimes

if sys.platform != "win32":
    import resource

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
OFF_SHARE = 0.1
"""Share of their time for which threads that were to compute are off the processor, beyond what
was planned and what they wait for one, from which on they wait for the interpreter's lock."""
ITEMS_EACH = 2
"""Items that each of them has to have had before that is said."""
TOLD_AFTER_S = 0.1
"""Seconds over which the system's ticks tell how long its processors were idle."""
IDLE_CORES = 0.25
"""Processors that nobody uses from which on it is not others who keep threads from one."""
OFTEN_S = 0.0002
"""Seconds between two waits of the process below which waiting, and being woken, take as long as
what is done: what an item takes beyond its planned CPU seconds is that then."""


class Planned(NamedTuple):
    """What was planned for threads of one interpreter."""

    threads: int
    """How many there are."""
    item_s: float
    """Seconds of an item, alone."""
    item_cpu_s: float
    """CPU seconds of it."""
    waiting_share: float = 0.0
    """Part of the time that it waits."""
    unlimited: bool = True
    """Whether this process may use all processors that it sees; a quota keeps it from idle ones."""

    @property
    def waits(self) -> bool:
        """Whether threads were chosen because items wait; else because they let go of the lock."""
        return self.waiting_share > WAITING


class Gain:
    """What a session's chunks took together, against the time that is over.

    Args:
        workers: workers of the session.
        planned: of threads of one interpreter; ``None`` for other workers.
    """

    def __init__(self, workers: int, planned: Planned | None = None) -> None:
        self._workers = workers
        self._waiting = planned if planned is not None and planned.waits else None
        self._side_by_side = None if self._waiting is not None else planned
        self._chunks, self._items, self._wall_s, self._cpu_s = 0, 0, 0.0, 0.0
        self._began_cpu_s = time.process_time()
        if self._side_by_side is not None:
            self._began_waits, self._began_queued_s = _waits(), _queued_s()
            self._began_idle_s = _idle_s()

    def observe(self, items: int, times: ChunkTimes) -> None:
        """A chunk has ended."""
        self._chunks += 1
        self._items += items
        self._wall_s += times.wall_s
        self._cpu_s += times.cpu_s

    @property
    def item_cpu_s(self) -> float:
        """CPU seconds an item takes."""
        return self._cpu_s / max(1, self._items)

    def objection(self, elapsed_s: float, flying_s: float) -> Leaving | None:
        """Why the caller should not go on with these workers, if that shows by now; chunks in
        flight have taken up to ``flying_s`` seconds.
        """
        if self.computes(elapsed_s):
            return computing(self.item_cpu_s)
        if self.excludes(elapsed_s):
            return ONE_AT_A_TIME
        planned = self._side_by_side
        if planned is not None and self.takes_turns(elapsed_s):
            return taking_turns(planned.waiting_share)
        return GAINS_NOTHING if self.none(elapsed_s, flying_s) else None

    def excludes(self, elapsed_s: float) -> bool:
        """Whether items that wait do so one at a time, for a lock of their own perhaps: each takes
        as many times as long as there are threads, and all together what the loop would.
        """
        planned = self._waiting
        if planned is None or planned.threads < 2 or elapsed_s < GIVE_UP_AFTER_S:
            return False
        if self._items < ITEMS_EACH * planned.threads or planned.item_s <= 0:
            return False
        loop_s = self._items * planned.item_s
        stretched = self._wall_s / loop_s
        return elapsed_s > loop_s / GIVE_UP_RATIO and stretched > planned.threads / AS_PLANNED

    def none(self, elapsed_s: float, flying_s: float = 0.0) -> bool:
        """Whether the items took no longer, together, than the run does."""
        enough = elapsed_s > GIVE_UP_AFTER_S and self._chunks >= CHUNKS_EACH * self._workers
        return enough and elapsed_s > GIVE_UP_RATIO * (self._wall_s + flying_s)

    def computes(self, elapsed_s: float) -> bool:
        """Whether items compute that were taken to wait: they share one interpreter lock now,
        and other processes would not.
        """
        planned = self._waiting
        if planned is None or self._items < 2 or elapsed_s < LOOK_AFTER_S:
            return False
        # Items that have not ended have computed, too: threads are of this process.
        cpu_s = max(self._cpu_s, time.process_time() - self._began_cpu_s)
        item_s = self._wall_s / self._items
        as_planned = planned.item_s / AS_PLANNED <= item_s <= planned.item_s * AS_PLANNED
        busy = self._cpu_s > COMPUTING_SHARE * self._wall_s or (
            cpu_s > BUSY_SHARE * elapsed_s and not as_planned
        )
        return busy and self.item_cpu_s > BUSIER * planned.item_cpu_s + UNNOTICED_S

    def takes_turns(self, elapsed_s: float) -> bool:
        """Whether threads that were to compute side by side wait for each other instead: they gain
        nothing by being several, and processes would.
        """
        planned = self._side_by_side
        if planned is None or elapsed_s < GIVE_UP_AFTER_S:
            return False
        if self._items < ITEMS_EACH * planned.threads or self._wall_s <= 0:
            return False
        busy_share = self._cpu_s / self._wall_s
        waiting_s = planned.waiting_share * planned.item_s * self._items
        waiting_share = min(1.0, waiting_s / self._wall_s)
        off_share = 1.0 - busy_share - waiting_share
        if off_share < OFF_SHARE:
            return False
        cores = planned.threads * (busy_share + waiting_share)
        if elapsed_s < OFTEN_S * (_waits() - self._began_waits):
            cores /= max(1.0, self.item_cpu_s / max(planned.item_cpu_s, 1e-9))
        if cores >= GIVE_UP_RATIO:
            return False
        idle_s = _idle_s() - self._began_idle_s if planned.unlimited else 0.0
        if elapsed_s >= TOLD_AFTER_S and idle_s > IDLE_CORES * elapsed_s:
            return True  # whatever they queue for: one that is woken may do so behind its waker
        # Those that wait for a processor would do so as processes, too.
        queued_share = max(0.0, _queued_s() - self._began_queued_s) / self._wall_s
        return off_share - queued_share >= OFF_SHARE


def aloft_s(
    chunks: Iterable[Chunk], submitted: Mapping[int, tuple[float, float]], now: float
) -> float:
    """Seconds that chunks on workers have taken so far, at most as many as they should. Times of
    submission are by the chunk's number.
    """
    return sum(min(chunk.expected_s, now - submitted[chunk.number][0]) for chunk in chunks)


def _waits() -> int:
    """How often threads of this process have waited so far; 0 where the system does not count."""
    if sys.platform == "win32":
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw


def _queued_s() -> float:
    """Seconds that the threads of this process have waited for a processor so far; 0 where the
    system does not tell.
    """
    try:
        return sum(queued_s(int(name)) for name in os.listdir("/proc/self/task"))
    except OSError:
        return 0.0


def _idle_s() -> float:
    """Seconds that nobody has used the processors of this process so far, all added up; 0 where
    the system does not tell.
    """
    from amorsize.probes.contention import sample
    from amorsize.probes.host import Host

    now = sample(Host())
    return 0.0 if now is None else now.idle_s
