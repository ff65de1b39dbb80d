"""Runs the function on a few items, keeps their results, and measures.

The first call is timed apart: it may import, compile or fill a cache. The next items are
spread over data with random access, so that data sorted by cost is not misjudged, and come from
the front of a stream. Functions of a few microseconds are timed in blocks, because a clock
call an item would cost more than the item.
"""

from __future__ import annotations

import math
import sys
import time
import weakref
from bisect import insort
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from amorsize import watched
from amorsize.blocks import Block, Blocks, profile_of, unknown
from amorsize.enough import BUDGET_S, Outlook
from amorsize.errors import DeadlineExceeded, ItemError
from amorsize.guard import AGAIN_S, forgiving_in_time, in_time, rest
from amorsize.judge import AFTER_ALL, item_error, placeholder
from amorsize.loop import (
    LoopResult,
    annotate,
    full_collections,
    raise_what_came,
    run_loop,
)
from amorsize.monitor import Monitor, running_threads, waits_so_far
from amorsize.naps import waking_s
from amorsize.pages import pages
from amorsize.policy import DEFAULT, Policy
from amorsize.profile import Profile
from amorsize.repeats import repeats
from amorsize.runqueue import RunQueue
from amorsize.source import IndexedSource, Piece, Source, Span, StreamSource
from amorsize.worker import peak_rss_bytes, rss_bytes

if sys.platform != "win32":
    import resource

if TYPE_CHECKING:
    from amorsize.elsewhere import Elsewhere
    from amorsize.probes.blas import InnerThreads
    from amorsize.short_loop import Begun

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


class _Recorder:
    """State while sampling."""

    def __init__(
        self,
        function: Callable[[Any], Any],
        source: Source,
        policy: Policy = DEFAULT,
        elsewhere: Elsewhere | None = None,
        keep: Callable[[int, list[Any]], object] | None = None,
    ) -> None:
        self.function, self.policy, self.elsewhere, self.keep = function, policy, elsewhere, keep
        self.seen = Blocks(source)
        self.results: list[Piece] = []
        """Of the blocks, and of the one that an item has ended."""
        self.last_items: Sequence[Any] = []
        self.reading_s = self.unwatched_s = 0.0
        """Seconds spent on reading a stream, and on that and blocks before the watch began."""
        self.failure: tuple[int, BaseException] | None = None
        self.spinning = 0
        """Other threads that ran before the function did: what they do is not its work."""
        self.errors: list[ItemError] = []
        self.empty_s = 0.0
        """Seconds that timing a block without items takes."""
        self.beside_s: Callable[[], float] = float
        """CPU seconds that watching has taken in another thread: not the function's."""
        self.narrowed: InnerThreads | None = None
        """What lets numerical libraries use one thread only, once that is so."""
        self.before = watched.of(function) if elsewhere is None else None
        """What an earlier sample has seen of the function."""
        self.ends_at = time.perf_counter() + (policy.deadline or math.inf)
        """``time.perf_counter()`` at which items are interrupted, if failures are forgiven. Each
        block has an alarm of its own: one that rings beside the items would end the sample, and
        take their results along."""
        self.queue = RunQueue()
        """What is known of the time in which other programs had the processor."""
        self.needed_s = Monitor.needed_s()
        """Seconds of watching that tell something: by the switch interval before the watch, which
        shortens it while planning is prepared."""

    def like_before(self) -> bool:
        """Whether the items are like those of that one."""
        if self.before is None or not self.last_items:
            return False
        seen = self.seen
        kind, item_s = type(self.last_items[0]), seen.estimate().mean_s
        return self.before.is_like(kind, item_s, seen.own_share)

    def remember(self, profile: Profile, before: watched.Watched | None) -> None:
        """Let later samples know what was seen of the function, beside what was seen ``before`` of
        such items.
        """
        measured = profile.gil_measured and not profile.gil_earlier
        if self.elsewhere is None and measured and self.last_items:
            kind, busy_share = weakref.ref(type(self.last_items[0])), self.seen.own_share
            seen = watched.Watched(
                kind, profile.item_s, busy_share, profile.gil_share, profile.item_rss_bytes
            )
            watched.keep(self.function, seen if before is None else seen.again(before))

    def time_nothing(self) -> None:
        """Find out what timing itself takes: the least of some, as it only ever adds."""
        times = []
        for _ in range(_EMPTY_BLOCKS):
            wall = time.perf_counter()
            loop = self._loop(0, [])
            times.append(time.perf_counter() - wall)
            raise_what_came(loop)
        self.empty_s = min(times)

    def run(self, start: int, items: Sequence[Any]) -> bool:
        """Time one block; ``False`` if an item raised."""
        if self.elsewhere is not None:
            return self._run_elsewhere(self.elsewhere, start, items)
        looking, process, beside = time.thread_time(), _process_cpu_s(), self.beside_s()
        given, collections, waits = pages(), full_collections(), waits_so_far()
        self.queue.begin()
        cpu, wall = time.thread_time(), time.perf_counter()
        loop = self._loop(start, items)
        wall, cpu = time.perf_counter() - wall, time.thread_time() - cpu
        self._have(start, loop.values)
        if loop.error is not None:
            if not isinstance(loop.error, Exception):  # Ctrl-C, SystemExit
                raise loop.error
            self.failure = (start + loop.position, loop.error)
            return False
        wall = max(wall - self.empty_s, 1e-9)
        given, waited = pages() - given, waits_so_far()
        # Looking at clocks takes longer than short items, above all after they have waited.
        process = _process_cpu_s() - process - (self.beside_s() - beside)
        process -= time.thread_time() - looking - cpu
        self.seen.add(
            Block(
                start,
                loop.values,
                wall,
                max(cpu, 0.0),
                max(process, 0.0),
                given,
                self.narrowed is not None,
                full_collections() > collections,
                self.queue.within(wall - cpu),
                waited - waits if waited else None,
            )
        )
        self.last_items = items
        return True

    def narrow(self) -> None:
        """Let numerical libraries use one thread from now on."""
        from amorsize.probes.blas import limit_inner_threads

        self.narrowed = limit_inner_threads(1, environ={})

    def widen(self) -> None:
        """Let them use what they did before."""
        if self.narrowed is not None:
            self.narrowed.restore()

    def _loop(self, start: int, items: Sequence[Any]) -> LoopResult:
        if not self.policy.forgives:
            return run_loop(self.function, items, start, keep=True)
        values: list[Any] = []
        while True:
            left, first = items[len(values) :] if values else items, start + len(values)
            loop, failures = forgiving_in_time(
                self.left_s, self.policy.deadline, self.function, left, first
            )
            self._forgive(first, loop.values, failures)
            values += loop.values
            if not self.is_late(loop.error):
                break  # else the alarm came between two items: those left get the usual grace
        return loop._replace(values=values, position=len(values) if loop.error else -1)

    @property
    def left_s(self) -> float:
        """Seconds until what runs is interrupted."""
        left_s = self.ends_at - time.perf_counter()
        return left_s if left_s > 0 else AGAIN_S

    def is_late(self, error: BaseException | None) -> bool:
        """Whether this is what interrupts items of a sample that goes on."""
        late = isinstance(error, DeadlineExceeded) and self.policy.forgives
        return late and time.perf_counter() >= self.ends_at

    def read(self, blocks: Iterator[tuple[int, Sequence[Any]]]) -> tuple[int, Sequence[Any]] | None:
        """The next block, ``None`` if there is none."""
        if not self.policy.forgives or self.elsewhere is not None:
            return next(blocks, None)
        block: tuple[int, Sequence[Any]] | None
        block = in_time(self.left_s, self.policy.deadline, next, blocks, None)
        return block

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
        self.seen.add(Block(start, values, max(wall, 1e-9), cpu, cpu))
        self.last_items = items
        return True


def sample(
    function: Callable[[Any], Any],
    source: Source,
    policy: Policy = DEFAULT,
    done: Sequence[Span] = (),
    keep: Callable[[int, list[Any]], object] | None = None,
    elsewhere: Callable[[], Elsewhere | None] | None = None,
    meanwhile: Sequence[Callable[[], object]] = (),
    begun: Begun | None = None,
) -> Sample:
    """Run ``function`` on a few items of ``source``, none of ``done`` among them; a stream skips
    those by itself. ``keep`` is called with results as soon as they are there. The items run in
    the caller, or in the worker that ``elsewhere`` starts, which ends with the sample. If they
    leave the interpreter to others, ``meanwhile`` is called in another thread. What has ``begun``
    is part of the sample; of its items only the first one is timed.

    An ``Exception`` raised by an item ends the sample and is kept in ``failure``, unless the
    policy forgives it;
    ``KeyboardInterrupt`` and its kind pass through.
    """
    worker = None if elsewhere is None else elsewhere()
    recorder = _Recorder(function, source, policy, worker, keep)
    taken = list(done)
    if begun is not None:
        recorder.seen.add(begun.first)
        recorder.results += begun.results
        recorder.failure = begun.failure
        taken += [(start, start + len(values)) for start, values in begun.results]
    if worker is None:
        recorder.time_nothing()
    recorder.spinning = 0 if worker is not None else running_threads() - 1
    rss, peak = rss_bytes(), peak_rss_bytes()
    monitor = Monitor(rss_bytes, meanwhile, recorder.spinning)
    cached = repeats(function, source, begun=begun is not None) if worker is None else None
    recorder.beside_s = lambda: monitor.cpu_s
    try:
        _run_blocks(recorder, source, taken, monitor)
    finally:
        recorder.widen()
        monitor.stop()
        if worker is not None:
            worker.close()
    # A new peak of the process is exact; below an earlier peak only the monitor could see it.
    seen, highest = monitor.peak_rss_bytes, peak_rss_bytes()
    growth = max(0, rss_bytes() - rss, seen - rss, highest - rss if highest > peak else 0)
    results = sorted(recorder.results, key=lambda piece: piece[0])
    before = recorder.before if recorder.like_before() else None
    profile = profile_of(
        recorder.seen,
        source,
        monitor,
        reading_s=recorder.reading_s,
        unwatched_s=recorder.unwatched_s,
        spinning=recorder.spinning,
        rss_growth=growth,
        before=before,
    )
    recorder.remember(profile, before)
    if recorder.seen.all:
        profile = profile._replace(sampled=sum(len(values) for _, values in results))
    if worker is None:
        profile = profile._replace(waking_s=waking_s(profile))
    if cached is not None:
        profile = cached.applied(profile)
    if done:
        profile = profile._replace(resumed=sum(stop - start for start, stop in done))
    monitor.leave()
    start = recorder.seen.all[-1].start if recorder.seen.all else 0
    errors, again = recorder.errors, rest(function) if worker is None else worker.retries
    return Sample(profile, results, recorder.last_items, start, recorder.failure, errors, again)


def unsampled(source: Source) -> Sample:
    """A sample of nothing."""
    return Sample(unknown(source.length), [], [])


def _run_blocks(
    recorder: _Recorder, source: Source, done: Sequence[Span], monitor: Monitor
) -> None:
    taker: _Spread | _Front
    if isinstance(source, IndexedSource):
        taker, positions = _Spread(source, done), source.length
    else:
        taker, positions = _Front(source, recorder), 0
    length, before = source.length, recorder.before
    if length is not None:
        length -= sum(stop - start for start, stop in done)
    outlook = Outlook(
        recorder.seen,
        length,
        positions,
        needed_s=recorder.needed_s,
        spinning=recorder.spinning,
        here=recorder.elsewhere is None,
        like_before=recorder.like_before if before is not None and before.is_settled else None,
    )
    blocks = taker.blocks(outlook)
    while recorder.failure is None:
        if outlook.watch and not monitor.has_begun:
            recorder.unwatched_s = recorder.seen.elapsed_s + recorder.reading_s
            monitor.start()
        try:
            block = recorder.read(blocks)
        except Exception as error:  # the data's own: after all items before it
            if recorder.is_late(error) and isinstance(source, IndexedSource):
                return  # nothing has been taken from it: what is left is the run's affair
            recorder.failure = (AFTER_ALL, error)
            return
        if block is None or not recorder.run(*block) or outlook.is_enough(recorder.reading_s):
            return
        if outlook.narrow and recorder.narrowed is None:
            recorder.narrow()


class _Spread:
    """Blocks at positions spread over indexed data, the first item first."""

    def __init__(self, source: IndexedSource, done: Sequence[Span] = ()) -> None:
        self._source = source
        self._taken: list[Span] = sorted(done)

    def blocks(self, outlook: Outlook) -> Iterator[tuple[int, Sequence[Any]]]:
        length = self._source.length
        for fraction in fractions(length):
            order = outlook.order
            wanted = int(fraction * length if order is None else fraction * len(order))
            start = self._free_from(wanted if order is None else order[wanted])
            if start is None:
                return
            next_taken = min((s for s, _ in self._taken if s > start), default=length)
            stop = min(start + outlook.size, next_taken)
            insort(self._taken, (start, stop))
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

    def __init__(self, source: StreamSource, recorder: _Recorder) -> None:
        self._source, self._recorder = source, recorder

    def blocks(self, outlook: Outlook) -> Iterator[tuple[int, Sequence[Any]]]:
        source, recorder = self._source, self._recorder
        source.patience_s = BUDGET_S
        try:
            left = MOST_READ_AHEAD if source.length is None else source.length
            while left > 0:
                start, begin = source.taken, time.perf_counter()
                items = source.take(min(left, outlook.size))
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
    """The first item, then positions that fill the data more and more evenly, without end."""
    return (int(fraction * length) for fraction in fractions(length))


def fractions(length: int) -> Iterator[float]:
    """0, then the fractional parts of multiples of the golden ratio, starting from the middle: as
    many as there are items, and none for none.
    """
    if length <= 0:
        return
    yield 0.0
    fraction = 0.5
    for _ in range(length):
        yield fraction
        fraction = (fraction + 0.6180339887498949) % 1.0


def _process_cpu_s() -> float:
    """CPU seconds of this process and of its finished children."""
    if sys.platform == "win32":
        return time.process_time()
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime
