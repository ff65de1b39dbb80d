"""What the timed blocks of a sample tell about all items: means, spread, trend, sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from mmap import PAGESIZE
from typing import TYPE_CHECKING, Any, NamedTuple

from amorsize.pages import MANY_PAGES, page_s
from amorsize.profile import Profile, Sizing
from amorsize.source import IndexedSource, Source, Span, StreamSource
from amorsize.trend import trend_of

if TYPE_CHECKING:
    from amorsize.monitor import Monitor
    from amorsize.sizes import Sized, Sizes
    from amorsize.watched import Watched

USUAL = 1.5
"""A first call that takes no more than this many times as long as the next ones, and no less than
that, is one of them."""
_SLIGHT = 0.02
"""Share of an item's time that nobody minds it to compute more."""
STEADY = 0.05
"""Relative standard error of the mean at which it is known well enough."""
STEADY_BY_SIZE = 0.1
"""The same where sizes tell the mean: no rare item can hide, as all have been looked at."""
_GROWN = 0.25
"""Blocks with less than this share of the items of the largest one were there to find out how many
items a block should have: of functions so short the first calls take longer than later ones."""
_LOOK_AGAIN = 1.5
"""Sizes are compared with the times anew whenever there are so many times as many of these."""
_LOOKED_AT = 8
"""Items that are looked at to see whether looking at all pays."""
_TICK_S = 0.004
"""Most seconds by which the system counts the CPU seconds of a running thread late."""
_UNSEEN_S = 0.0001
"""Most CPU seconds that a watching thread's end and its start take outside its own clock."""
_COMPUTES = 0.8
"""Share of the time that a thread wants a processor, from which on it computes."""
_FEW_POINTS = 8
"""Timed blocks of which each one more says much about what sizes tell."""
_RARELY, _MOSTLY = 0.1, 0.5
"""Waits for each item, below which a share of the time up to the second one is the interpreter's
lock, which a watch on a busy machine may keep for long."""
_QUANTILES = 64
"""Expected times of items that are kept."""


class Block(NamedTuple):
    """One timed stretch of consecutive items."""

    start: int
    """Position of the first."""
    values: list[Any]
    """Their results."""
    wall_s: float
    """Seconds they took."""
    cpu_s: float
    """CPU seconds of the thread that ran them."""
    process_cpu_s: float
    """CPU seconds of its whole process."""
    pages: int = 0
    """Pages of new memory that their thread was given."""
    alone: bool = False
    """Whether numerical libraries were to use one thread only."""
    collected: bool = False
    """Whether a full garbage collection came meanwhile: it looks at all objects of the process, and
    says nothing of the items that happened to run."""
    queued_s: float = 0.0
    """Seconds in which their thread waited for a processor that other programs had."""
    waits: int | None = None
    """How often it waited for anything else; ``None`` where nobody counts."""

    @property
    def own_s(self) -> float:
        """Seconds that they would have taken but for other programs."""
        return self.wall_s - self.queued_s

    @property
    def busy_s(self) -> float:
        """Seconds of these in which the process was on a processor."""
        return min(self.process_cpu_s, self.own_s)

    @property
    def per_item_s(self) -> float:
        """Seconds of an item, without those that other programs took."""
        return self.own_s / len(self.values)

    @property
    def span(self) -> Span:
        """Positions of the items."""
        return self.start, self.start + len(self.values)


class Estimate(NamedTuple):
    """What is known so far about an item that has not run."""

    mean_s: float
    """Mean seconds."""
    error: float
    """Standard error of that, relative to it; 0 for a single block."""
    sized: Sized | None = None
    """What sizes tell, if they do."""


class Blocks:
    """The timed blocks of one sample, in the order in which they ran."""

    def __init__(self, source: Source) -> None:
        self.all: list[Block] = []
        self.elapsed_s = 0.0
        """Seconds of all."""
        self.own_s = 0.0
        """Seconds of these that they would have taken but for other programs."""
        self.busy_s = 0.0
        """Seconds of these in which the process was on a processor."""
        self.items = 0
        """Items that ran."""
        self.largest = 0
        """Items of the largest block."""
        self._source = source
        self._sized: Sized | None = None
        self._look_at = 3
        self._steady: tuple[int, list[Block]] = (0, self.all)
        self._estimate: tuple[int, Estimate | None] = (0, None)
        """Both are asked for several times a block: for how many blocks they hold, and what they
        are."""

    def add(self, block: Block) -> None:
        """Take note of another one."""
        self.all.append(block)
        self.elapsed_s += block.wall_s
        self.own_s += block.own_s
        self.busy_s += block.busy_s
        self.items += len(block.values)
        self.largest = max(self.largest, len(block.values))

    @property
    def steady(self) -> list[Block]:
        """The blocks that tell about a usual item: all but the first call, unless it took about
        as long as the one or two others that there are; and of those as large as they should be.
        """
        count, blocks = self._steady
        if count != len(self.all):
            blocks = self._usual()
            self._steady = len(self.all), blocks
        return blocks

    def _usual(self) -> list[Block]:
        others = [block for block in self.all[1:] if not block.alone]
        if not others:
            return self.all[:1]
        others = [block for block in others if not block.collected] or others
        largest = max(len(block.values) for block in others)
        others = [block for block in others if len(block.values) >= _GROWN * largest]
        if len(others) > 2 or largest > 1:
            return others
        first, usual_s = self.all[0], mean([block.per_item_s for block in others])
        busy_s = mean([block.busy_s for block in others])
        is_usual = usual_s / USUAL <= first.per_item_s <= USUAL * usual_s
        # One that waits takes about as long, whatever it has loaded before.
        is_usual = is_usual and first.busy_s <= USUAL * busy_s + _SLIGHT * usual_s
        return [first, *others] if is_usual else others

    @property
    def own_share(self) -> float:
        """Part of a usual item's time in which the thread that runs it is on a processor."""
        blocks = self.steady
        own_s = math.fsum([block.own_s for block in blocks])
        return math.fsum([block.cpu_s for block in blocks]) / max(own_s, 1e-9)

    def inner_cores(self, spinning: int) -> float:
        """Cores that items after the first have surely kept busy by themselves; 1 if that is not
        clear. ``spinning`` threads were on a processor before, and are not theirs.
        """
        wide = [block for block in self.all[1:] if not block.alone]
        wall_s = math.fsum(block.wall_s for block in wide)
        beside_s = math.fsum(block.process_cpu_s - block.cpu_s for block in wide)
        surely_s = beside_s - spinning * wall_s - (1 + spinning) * _TICK_S
        return 1.0 + max(0.0, surely_s) / max(wall_s, 1e-9)

    def estimate(self, *, closely: bool = False) -> Estimate:
        """The mean of the times, or what sizes make of it where times are uneven; ``closely``
        compares these with all times there are, otherwise now and then.
        """
        count, known = self._estimate
        if known is None or closely or count != len(self.all):
            known = self._estimated(closely=closely)
            self._estimate = len(self.all), known
        return known

    def _estimated(self, *, closely: bool) -> Estimate:
        blocks = self.steady
        times = [block.per_item_s for block in blocks]
        plain = Estimate(mean(times), error_of_mean(times))
        if plain.error <= STEADY or (len(blocks) < self._look_at and not closely):
            sized = self._sized if plain.error > STEADY else None
        else:
            self._look_at = max(len(blocks) + 1, int(_LOOK_AGAIN * len(blocks)))
            sized = self._sized = self._follow(blocks)
        if sized is None or sized.mean_s <= 0:
            return plain
        error = sized.relation.spread_s / math.sqrt(len(times)) / max(plain.mean_s, 1e-12)
        return Estimate(sized.mean_s, error, sized)

    @property
    def sizes(self) -> Sizes | None:
        """Sizes of the items, if the data shows them."""
        from amorsize.sizes import sizes_of

        return sizes_of(self._source)

    @cached_property
    def order(self) -> list[int] | None:
        """Positions of items in the order of their sizes, if these differ."""
        return None if self.sizes is None else self.sizes.order()

    @property
    def may_differ(self) -> bool:
        """Whether items look as if they were of different cost: by their lengths, or the times."""
        return self._lengths_differ or error_of_mean([b.per_item_s for b in self.steady]) > STEADY

    @cached_property
    def _lengths_differ(self) -> bool:
        """Whether a look at some items shows it: sizes cost more to look at than most samples."""
        data = self._source.data if isinstance(self._source, IndexedSource) else ()
        if type(data) not in (list, tuple) or not data:
            return False
        last = len(data) - 1  # not at equal distances: data may repeat itself
        some = [data[int(last * (n / _LOOKED_AT) ** 1.5)] for n in range(_LOOKED_AT + 1)]
        kind = type(some[0])
        if not all(type(item) is kind for item in some):
            return False
        if kind.__module__ == "numpy":
            return len({item.nbytes for item in some}) > 1
        if kind in (str, bytes, bytearray, list, dict, set, frozenset):
            return len(set(map(len, some))) > 1
        return kind.__module__.partition(".")[0] == "pathlib"

    def _follow(self, blocks: list[Block]) -> Sized | None:
        if self.sizes is None:
            return None
        points = [(block.span, block.per_item_s) for block in blocks]
        first = self.all[0]
        if len(points) < _FEW_POINTS and first is not blocks[0]:
            # Set apart as it may have built something: not if it took what its size says, too.
            told = self.sizes.follow([(first.span, first.per_item_s), *points])
            if told and told.first_s / USUAL <= first.per_item_s <= told.first_s * USUAL:
                return told
        return self.sizes.follow(points)


def unknown(items: int | None) -> Profile:
    """The profile of data of which nothing has run."""
    return Profile(items, 0, 0.0, 0.0, 0.0, 0.0, 0.0, (), 0.0, 0.0, 1.0, False, 0.0, 1.0, 0)


def profile_of(
    seen: Blocks,
    source: Source,
    monitor: Monitor,
    *,
    reading_s: float = 0.0,
    unwatched_s: float = 0.0,
    spinning: int = 0,
    rss_growth: int = 0,
    before: Watched | None = None,
) -> Profile:
    """What a sample has found out.

    Args:
        seen: the timed blocks.
        source: the data.
        monitor: what watched the sample.
        reading_s: seconds of it in which a stream was read.
        unwatched_s: seconds of blocks and reading before the watch began.
        spinning: other threads that ran before the function did: what they do is not its work.
        rss_growth: bytes by which the process has grown at most.
        before: what was seen of such items earlier.
    """
    items = source.length
    if isinstance(source, StreamSource) and source.exhausted:
        items = source.taken
    blocks = sorted(seen.steady, key=lambda block: block.start)
    if not blocks:
        return unknown(items)
    known = seen.estimate(closely=True)
    wall = max(1e-9, math.fsum(block.own_s for block in blocks))
    own = math.fsum(block.cpu_s for block in blocks)
    # Of threads that run on, seconds are told a tick late: blocks get those of others, and the
    # first one some from before.
    told = seen.all if spinning else blocks
    others = math.fsum(b.process_cpu_s - b.cpu_s - spinning * b.wall_s for b in told)
    others -= spinning * _TICK_S + monitor.threads * _UNSEEN_S
    process = own + max(0.0, others) * wall / max(math.fsum(b.own_s for b in told), 1e-9)
    between_s = max(0.0, monitor.watched_s + unwatched_s - seen.elapsed_s - reading_s)
    enough = monitor.is_enough
    # What waits for other things waits beside the watch, too.
    moments = enough and monitor.for_moments and seen.own_share >= _COMPUTES
    if moments:
        gil_share = 1.0
    elif enough:
        gil_share = _gil_share(monitor, between_s, seen.own_share)
    else:
        gil_share = min(1.0, seen.own_share) if before is None else before.gil_share
    if any(block.queued_s for block in blocks):
        # Other programs kept whoever had the lock, or was to get it, from a processor.
        gil_share = min(gil_share, seen.own_share)
    off_share = 1.0 - process / wall
    if off_share < _MOSTLY and _wait_rarely(blocks):
        off_share = 0.0
    first, given = seen.all[0].own_s, _new_pages(blocks)
    usual_s = known.mean_s if known.sized is None else known.sized.first_s
    found = Profile(
        items=items,
        sampled=seen.items,
        sample_s=seen.elapsed_s,
        item_s=known.mean_s,
        item_cpu_s=known.mean_s * process / wall,
        item_sd_s=0.0,
        longest_s=max(block.per_item_s for block in blocks),
        durations=tuple(block.per_item_s for block in blocks),
        first_call_s=first,
        warmup_s=first - usual_s if len(seen.all) > 1 and first > 3 * usual_s else 0.0,
        gil_share=gil_share,
        gil_measured=enough or before is not None,
        gil_earlier=before is not None and not enough,
        gil_moments=moments,
        # Time off the processor with the lock held is other programs' time, not waiting.
        waiting_share=min(1.0 - gil_share, max(0.0, off_share)),
        inner_cores=max(1.0, process / wall),
        item_rss_bytes=max(rss_growth, 0 if before is None else before.rss_bytes),
        fault_s=min(known.mean_s, given * page_s()) if given else 0.0,
        new_bytes=given * PAGESIZE,
        item_alone_s=_alone_s(seen.all, blocks, known.mean_s),
    )
    if known.sized is None:
        return _spread_by_times(found, blocks, source)
    return _spread_by_sizes(found, known)


def _wait_rarely(blocks: list[Block]) -> bool:
    """Whether far fewer waits than items were counted."""
    waits = sum(block.waits for block in blocks if block.waits is not None)
    return waits < _RARELY * sum(len(b.values) for b in blocks if b.waits is not None)


def _alone_s(every: list[Block], wide: list[Block], item_s: float) -> float:
    """Seconds of a mean item where libraries may use one thread; 0 if no item ran like that."""
    alone = [block.per_item_s for block in every if block.alone]
    return item_s * mean(alone) / mean([block.per_item_s for block in wide]) if alone else 0.0


def _new_pages(blocks: list[Block]) -> float:
    """Pages of new memory that the system gives an item, if they are many."""
    given = sum(block.pages for block in blocks) / sum(len(block.values) for block in blocks)
    return given if given >= MANY_PAGES else 0.0


def _spread_by_times(found: Profile, blocks: list[Block], source: Source) -> Profile:
    """Spread and trend as the timed blocks show them."""
    times = list(found.durations)
    rise, around = _detrended(blocks, times, source)
    # Blocks average over their items, which hides their spread: scale it back.
    scale = math.sqrt(max(1.0, sum(len(block.values) for block in blocks) / len(blocks)))
    spread = deviation(around) * scale if len(times) > 1 else 0.0
    trend = rise / found.item_s if found.item_s > 0 else 0.0
    return found._replace(item_sd_s=spread, trend=trend)


def _spread_by_sizes(found: Profile, known: Estimate) -> Profile:
    """Spread and trend as sizes tell them of all items, also of those that did not run."""
    sized = known.sized
    assert sized is not None
    expected = sized.expected
    places = [(n + 0.5) / len(expected) for n in range(len(expected))]
    rise = trend_of(places, expected)
    around = [t - rise * (p - 0.5) for p, t in zip(places, expected, strict=True)]
    ordered, count = sorted(expected), min(_QUANTILES, len(expected))
    return found._replace(
        item_sd_s=math.hypot(deviation(around), sized.relation.spread_s),
        longest_s=max(found.longest_s, ordered[-1]),
        durations=tuple(ordered[int((k + 0.5) * len(ordered) / count)] for k in range(count)),
        trend=rise / found.item_s if found.item_s > 0 else 0.0,
        sizing=Sizing(sized.what, sized.points, sized.relation.exponent, known.error),
    )


def _detrended(
    blocks: list[Block], times: list[float], source: Source
) -> tuple[float, list[float]]:
    """Seconds by which items take longer at the end of the data than at its front, and times
    without that.
    """
    if not isinstance(source, IndexedSource) or not source.length:
        return 0.0, times
    positions = [(block.start + len(block.values) / 2) / source.length for block in blocks]
    rise = trend_of(positions, times)
    if not rise:
        return 0.0, times
    return rise, [t - rise * (p - 0.5) for p, t in zip(positions, times, strict=True)]


def _gil_share(monitor: Monitor, between_s: float, cpu_share: float) -> float:
    """Share of the time in which the function holds the interpreter lock, as the watch has seen
    it. A function that mostly lets go of it holds it no longer than it is on the processor; one
    that mostly holds it may have been interrupted by other programs while it did. Between the
    items the sampler itself holds it.
    """
    rest_s = monitor.watched_s - between_s
    held_s = monitor.held_share * monitor.watched_s - between_s
    held = min(1.0, max(0.0, held_s) / rest_s) if rest_s > 0 else 1.0
    return held if held > 0.5 else min(held, cpu_share)


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean."""
    return math.fsum(values) / len(values)


def error_of_mean(values: Sequence[float]) -> float:
    """Standard error of the mean, relative to it; 0 for a single value."""
    if len(values) < 2:
        return 0.0
    center = mean(values)
    return _deviation(values, center) / math.sqrt(len(values)) / (center or 1.0)


def deviation(values: Sequence[float]) -> float:
    """Sample standard deviation; ``statistics`` would cost more to import than the sample."""
    return _deviation(values, mean(values)) if len(values) > 1 else 0.0


def _deviation(values: Sequence[float], center: float) -> float:
    return math.sqrt(math.fsum([(value - center) ** 2 for value in values]) / (len(values) - 1))
