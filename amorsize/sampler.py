"""Runs the function on a few items, keeps their results, and measures.

The first call is timed apart: it may import, compile or fill a cache. The next items are
spread over data with random access, so that data sorted by cost is not misjudged, and come from
the front of a stream. Functions of a few microseconds are timed in blocks, because a clock
call an item would cost more than the item.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from amorsize.errors import ItemError
from amorsize.guard import rest
from amorsize.judge import AFTER_ALL, item_error, placeholder
from amorsize.loop import LoopResult, annotate, run_forgiving, run_loop
from amorsize.monitor import Monitor, running_threads
from amorsize.policy import DEFAULT, Policy
from amorsize.profile import Profile
from amorsize.source import IndexedSource, Piece, Source, Span, StreamSource
from amorsize.trend import trend_of
from amorsize.worker import peak_rss_bytes, rss_bytes

if TYPE_CHECKING:
    from amorsize.elsewhere import Elsewhere

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
MOST_S = 0.25
"""Most seconds of a sample of several items: workers could have run them side by side, and what
remains unclear then the run will see."""
USUAL = 1.5
"""A first call that takes no more than this many times as long as the next ones, and no less than
that, is one of them."""
STEADY = 0.05
"""Relative standard error of the mean at which sampling ends early, from three blocks on; until
then the budget is used, because a heavy tail hides from the first few items."""
WORTHLESS_S = 0.010
"""Seconds of plain loop left below which no decision is worth another sample."""
_BLOCK_S = 0.0002
"""Seconds a timed block should take: a thousand times the cost of reading the clocks."""
_EMPTY_BLOCKS = 4
"""Blocks without items that tell what timing a block takes."""
MOST_READ_AHEAD = 1000
"""Most items that are read from data of unknown length before a result can be had."""


class Sample(NamedTuple):
    """Results of the sampled items, and what was measured."""

    profile: Profile
    """What was measured."""
    results: list[tuple[int, list[Any]]]
    """Blocks of results: index of the first item of the block, and its results. Sorted."""
    recent_items: Sequence[Any]
    """Input items of the last timed block, for measuring what sending them takes."""
    recent_start: int = 0
    """Position of the first of them in the data."""
    failure: tuple[int, BaseException] | None = None
    """Index and exception of the item that ended the sample, if one raised; ``AFTER_ALL`` if it
    was the data itself."""
    errors: Sequence[ItemError] = ()
    """Items that failed and were forgiven; their places hold placeholders."""
    retries: int = 0
    """Further attempts at items that had raised."""


class _Block(NamedTuple):
    """One timed stretch of consecutive items."""

    start: int
    values: list[Any]
    wall_s: float
    cpu_s: float
    process_cpu_s: float

    @property
    def per_item_s(self) -> float:
        return self.wall_s / len(self.values)


class _Recorder:
    """State while sampling."""

    def __init__(
        self,
        function: Callable[[Any], Any],
        policy: Policy = DEFAULT,
        elsewhere: Elsewhere | None = None,
        keep: Callable[[int, list[Any]], object] | None = None,
    ) -> None:
        self.function, self.policy, self.elsewhere, self.keep = function, policy, elsewhere, keep
        self.blocks: list[_Block] = []
        self.results: list[Piece] = []
        """Of the blocks, and of the one that an item has ended."""
        self.last_items: Sequence[Any] = []
        self.reading_s = 0.0
        """Seconds spent on reading a stream."""
        self.failure: tuple[int, BaseException] | None = None
        self.spinning = 0
        """Other threads that ran before the function did: what they do is not its work."""
        self.errors: list[ItemError] = []
        self.empty_s = 0.0
        """Seconds that timing a block without items takes."""
        self.beside_s: Callable[[], float] = float
        """CPU seconds that watching has taken in another thread: not the function's."""

    def time_nothing(self) -> None:
        """Find out what timing itself takes: the least of some, as it only ever adds."""
        times = []
        for _ in range(_EMPTY_BLOCKS):
            wall = time.perf_counter()
            self._loop(0, [])
            times.append(time.perf_counter() - wall)
        self.empty_s = min(times)

    def run(self, start: int, items: Sequence[Any]) -> bool:
        """Time one block; ``False`` if an item raised."""
        if self.elsewhere is not None:
            return self._run_elsewhere(self.elsewhere, start, items)
        cpu, process, beside = time.thread_time(), _process_cpu_s(), self.beside_s()
        wall = time.perf_counter()
        loop = self._loop(start, items)
        wall = time.perf_counter() - wall
        self._have(start, loop.values)
        if loop.error is not None:
            if not isinstance(loop.error, Exception):  # Ctrl-C, SystemExit
                raise loop.error
            self.failure = (start + loop.position, loop.error)
            return False
        wall = max(wall - self.empty_s, 1e-9)
        cpu, process = time.thread_time() - cpu, _process_cpu_s() - process
        process -= self.beside_s() - beside
        self.blocks.append(_Block(start, loop.values, wall, max(cpu, 0.0), max(process, 0.0)))
        self.last_items = items
        return True

    def _loop(self, start: int, items: Sequence[Any]) -> LoopResult:
        if not self.policy.forgives:
            return run_loop(self.function, items, start, keep=True)
        loop, failures = run_forgiving(self.function, items, start)
        self._forgive(start, loop.values, failures)
        return loop

    def _have(self, start: int, values: list[Any]) -> None:
        """Results that are not to be computed again."""
        if values:
            self.results.append((start, values))
            if self.keep is not None:
                self.keep(start, values)

    def _forgive(
        self, start: int, values: list[Any], failures: list[tuple[int, Exception, Any]]
    ) -> None:
        for position, error, item in failures:
            annotate(error, start + position, item)
            told = item_error(start + position, error, item)
            self.errors.append(told)
            values[position] = placeholder(self.policy, told)

    def _run_elsewhere(self, worker: Elsewhere, start: int, items: Sequence[Any]) -> bool:
        wall, cpu = worker.wall_s, worker.cpu_s
        values, failures = worker.run(start, list(items))
        if failures and not self.policy.forgives:
            position, error, item = failures[0]
            annotate(error, start + position, item)
            self.failure = (start + position, error)
            self._have(start, values[:position])
            return False
        self._forgive(start, values, failures)
        self._have(start, values)
        wall, cpu = worker.wall_s - wall, worker.cpu_s - cpu
        self.blocks.append(_Block(start, values, max(wall, 1e-9), cpu, cpu))
        self.last_items = items
        return True

    @property
    def steady(self) -> list[_Block]:
        """The blocks that tell about a usual item: all but the first call, unless it took about
        as long as the one or two others that there are.
        """
        others = self.blocks[1:]
        if len(others) > 2 or not others:
            return others or self.blocks
        usual_s = _mean([block.per_item_s for block in others])
        is_usual = usual_s / USUAL <= self.blocks[0].per_item_s <= USUAL * usual_s
        return self.blocks if is_usual else others

    @property
    def elapsed_s(self) -> float:
        return sum(block.wall_s for block in self.blocks)

    @property
    def mean_s(self) -> float:
        return _mean([block.per_item_s for block in self.steady])


def sample(
    function: Callable[[Any], Any],
    source: Source,
    policy: Policy = DEFAULT,
    done: Sequence[Span] = (),
    keep: Callable[[int, list[Any]], object] | None = None,
    elsewhere: Callable[[], Elsewhere | None] | None = None,
    meanwhile: Callable[[], object] | None = None,
) -> Sample:
    """Run ``function`` on a few items of ``source``, none of ``done`` among them; a stream skips
    those by itself. ``keep`` is called with results as soon as they are there. The items run in
    the caller, or in the worker that ``elsewhere`` starts, which ends with the sample. If they
    wait, ``meanwhile`` is called in another thread.

    An ``Exception`` raised by an item ends the sample and is kept in ``failure``, unless the
    policy forgives it;
    ``KeyboardInterrupt`` and its kind pass through.
    """
    worker = None if elsewhere is None else elsewhere()
    recorder = _Recorder(function, policy, worker, keep)
    if worker is None:
        recorder.time_nothing()
    recorder.spinning = 0 if worker is not None else running_threads() - 1
    rss, peak = rss_bytes(), peak_rss_bytes()
    monitor = Monitor(rss_bytes, meanwhile)
    recorder.beside_s = lambda: monitor.cpu_s
    monitor.start()
    try:
        _run_blocks(recorder, source, done)
    finally:
        monitor.stop()
        if worker is not None:
            worker.close()
    # A new peak of the process is exact; below an earlier peak only the monitor could see it.
    seen, highest = monitor.peak_rss_bytes, peak_rss_bytes()
    growth = max(0, rss_bytes() - rss, seen - rss, highest - rss if highest > peak else 0)
    results = sorted(recorder.results, key=lambda piece: piece[0])
    profile = _profile(recorder, source, monitor, growth)
    if done:
        profile = profile._replace(resumed=sum(stop - start for start, stop in done))
    start = recorder.blocks[-1].start if recorder.blocks else 0
    errors, again = recorder.errors, rest(function) if worker is None else worker.retries
    return Sample(profile, results, recorder.last_items, start, recorder.failure, errors, again)


def unsampled(source: Source) -> Sample:
    """A sample of nothing."""
    return Sample(_unknown(source.length), [], [])


def _unknown(items: int | None) -> Profile:
    return Profile(items, 0, 0.0, 0.0, 0.0, 0.0, 0.0, (), 0.0, 0.0, 1.0, False, 0.0, 1.0, 0)


def _run_blocks(recorder: _Recorder, source: Source, done: Sequence[Span]) -> None:
    taker = _Spread(source, done) if isinstance(source, IndexedSource) else _Front(source)
    length = source.length
    if length is not None:
        length -= sum(stop - start for start, stop in done)
    blocks = taker.blocks(recorder)
    while True:
        try:
            block = next(blocks, None)
        except Exception as error:  # the data's own: after all items before it
            recorder.failure = (AFTER_ALL, error)
            return
        if block is None or not recorder.run(*block):
            return
        if _is_enough(recorder, length):
            return


def _is_enough(recorder: _Recorder, length: int | None) -> bool:
    blocks, spent = recorder.steady, recorder.elapsed_s + recorder.reading_s
    done = sum(len(block.values) for block in recorder.blocks)
    if length is not None and done >= length:
        return True
    serial_s = recorder.mean_s * (length - done) if length is not None else 0.0
    times = [block.per_item_s for block in blocks]
    error = _error_of_mean(times)
    busy = math.fsum(min(block.process_cpu_s, block.wall_s) for block in recorder.blocks)
    busy_share = busy / max(recorder.elapsed_s, 1e-9)
    least_s = serial_s * max(1 / _SIDE_BY_SIDE, busy_share)
    # An uncertain mean may be too small: so is what it says of the time that a sample may take.
    budget_s = max(BUDGET_S, min(MOST_S, BUDGET_SHARE * least_s * (1 + min(1.0, 2 * error))))
    if length is not None and busy_share < WAITING and len(recorder.blocks) > 1:
        # Side by side it would be over in no time: two items say how it waits.
        budget_s = min(budget_s, WAITING_SHARE * least_s)
    if spent >= budget_s:
        return True
    if len(recorder.blocks) <= 3:
        return False
    if (length or 0) and (1 + 2 * error) * serial_s < WORTHLESS_S:
        return True
    # A GIL share needs some milliseconds of watching: go on that long where it matters.
    seen_enough = spent >= Monitor.needed_s() or serial_s < 10 * Monitor.needed_s()
    return seen_enough and error < STEADY


class _Spread:
    """Blocks at positions spread over indexed data, the first item first."""

    def __init__(self, source: IndexedSource, done: Sequence[Span] = ()) -> None:
        self._source = source
        self._taken: list[Span] = sorted(done)

    def blocks(self, recorder: _Recorder) -> Iterator[tuple[int, Sequence[Any]]]:
        length = self._source.length
        for position in positions(length):
            start = self._free_from(position)
            if start is None:
                return
            next_taken = min((s for s, _ in self._taken if s > start), default=length)
            stop = min(start + _block_size(recorder, length), next_taken)
            self._taken = sorted([*self._taken, (start, stop)])
            yield start, _again_and_again(self._source.items(start, stop))

    def _free_from(self, position: int) -> int | None:
        """The first free index from a position on, or from the front if there is none."""
        for begin in (position, 0):
            for start, stop in self._taken:
                if start <= begin < stop:
                    begin = stop
            if begin < self._source.length:
                return begin
        return None


def _again_and_again(items: Iterable[Any]) -> Sequence[Any]:
    """Items that can be gone through again without being read again."""
    return items if isinstance(items, (list, tuple, range)) else list(items)


class _Front:
    """Blocks from the front of a stream."""

    def __init__(self, source: StreamSource) -> None:
        self._source = source

    def blocks(self, recorder: _Recorder) -> Iterator[tuple[int, Sequence[Any]]]:
        source = self._source
        source.patience_s = BUDGET_S
        try:
            left = MOST_READ_AHEAD if source.length is None else source.length
            while left > 0:
                start, begin = source.taken, time.perf_counter()
                items = source.take(min(left, _block_size(recorder, source.length)))
                recorder.reading_s += time.perf_counter() - begin
                left -= len(items)
                if not items:
                    return
                yield start, items
            if source.length is not None:  # see the end, or nothing tells a run that it is there
                start, items = source.taken, source.take(1)
                if items:
                    yield start, items
        finally:
            source.patience_s = math.inf


def positions(length: int) -> Iterator[int]:
    """The first item, then positions that fill the data more and more evenly, without end: the
    fractional parts of multiples of the golden ratio, starting from the middle.
    """
    if length <= 0:
        return
    yield 0
    fraction = 0.5
    for _ in range(length):
        yield int(fraction * length)
        fraction = (fraction + 0.6180339887498949) % 1.0


def _block_size(recorder: _Recorder, length: int | None) -> int:
    """Items of the next timed block: one, unless they are so short that the clock matters."""
    if not recorder.blocks:
        return 1
    per_item = min(block.per_item_s for block in recorder.blocks)
    wanted = max(1, int(_BLOCK_S / max(per_item, 1e-9)))
    grown = min(wanted, 20 * max(len(block.values) for block in recorder.blocks))
    return grown if length is None else max(1, min(grown, length // 50))


def _profile(recorder: _Recorder, source: Source, monitor: Monitor, rss_growth: int) -> Profile:
    blocks = sorted(recorder.steady, key=lambda block: block.start)
    sampled = sum(len(values) for _, values in recorder.results)
    items = source.length
    if isinstance(source, StreamSource) and source.exhausted:
        items = source.taken
    if not blocks:
        return _unknown(items)
    times = [block.per_item_s for block in blocks]
    count = sum(len(block.values) for block in blocks)
    mean, wall = _mean(times), sum(block.wall_s for block in blocks)
    own = sum(block.cpu_s for block in blocks)
    others = sum(block.process_cpu_s for block in blocks) - own
    process = own + max(0.0, others - recorder.spinning * wall)
    rise, around = _detrended(blocks, times, source)
    # Blocks average over their items, which hides their spread: scale it back.
    scale = math.sqrt(max(1.0, count / len(blocks)))
    spread = _deviation(around) * scale if len(times) > 1 else 0.0
    gil_share = _gil_share(monitor, own / wall if wall > 0 else 1.0)
    # Time off the processor with the lock held is other programs' time, not waiting.
    waiting = min(1.0 - gil_share, max(0.0, 1.0 - process / wall)) if wall > 0 else 0.0
    first = recorder.blocks[0].wall_s
    measured = monitor.watched_s >= monitor.needed_s()
    return Profile(
        items=items,
        sampled=sampled,
        sample_s=recorder.elapsed_s,
        item_s=mean,
        item_cpu_s=mean * (process / wall if wall > 0 else 1.0),
        item_sd_s=spread,
        longest_s=max(times),
        durations=tuple(times),
        first_call_s=first,
        warmup_s=first - mean if len(recorder.blocks) > 1 and first > 3 * mean else 0.0,
        gil_share=gil_share,
        gil_measured=measured,
        waiting_share=waiting,
        inner_cores=max(1.0, process / wall) if wall > 0 else 1.0,
        item_rss_bytes=rss_growth,
        trend=rise / mean if mean > 0 else 0.0,
    )


def _detrended(
    blocks: list[_Block], times: list[float], source: Source
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


def _gil_share(monitor: Monitor, cpu_share: float) -> float:
    """Share of the time in which the function holds the interpreter lock: all of its time on
    the processor if the sample was too short to see. A function that mostly lets go of it
    holds it no longer than it is on the processor; one that mostly holds it may have been
    interrupted by other programs while it did.
    """
    if monitor.watched_s < monitor.needed_s():
        return min(1.0, cpu_share)
    held = monitor.held_share
    return held if held > 0.5 else min(held, cpu_share)


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)


def _error_of_mean(values: list[float]) -> float:
    """Standard error of the mean, relative to it; 0 for a single value."""
    if len(values) < 2:
        return 0.0
    return _deviation(values) / math.sqrt(len(values)) / (_mean(values) or 1.0)


def _deviation(values: list[float]) -> float:
    """Sample standard deviation; ``statistics`` would cost more to import than the sample."""
    mean = _mean(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def _process_cpu_s() -> float:
    """CPU seconds of this process and of its finished children."""
    try:
        import resource
    except ImportError:  # Windows
        return time.process_time()
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime
