"""The few lines that run next to the user's function, the same on every engine."""

from __future__ import annotations

import os
import pickle
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, NamedTuple

from amorsize.errors import RemoteTraceback, ResultNotLoaded, UnpicklableResult, shorten
from amorsize.exceptions import cause_of, context_of, give_cause, note, notes_of, text_of
from amorsize.files import content
from amorsize.guard import packing, rest
from amorsize.packing import FunctionPayload, Packed, Parcel, dumps, pack
from amorsize.rooms import Rooms, keep_freed_memory
from amorsize.strays import end_if_forked, forks
from amorsize.voices import ears_for

if TYPE_CHECKING:
    from concurrent.futures import Future

    from amorsize.source import Span

_host: str | None = None
_rooms = Rooms()


class Failure(NamedTuple):
    """An exception that an item raised."""

    position: int
    """Position of the item within its chunk, from 0."""
    exception: BaseException
    """The user's exception; in another process, rebuilt there with the traceback as cause."""


class ChunkTimes(NamedTuple):
    """What a worker measured of one chunk."""

    wall_s: float
    """Seconds the items took, without packing or travelling."""
    cpu_s: float
    """CPU seconds the items took in the worker's thread (threads) or process (others)."""
    pack_s: float
    """Seconds spent unpacking items and packing results in the worker."""
    started_s: float
    """``time.monotonic()`` of the worker's host when the first item began, in seconds."""
    worker: str
    """``host:pid`` of the process, with the thread's name where a process has several."""
    peak_rss_bytes: int
    """The process's largest resident size so far, in bytes; 0 where the system does not tell."""
    retries: int = 0
    """Further attempts at items that had raised."""
    voices: bytes = b""
    """What the items have printed and logged, on its way to the caller; empty once there. Here,
    because every engine carries the times as they are."""
    workers: int = 1
    """Threads that shared the chunk; seconds are the sum of theirs."""

    @property
    def lasted_s(self) -> float:
        """Seconds that the chunk took: of threads that shared it, what each took on average."""
        return self.wall_s / self.workers


class Outcome:
    """What became of a chunk.

    Args:
        values: results in order. With ``stop_on_error`` they end before the failing item;
            otherwise a failing item's place holds ``None``.
        failures: failures in order of position.
        times: the worker's own measurements.
        nbytes: bytes the results took on their way; 0 if they did not travel.
        voices: what the items have printed and logged, pickled; empty if they were silent.
    """

    __slots__ = ("failures", "nbytes", "times", "values", "voices")

    def __init__(
        self,
        values: list[Any],
        failures: tuple[Failure, ...],
        times: ChunkTimes,
        nbytes: int = 0,
        voices: bytes = b"",
    ) -> None:
        self.values, self.failures, self.times, self.nbytes = values, failures, times, nbytes
        self.voices = voices

    def unpack(self) -> Outcome:
        """The outcome itself: it is in this process already."""
        return self


class PackedOutcome:
    """An :class:`Outcome` on its way between processes. One opaque object per chunk: an engine
    that would walk a list item by item must not see one.
    """

    __slots__ = ("failures", "times", "values")

    def __init__(self, values: Packed, failures: bytes | bytearray, times: ChunkTimes) -> None:
        self.values, self.failures, self.times = values, failures, times

    @property
    def nbytes(self) -> int:
        """Bytes of the results."""
        return self.values.nbytes

    def unpack(self) -> Outcome:
        """The outcome, with the user's exceptions rebuilt."""
        pairs = pickle.loads(self.failures) if self.failures else ()  # noqa: S301
        failures = tuple(Failure(*pair) for pair in pairs)
        values, voices, times = self.values.unpack(), self.times.voices, self.times
        if voices:  # reports keep the times
            times = times._replace(voices=b"")
        return Outcome(values, failures, times, self.values.nbytes, voices)


def rebuilt(arrived: Outcome | PackedOutcome) -> Outcome:
    """What a chunk's future held, unpacked.

    Raises:
        ResultNotLoaded: if a result or an error cannot be rebuilt here.
    """
    try:
        return arrived.unpack()
    except (KeyboardInterrupt, SystemExit):  # the caller's own
        raise
    except BaseException as error:  # whatever a user's class does
        raise ResultNotLoaded(f"{type(error).__name__}: {error}") from error


def finished(future: Future[Any]) -> Outcome | None:
    """What a chunk's future held, unpacked; ``None`` if the chunk has not ended, or not well."""
    if not future.done() or future.cancelled() or future.exception() is not None:
        return None
    try:
        return rebuilt(future.result())
    except ResultNotLoaded:
        return None


def run_items(
    function: Callable[[Any], Any], items: Iterable[Any], *, stop_on_error: bool = True
) -> tuple[list[Any], list[tuple[int, BaseException]]]:
    """Apply ``function`` to each item; exceptions are returned with their position, whatever
    their class, so that one item never costs the results of the others.
    """
    values: list[Any] = []
    failures: list[tuple[int, BaseException]] = []
    append, before = values.append, forks()
    for item in items:
        try:
            append(function(item))
        except BaseException as error:
            end_if_forked(before, error)
            failures.append((len(values), error))
            if stop_on_error:
                break
            append(None)
    end_if_forked(before)
    return values, failures


def run_chunk(
    function: Callable[[Any], Any], items: Iterable[Any], *, stop_on_error: bool = True
) -> Outcome:
    """Run a chunk in this process and thread, for engines that share the caller's memory."""
    started, wall, cpu = time.monotonic(), time.perf_counter(), time.thread_time()
    values, failures = run_items(function, items, stop_on_error=stop_on_error)
    retries = rest(function)
    wall, cpu = time.perf_counter() - wall, time.thread_time() - cpu
    name = f"{worker_name()}/{threading.current_thread().name}"
    times = ChunkTimes(wall, cpu, 0.0, started, name, 0, retries)
    return Outcome(values, tuple(Failure(p, e) for p, e in failures), times)


def run_packed(
    function: FunctionPayload | Callable[[Any], Any],
    items: Packed | Parcel | Sequence[Any],
    at: int | Sequence[Span] = 0,
    stop_on_error: bool = True,
) -> PackedOutcome:
    """Run a chunk in another process than the caller's; never raises for what an item does.

    ``function`` and ``items`` are unpacked here if they travelled packed. ``at`` tells
    where in the data the items are, for messages: their spans, or the index of the first.

    Raises:
        FunctionNotLoaded: if the function cannot be rebuilt here.
        ItemNotLoaded: if an item cannot.
    """
    unpacking = time.perf_counter()
    call = function.load() if isinstance(function, FunctionPayload) else function
    call, ears = ears_for(call, worker_name())
    items = items.content if isinstance(items, Parcel) else items
    inputs = _unpack_items(items) if isinstance(items, Packed) else items
    if ears is not None:
        ears.begin()
    started, wall, cpu = time.monotonic(), time.perf_counter(), time.process_time()
    unpacking = wall - unpacking
    values, failures = run_items(call, inputs, stop_on_error=stop_on_error)
    retries = rest(call)
    ended = time.perf_counter()
    cpu = time.process_time() - cpu
    voices = b"" if ears is None else ears.end()
    with packing(call, ended - wall):
        packed = _pack_results(values, failures, at, stop_on_error)
    unpacking += time.perf_counter() - ended
    times = ChunkTimes(
        ended - wall, cpu, unpacking, started, worker_name(), peak_rss_bytes(), retries, voices
    )
    return PackedOutcome(*packed, times)


def _unpack_items(items: Packed) -> Sequence[Any]:
    from amorsize.errors import ItemNotLoaded

    try:
        unpacked: Sequence[Any] = items.unpack(_rooms.copied)
    except Exception as error:
        raise ItemNotLoaded(f"{type(error).__name__}: {error}") from error
    return unpacked


def _pack_results(
    values: list[Any],
    failures: list[tuple[int, BaseException]],
    at: int | Sequence[Span],
    stop_on_error: bool,
) -> tuple[Packed, bytes | bytearray]:
    try:
        packed = pack(values)
    except BaseException:  # whatever a user's __reduce__ raises: find the item it belongs to
        values, failures = _without_unpicklable(values, failures, at, stop_on_error)
        packed = pack(values)
    if not failures:
        return packed, b""
    carried = [(position, _portable(error)) for position, error in failures]
    return packed, dumps(carried)


def _without_unpicklable(
    values: list[Any],
    failures: list[tuple[int, BaseException]],
    at: int | Sequence[Span],
    stop_on_error: bool,
) -> tuple[list[Any], list[tuple[int, BaseException]]]:
    """Replace each result that cannot be pickled by an error that names its item."""
    kept: list[Any] = []
    refused: list[tuple[int, BaseException]] = []
    for position, value in enumerate(values):
        try:
            pack(value)
            kept.append(value)
        except BaseException as error:
            cause = f"{type(error).__name__}: {error}"
            index = _index_of(position, at)
            refused.append((position, UnpicklableResult(index, shorten(value), cause)))
            if stop_on_error:
                return kept, refused
            kept.append(None)
    return kept, sorted(failures + refused, key=lambda failure: failure[0])


def _index_of(position: int, at: int | Sequence[Span]) -> int:
    """Where in the data the item at a position of the chunk is."""
    if isinstance(at, int):
        return at + position
    return next(islice(chain.from_iterable(range(*span) for span in at), position, None))


def _portable(error: BaseException) -> Carried:
    """The exception in a form that survives the journey: of the same type, its traceback as
    text in ``__cause__``. What cannot be rebuilt becomes an error that says what it was.
    """
    text = text_of(error)
    _drop_tracebacks(error)
    try:
        rebuilt = pickle.loads(dumps(error))  # noqa: S301
        if type(rebuilt) is not type(error):
            raise TypeError(f"pickles as {type(rebuilt).__name__}")
    except BaseException as cause:
        rebuilt = UnpicklableError(type(error).__qualname__, shorten(error), str(cause))
    return Carried(rebuilt, text, notes_of(error))


def _drop_tracebacks(error: BaseException) -> None:
    """Of an exception and those behind it: there is a library that teaches pickle to keep them
    (tblib, which Dask installs), and it fails with deep ones.
    """
    chain = [error]
    for one in chain:
        BaseException.with_traceback(one, None)
        for behind in (cause_of(one), context_of(one)):
            if behind is not None and all(behind is not other for other in chain):
                chain.append(behind)


class UnpicklableError(Exception):
    """Stands for a user's exception that cannot be pickled; the cause holds its traceback."""

    def __init__(self, kind: str, description: str, why: str) -> None:
        self.kind, self.description, self.why = kind, description, why
        super().__init__(f"{description} (an exception of type {kind} that cannot travel: {why})")

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.kind, self.description, self.why)


class Carried:
    """An exception in transit; becomes the exception itself when it is unpickled.

    Not an exception by itself: libraries that teach pickle to keep tracebacks (tblib, which
    Dask installs) would put its own, empty cause in the place of the remote traceback.
    """

    def __init__(self, exception: BaseException, text: str, notes: tuple[str, ...]) -> None:
        self.exception, self.text, self.notes = exception, text, notes

    def __reduce__(self) -> tuple[object, ...]:
        return _arrive, (dumps(self.exception), self.text, self.notes)


def _arrive(data: bytes, text: str, notes: tuple[str, ...]) -> BaseException:
    exception: BaseException = pickle.loads(data)  # noqa: S301
    give_cause(exception, RemoteTraceback(text))
    for one in notes:
        if one not in notes_of(exception):
            note(exception, one)
    return exception


def settle_in(cores: float) -> None:
    """Prepare this process to be one of several workers with ``cores`` cores each: libraries
    with threads of their own use no more, and a plan made in here sees its share, not the host.
    """
    from amorsize.probes.blas import limit_inner_threads
    from amorsize.probes.nesting import SHARE_VARIABLE

    os.environ[SHARE_VARIABLE] = f"{cores:.3f}"
    keep_freed_memory()
    limit_inner_threads(max(1, int(cores)))


def host_name() -> str:
    """Name of this host."""
    global _host
    if _host is None:
        _host = os.uname().nodename if hasattr(os, "uname") else os.environ.get("COMPUTERNAME", "")
    return _host


def worker_name() -> str:
    """``host:pid`` of this process."""
    return f"{host_name()}:{os.getpid()}"


def peak_rss_bytes() -> int:
    """Largest resident size of this process so far, in bytes; 0 where the system does not tell."""
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, Linux KiB


def rss_bytes() -> int:
    """Resident size of this process now, in bytes; 0 where the system does not tell."""
    try:
        pages = int(content("/proc/self/statm").split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
