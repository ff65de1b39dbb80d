"""One calibration of a backend from start to end."""

from __future__ import annotations

from collections.abc import Collection

from amorsize.backend import Backend
from amorsize.calibration import quality, terms
from amorsize.calibration.bounded import Budget, CalibrationFailed, bounded
from amorsize.calibration.handover import handover
from amorsize.calibration.probe import Probe, opened
from amorsize.calibration.slowdown import slowdown
from amorsize.calibration.start import Starting, starting
from amorsize.calibration.together import together
from amorsize.calibration.transfer import ASKS, Transfers, transfers
from amorsize.costs import HOST_FALLBACK, STEADY_S, BackendCosts, Check, Figure, declared
from amorsize.model import Configuration, predict
from amorsize.probes import limits
from amorsize.profile import Profile
from amorsize.schedule import fixed

LIMIT_S, COLD_LIMIT_S = 20.0, 180.0
"""Seconds after which a measurement is given up; where it starts a cluster, which nobody does
without being asked to, the second.
"""
_BURST = (24, 20)
"""Chunks and their items in the burst that the costs must explain."""
_TRIES = 3
_FOR_LARGE_S = 0.1
"""Seconds of those for repeats that go to large messages."""
_UP = declared(0.0, "already running")


def calibrate(
    backend: Backend,
    *,
    workers: int,
    full: bool = False,
    large: Collection[str] = (),
    first: bool = False,
    steady_s: float | None = None,
    limit_s: float | None = None,
) -> BackendCosts:
    """Measure a backend's costs.

    Args:
        backend: the backend; if its engine is up, that engine is measured, and start-up and
            shut-down cost nothing.
        workers: workers it can have; two are used if possible.
        full: measure messages of 50 MB too, which can take a second or two.
        large: figures of large messages to measure (``costs.LARGE_FIGURES``), for which an engine
            that is slow gets smaller ones than with ``full``, or of this host's memory.
        first: whether this process has never started the engine: what only that start takes is
            then a figure of its own.
        steady_s: seconds after which nothing is repeated any more; by default 0.1, for an
            engine that may be on other hosts 0.45.
        limit_s: seconds after which the measurement is given up, also if the engine hangs; by
            default 20, and 180 where a cluster has to be started.

    Raises:
        CalibrationFailed: with the reason, after everything that was started has been stopped.
    """
    default_s = STEADY_S["remote" if backend.traits.remote else "local"]
    if backend.traits.remote:
        default_s -= _FOR_LARGE_S
    if limit_s is None:
        cold = backend.traits.remote and not backend.availability().running
        limit_s = COLD_LIMIT_S if cold else LIMIT_S
    budget = Budget(default_s if steady_s is None else steady_s, limit_s)
    workers = max(1, min(2, workers))
    try:
        backend.release()
        return bounded(
            lambda: _measured(backend, workers, budget, full=full, large=large, first=first),
            budget,
            here=backend.traits.inherits_memory,
        )
    except CalibrationFailed:
        raise
    except Exception as error:  # an engine may raise anything
        raise CalibrationFailed(f"{type(error).__name__}: {error}") from error


def _measured(
    backend: Backend,
    workers: int,
    budget: Budget,
    *,
    full: bool,
    large: Collection[str],
    first: bool,
) -> BackendCosts:
    try:
        running = backend.availability().running
        start = Starting(_UP, _UP, _UP, None, None)
        if not running:
            start = starting(backend, workers, budget, first=first)
        asks = (*ASKS, terms.NAP)
        interpreters = backend.capacity(limits()).interpreters_of(workers, backend.traits)
        with opened(
            backend, workers, budget, asks, cold=not running, interpreters=interpreters
        ) as probe:
            found = terms.throughput(probe, budget)
            moved = transfers(probe, backend.traits, budget, full=full, large=large)
            default = backend.fallback_costs()
            slower = slowdown(probe, default.slowdown)
            costs = _assembled(start, found, moved, slower)
            costs = _explained(costs, backend, probe)
        costs = _reopened(costs, backend, workers, budget)
        costs = costs._replace(**handover(backend, budget)._asdict())
        memory = full or not HOST_FALLBACK.keys().isdisjoint(large)
        host = together(backend.traits, limits(), memory=memory)
        costs = costs._replace(**host._asdict())
        costs = quality.judged(costs, default)
        return costs.running() if running else costs
    finally:
        backend.release()


def _assembled(
    start: Starting, found: terms.Throughput, moved: Transfers, slower: Figure
) -> BackendCosts:
    into, stored, out = moved.into, moved.stored, moved.out
    return BackendCosts(
        startup_s=start.fixed_s,
        startup_worker_s=start.each_s,
        shutdown_s=start.stop_s,
        dispatch_s=found.dispatch_s,
        latency_s=found.latency_s,
        slot_s=found.slot_s,
        byte_in_s=into.medium,
        byte_out_s=out.medium,
        slowdown=slower,
        startup_first_s=start.first_s,
        startup_cpu_s=start.cpu_s,
        item_s=found.item_s,
        slots=found.slots,
        in_flight=found.in_flight,
        byte_in_1k_s=into.small,
        byte_in_50m_s=into.large,
        buffer_in_s=into.buffer,
        buffer_in_50m_s=into.large_buffer,
        store_in_1k_s=stored and stored.small,
        store_in_s=stored and stored.medium,
        store_in_50m_s=stored and stored.large,
        store_buffer_in_s=stored and stored.buffer,
        store_buffer_in_50m_s=stored and stored.large_buffer,
        byte_out_1k_s=out.small,
        byte_out_50m_s=out.large,
        buffer_out_s=out.buffer,
        buffer_out_50m_s=out.large_buffer,
    )


def _explained(costs: BackendCosts, backend: Backend, probe: Probe) -> BackendCosts:
    """Whether the costs predict a burst that they were not taken from. One that is disturbed gets
    other tries.
    """
    if backend.traits.inline:
        return costs
    chunks, size = _BURST
    workers, schedule = probe.workers, fixed(size, probe.workers)
    setting = Configuration(
        backend.traits, costs.running(), workers, workers, schedule, probe.interpreters
    )
    predicted_s = predict(_IDLE, setting, chunks * size).seconds
    for _ in range(_TRIES):
        check: Check = quality.explained(predicted_s, probe.burst(chunks, size).wall_s)
        if check.passed:
            break
    checked: dict[str, Figure] = {
        name: quality.with_check(costs.figures()[name], check)
        for name in ("dispatch_s", "latency_s", "slot_s", "item_s")
    }
    return costs._replace(**checked)


def _reopened(costs: BackendCosts, backend: Backend, workers: int, budget: Budget) -> BackendCosts:
    """What opening costs where the engine is up now, or keeps its workers for the next session;
    and what its function does.
    """
    traits = backend.traits
    if traits.shares_memory or traits.inherits_memory:
        return costs._replace(function_byte_s=declared(0.0, "no need to send it"))
    if not backend.availability().running:
        return costs
    trip_s = costs.latency_s.value
    attach = terms.attaching(backend, workers, budget, trip_s)
    shipped = terms.shipping(backend, workers, budget, trip_s, attach)
    return costs._replace(attach_s=quality.figure(attach), function_byte_s=shipped)


_IDLE = Profile(
    items=None,
    sampled=0,
    sample_s=0.0,
    item_s=0.0,
    item_cpu_s=0.0,
    item_sd_s=0.0,
    longest_s=0.0,
    durations=(0.0, 0.0),
    first_call_s=0.0,
    warmup_s=0.0,
    gil_share=0.0,
    gil_measured=True,
    waiting_share=0.0,
    inner_cores=1.0,
    item_rss_bytes=0,
)
"""The workload of a burst: none."""
