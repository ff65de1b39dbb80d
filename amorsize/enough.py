"""Whether a sample is enough, and which items its next block has.

Thinking about that costs as much as a short item: it is done anew whenever the items since the
last time took some times as long as it did, by its CPU seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from amorsize.blocks import STEADY, STEADY_BY_SIZE, Blocks, Estimate, mean
from amorsize.monitor import usable_cores
from amorsize.naps import is_nap

BUDGET_S = 0.005
"""Least seconds a sample may take; more only where the whole takes over fifty times as long."""
BUDGET_SHARE = 0.02
"""Share of the predicted serial time that a sample may take; of what waits, the share of the time
that it takes side by side."""
_SIDE_BY_SIDE = 64
"""Items that may wait side by side."""
WAITING, WAITING_SHARE = 0.5, 0.1
"""Of work that is on a processor for less than the first share of the time, two items are enough
of a sample if they take more than the second share of the time that it takes side by side."""
ONLY_WAITING = 0.05
"""A first call that is on a processor for no more than this share of the time is enough by itself:
another one would take a good part of what all take side by side. If the others compute, the run
sees it before many have started."""
MOST_S = 0.25
"""Most seconds of a sample of several items: workers could have run them side by side, and what
remains unclear then the run will see."""
SECOND_SHARE = 0.04
"""Or this share of what the whole would take on all cores, for a second item: the first may have
loaded what all others need, and then says nothing about them.
"""
LOST_S, LOST_SHARE = 0.02, 0.1
"""Seconds, and a share of its items' own, that a sample may take beyond these. Where a few take
long and all others next to nothing, each is timed by itself, which takes longer than they do."""
INNER_CORES = 1.3
"""Cores that an item keeps busy by itself from which on it matters what it takes with one."""
WORTHLESS_S = 0.010
"""Seconds of plain loop left below which no decision is worth another sample."""
_BLOCK_S = 0.0005
"""Seconds a timed block should take: some ten times what timing it and thinking about it take."""
_THINKING = 8.0
"""Items run for so many times as long as thinking about them took, before that is done again."""
_NAPS = 16
"""Items that wait a short time of which a sample has so many at least."""
MANY, _WATCHED_S = 500, 0.00005
"""Of so many items for each core another one takes nothing to speak of: they are watched once some
have taken so many seconds, as a watch takes longer than sampling some of the shortest."""
_NO_THREADS_S = 0.000002
"""Seconds of an item below which nobody asks for its GIL share: to hand over the lock takes longer
than it, and no thread would be of use."""
_ALWAYS = 4
"""Blocks after each of which it is done: they differ most."""


class Outlook:
    """What has been decided about the rest of a sample.

    Args:
        seen: the blocks, which the sampler adds to.
        length: items in the data that have no results yet, ``None`` if unknown.
        positions: items in the data over which the sample is spread, 0 for a stream.
        needed_s: seconds of watching that tell whether the interpreter's lock is held.
        spinning: other threads that ran before the function did.
        here: whether items run in the caller: then they may be run with one thread of numerical
            libraries, and what they do not take themselves is lost.
        like_before: whether the items are like those of an earlier sample, which tells what else
            watching would.
    """

    size = 1
    """Items of the next block: one, unless they are so short that the clock matters."""
    order: list[int] | None = None
    """Positions of all items from small to large, for a sample of single items that differ."""
    narrow = False
    """Whether numerical libraries are to use one thread only from now on."""
    watch: bool
    """Whether items have to be watched from now on."""

    def __init__(
        self,
        seen: Blocks,
        length: int | None,
        positions: int,
        *,
        needed_s: float,
        spinning: int,
        here: bool,
        like_before: Callable[[], bool] | None = None,
    ) -> None:
        self._seen, self._length, self._positions = seen, length, positions
        self._needed_s, self._spinning, self._here = needed_s, spinning, here
        self._again_s = self._unwatched_s = 0.0
        """Seconds of items, and of reading them, after which to think again, and before the watch
        began."""
        self._like_before = like_before
        self._began = time.perf_counter()
        self.watch = length is None or length < MANY * usable_cores()

    def is_enough(self, reading_s: float) -> bool:
        """Whether the sample is, after another block; ``reading_s`` seconds of it went into
        reading a stream.
        """
        seen = self._seen
        spent_s = seen.elapsed_s + reading_s
        if self._here and self._lost_s(spent_s) > LOST_S + LOST_SHARE * spent_s:
            return True
        if spent_s < self._again_s:
            return False
        begin = time.thread_time()
        if self._must_narrow():
            self.narrow, self._again_s = True, 0.0
            return False
        known = seen.estimate()
        left = None if self._length is None else self._length - seen.items
        # The first call has to be made in any case; what it builds, later ones need not.
        budget_left_s = self._budget_s(known, left) - (spent_s - seen.all[0].wall_s) - known.mean_s
        unseen_s = self._unseen_s(known.mean_s, left, spent_s)
        if self._suffices(known, left, budget_left_s, watched=unseen_s <= 0):
            return True
        self.size = self._size()
        self.order = self._order(known)
        if len(seen.all) >= _ALWAYS and not self._is_growing():
            pause_s = _THINKING * (time.thread_time() - begin)
            if unseen_s > 0:  # the sample ends no earlier, whatever is thought
                share = 1.0 if known.error <= STEADY else 0.5
                pause_s = min(max(pause_s, share * unseen_s), unseen_s)
            elif budget_left_s > 0:
                pause_s = min(pause_s, budget_left_s)
            self._again_s = spent_s + pause_s
        return False

    def _lost_s(self, spent_s: float) -> float:
        """Seconds since the sample began that its items did not take."""
        return time.perf_counter() - self._began - spent_s

    def _must_narrow(self) -> bool:
        """Whether to see what an item takes that may use one core only, as in a worker, because
        usual ones are parallel inside; not if it could take as much longer as they use cores, and
        that is a good part of the whole.
        """
        seen = self._seen
        if self.narrow or not self._here or self._length is None or len(seen.all) < 2:
            return False
        inner = seen.inner_cores(self._spinning)
        if inner < INNER_CORES:
            return False
        item_s = seen.estimate().mean_s
        serial_s = item_s * (self._length - seen.items)
        return serial_s > WORTHLESS_S and item_s * inner < SECOND_SHARE * serial_s

    def _unseen_s(self, item_s: float, left: int | None, spent_s: float) -> float:
        """Seconds for which items have yet to be watched until that tells a GIL share: some
        milliseconds where it matters, and where it shows: of naps, waking up is most of what it
        would be a share of.
        """
        needed_s = self._needed_s
        if item_s * (left or 0) < 10 * needed_s or item_s < _NO_THREADS_S:
            return 0.0
        if self._like_before is not None and self._like_before():
            return 0.0
        if not self.watch and spent_s >= _WATCHED_S:
            self.watch, self._unwatched_s = True, spent_s
        if item_s >= needed_s or self._naps():
            return 0.0
        return needed_s - (spent_s - self._unwatched_s)

    def _suffices(
        self, known: Estimate, left: int | None, budget_left_s: float, *, watched: bool
    ) -> bool:
        if left is not None and left <= 0:
            return True
        if budget_left_s < 0 and watched:
            return True
        if len(self._seen.all) < _ALWAYS or self._is_growing():
            return False
        if left and (1 + 2 * known.error) * known.mean_s * left < WORTHLESS_S:
            return True
        return watched and known.error < (STEADY if known.sized is None else STEADY_BY_SIZE)

    def _naps(self) -> bool:
        """Whether items are naps, of which enough were seen to know that others are no longer.
        Most blocks must show it: of a single one that does, another program had the processor.
        """
        seen = self._seen
        if seen.items < _NAPS:
            return False
        shares = ((b.busy_s / len(b.values), b.per_item_s) for b in seen.all)
        naps = sum(is_nap(item_s - busy_s, busy_s) for busy_s, item_s in shares)
        return 2 * naps > len(seen.all)

    def _is_growing(self) -> bool:
        """Whether the next block would be far larger than those so far, of items that take next to
        nothing: of small blocks they seem to take longer than they do.
        """
        largest, length = self._seen.largest, self._length
        most = largest if length is None else length // 50
        return largest > 1 and 2 * largest <= most and 4 * self._seen.all[-1].wall_s < _BLOCK_S

    def _budget_s(self, known: Estimate, left: int | None) -> float:
        """Seconds that the items after the first may take."""
        seen, serial_s = self._seen, known.mean_s * max(0, left or 0)
        busy_share = seen.busy_s / max(seen.own_s, 1e-9)
        least_s = serial_s * max(1 / _SIDE_BY_SIDE, busy_share)
        # An uncertain mean may be too small: so is what it says of the time that a sample may take.
        doubt = min(1.0, 2 * known.error) if len(seen.steady) > 1 else 1.0
        most_s, only = MOST_S, len(seen.all) == 1
        if only:
            most_s = max(most_s, SECOND_SHARE * least_s / usable_cores())
        budget_s = max(BUDGET_S, min(most_s, BUDGET_SHARE * least_s * (1 + doubt)))
        if only and ONLY_WAITING <= busy_share < WAITING:
            # What it computes decides between threads and processes, and may be the first's only.
            budget_s = max(budget_s, WAITING_SHARE * least_s)
        elif serial_s and busy_share < WAITING:
            # Side by side it would be over in no time: two items say how it waits.
            budget_s = min(budget_s, WAITING_SHARE * least_s)
        return budget_s

    def _size(self) -> int:
        if len(self._seen.all) < 2:  # the first call tells little
            return 1
        others = self._seen.steady
        per_item = mean([block.per_item_s for block in others])
        wanted = max(1, int(_BLOCK_S / max(per_item, 1e-9)))
        grown = min(wanted, 20 * max(len(block.values) for block in others))
        whole = self._positions or self._length
        return grown if whole is None else max(1, min(grown, whole // 50))

    def _order(self, known: Estimate) -> list[int] | None:
        """Single long items are taken by their order of size, if they have one: small and large
        ones alike.
        """
        seen = self._seen
        worth = self.size == 1 and known.mean_s * self._positions > WORTHLESS_S
        return seen.order if worth and seen.may_differ else None
