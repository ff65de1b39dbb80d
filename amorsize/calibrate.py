"""Measures what a backend costs, through its own ``open`` and ``submit``.

The same few lines price every engine, a stranger's plugin included: open it with one and with
two workers, send chunks of nothing one by one and in bursts, send bytes there and back, close.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from amorsize.backend import Backend, Chunk, OpenRequest, Session
from amorsize.costs import BackendCosts, Figure, declared
from amorsize.source import IndexedSource, source_of

if TYPE_CHECKING:
    from concurrent.futures import Future

_TRIPS = 9
"""Round trips of one empty chunk; the median is taken."""
_BURSTS = (10, 60)
"""Sizes of two bursts of empty chunks; their difference leaves out what a burst costs once."""
_BURST_REPEATS = 3
"""Repeats of the bursts, while they are short."""
_STARTS = 3
"""Pools started of each size, while that is quick."""
_SHORT_S = 0.02
_MESSAGE_BYTES = 1_000_000
"""Size of the messages that measure bytes, the size at which pipes are fastest."""
_MESSAGES = 3

_NOTHING, _LARGE_RESULT = 0, 1


class CalibrationFailed(Exception):
    """The backend could not be measured; the caller uses its fallback costs and says why."""


def answer(item: Any) -> Any:
    """The function of the probes: an int asks for that many bytes, bytes are swallowed."""
    return bytes(item) if isinstance(item, int) else None


class _Probe:
    """An open session under measurement."""

    def __init__(self, session: Session, source: IndexedSource | None, deadline: float) -> None:
        self._session, self._source, self._deadline = session, source, deadline
        self._number = 0
        self.startup_s = self.shutdown_s = 0.0

    def push(self, count: int, item: int | bytes) -> float:
        """Seconds to push ``count`` one-item chunks through and hold all their results."""
        begin = time.perf_counter()
        pending = {self._submit(item) for _ in range(count)}
        while pending:
            left = self._deadline - time.perf_counter()
            if left <= 0:
                raise CalibrationFailed("the time for calibration ran out")
            for future in self._session.wait(pending, left):
                pending.discard(future)
                future.result().unpack()
        return time.perf_counter() - begin

    def _submit(self, item: int | bytes) -> Future[Any]:
        self._number += 1
        if self._source is None:
            return self._session.submit(Chunk(self._number, ((0, 1),), [item], 1e-6))
        position = _LARGE_RESULT if item == _MESSAGE_BYTES else _NOTHING
        return self._session.submit(Chunk(self._number, ((position, position + 1),), None, 1e-6))


@contextmanager
def _opened(backend: Backend, workers: int, deadline: float) -> Iterator[_Probe]:
    """A session with all its workers up; times its start and its end."""
    traits = backend.traits
    visible = traits.shares_memory or traits.inherits_memory
    source = source_of([0, _MESSAGE_BYTES]) if visible else None
    assert source is None or isinstance(source, IndexedSource)
    begin = time.perf_counter()
    session = backend.open(OpenRequest(answer, workers, source))
    probe = _Probe(session, source, deadline)
    try:
        probe.push(workers, 0)
        probe.startup_s = time.perf_counter() - begin
        yield probe
    finally:
        begin = time.perf_counter()
        session.close(cancel=False)
        probe.shutdown_s = time.perf_counter() - begin
        backend.release()


def calibrate(backend: Backend, *, workers: int, budget_s: float = 20.0) -> BackendCosts:
    """Measure a backend's costs.

    Args:
        backend: the backend; if its engine is up, that engine is measured, and start-up and
            shut-down cost nothing.
        workers: workers it can have; two are used if possible.
        budget_s: seconds after which the measurement is given up.

    Raises:
        CalibrationFailed: with the reason, after everything that was started has been stopped.
    """
    deadline = time.perf_counter() + budget_s
    workers = max(1, min(2, workers))
    try:
        backend.release()
        running = backend.availability().running
        startup, each, shutdown = _starting(backend, workers, deadline, running=running)
        with _opened(backend, workers, deadline) as probe:
            dispatch, latency, slot = _dispatch(probe, workers)
            into, out = _bytes(backend, probe)
    except CalibrationFailed:
        raise
    except Exception as error:  # an engine may raise anything
        raise CalibrationFailed(f"{type(error).__name__}: {error}") from error
    costs = BackendCosts(
        startup_s=startup,
        startup_worker_s=each,
        shutdown_s=shutdown,
        dispatch_s=dispatch,
        latency_s=latency,
        slot_s=slot,
        byte_in_s=into,
        byte_out_s=out,
        slowdown=backend.fallback_costs().slowdown,
    )
    return costs.running() if running else costs


def _starting(
    backend: Backend, workers: int, deadline: float, *, running: bool
) -> tuple[Figure, Figure, Figure]:
    """Fixed and marginal start-up, and shut-down: the least of some pools of one worker against
    the least of some pools of ``workers``. The least, because what disturbs only ever adds; one
    of each where they are slow.
    """
    up = declared(0.0, "already running")
    if running:
        return up, up, up
    alone: list[float] = []
    full: list[float] = []
    ends: list[float] = []
    for _ in range(_STARTS):
        for times, count in ((alone, 1), (full, workers)):
            with _opened(backend, count, deadline) as probe:
                pass
            times.append(probe.startup_s)
        ends.append(probe.shutdown_s)
        if full[-1] > _SHORT_S:
            break
    each_s = max(0.0, min(full) - min(alone)) / max(1, workers - 1)
    spread = _repeated(full).spread
    return (
        Figure(max(0.0, min(full) - workers * each_s), "measured", spread),
        Figure(each_s, "measured", spread),
        Figure(min(ends), "measured", _repeated(ends).spread),
    )


def _dispatch(probe: _Probe, workers: int) -> tuple[Figure, Figure, Figure]:
    """Seconds the caller is busy per chunk, round trip, and least period of a worker.

    The caller's CPU time tells what it is busy; where the wall time per chunk is longer, the
    workers' slots are what limits, each with ``workers`` times that period.
    """
    latency = _repeated([probe.push(1, 0) for _ in range(_TRIPS)])
    walls, busy = [], []
    small, large = _BURSTS
    for _ in range(_BURST_REPEATS):
        few_cpu, few = _cpu_and_wall(lambda: probe.push(small, 0))
        many_cpu, many = _cpu_and_wall(lambda: probe.push(large, 0))
        walls.append(_slope(few, many))
        busy.append(_slope(few_cpu, many_cpu))
        if many > _SHORT_S:
            break
    wall = _repeated(walls)
    dispatch = min(_repeated(busy), wall, key=lambda figure: figure.value)
    bound_by_driver = dispatch.value > 0.7 * wall.value
    slot = wall.value if bound_by_driver else workers * wall.value
    return dispatch, latency, Figure(slot, "measured", wall.spread)


def _slope(few: float, many: float) -> float:
    """Seconds per chunk from two bursts; where a disturbance of the small one hides their
    difference, from the large one alone, which then errs upwards.
    """
    small, large = _BURSTS
    slope = (many - few) / (large - small)
    return slope if slope > 0.25 * many / large else many / large


def _bytes(backend: Backend, probe: _Probe) -> tuple[Figure, Figure]:
    """Seconds per byte to a worker and back, beyond an empty chunk's."""
    traits = backend.traits
    if traits.shares_memory:
        here = declared(0.0, "shared memory")
        return here, here
    empty = probe.push(1, 0)
    probe.push(1, _MESSAGE_BYTES)  # the first large message touches fresh memory
    out = _per_byte([probe.push(1, _MESSAGE_BYTES) for _ in range(_MESSAGES)], empty)
    if traits.inherits_memory:
        return declared(0.0, "inherited by the workers"), out
    message = bytes(_MESSAGE_BYTES)
    probe.push(1, message)
    return _per_byte([probe.push(1, message) for _ in range(_MESSAGES)], empty), out


def _per_byte(times: list[float], empty_s: float) -> Figure:
    whole = _repeated(times)
    return Figure(max(0.0, whole.value - empty_s) / _MESSAGE_BYTES, "measured", whole.spread)


def _cpu_and_wall(call: Callable[[], float]) -> tuple[float, float]:
    begin = time.process_time()
    wall = call()
    return time.process_time() - begin, wall


def _repeated(values: list[float]) -> Figure:
    """The median and its relative spread (median absolute deviation)."""
    import statistics

    middle = statistics.median(values)
    spread = statistics.median(abs(value - middle) for value in values)
    return Figure(middle, "measured", spread / middle if middle > 0 else 0.0)
