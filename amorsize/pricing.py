"""Decides where a backend's costs come from: this process's memory, the store, a measurement,
or the documented fallback. Nothing is measured that costs more than it can gain.
"""

from __future__ import annotations

import threading

from amorsize import cost_store
from amorsize.backend import Backend
from amorsize.calibrate import CalibrationFailed, calibrate
from amorsize.costs import BackendCosts, Figure

CALIBRATION_SHARE = 0.05
"""Largest part of the predicted serial time that may go into measuring one backend."""
_CHUNKS_SENT = 220
_BYTES_SENT = 8e6

_lock = threading.Lock()
_known: dict[tuple[str, str, int], BackendCosts] = {}


def price(backend: Backend, *, workers: int, worth_s: float | None) -> BackendCosts:
    """The backend's costs, measured now only if that takes a small part of ``worth_s``, the
    predicted seconds of the plain loop (``None``: unknown, nothing is measured). An engine
    that is not up is never started for its price unless it is local and cheap.
    """
    key = (backend.name, backend.configuration(), min(2, workers))
    running = backend.availability().running
    with _lock:
        known = _known.get(key)
    if known is None:
        known = cost_store.load(backend, workers)
    if known is None:
        known = _measure_if_worth(backend, workers, worth_s, running=running)
        if known is None:
            return _as_it_is(backend.fallback_costs(), running=running)
    with _lock:
        _known[key] = known
    return _as_it_is(known, running=running)


def measure(backend: Backend, *, workers: int) -> BackendCosts:
    """Measure now, whatever it takes, and keep the result.

    Raises:
        CalibrationFailed: if the backend cannot be measured.
    """
    costs = calibrate(backend, workers=workers)
    with _lock:
        _known[(backend.name, backend.configuration(), min(2, workers))] = costs
    cost_store.save(backend, workers, costs)
    return costs


def observe(backend: Backend, *, workers: int, startup_s: float, shutdown_s: float) -> None:
    """Take over what a run saw where only a fallback was known: the next plan of this process
    starts from it.
    """
    key = (backend.name, backend.configuration(), min(2, workers))
    with _lock:
        costs = _known.get(key) or backend.fallback_costs()
        if costs.startup_s.origin == "fallback":
            each = costs.startup_worker_s.value
            fixed = max(0.0, startup_s - workers * each)
            _known[key] = costs._replace(
                startup_s=Figure(fixed, "observed"),
                shutdown_s=Figure(shutdown_s, "observed"),
            )


def forget() -> None:
    """Drop what this process knows; stored costs stay."""
    with _lock:
        _known.clear()


def _measure_if_worth(
    backend: Backend, workers: int, worth_s: float | None, *, running: bool
) -> BackendCosts | None:
    if worth_s is None or (backend.traits.remote and not running):
        return None
    if _expected_s(backend, running=running) > CALIBRATION_SHARE * worth_s:
        return None
    try:
        return measure(backend, workers=workers)
    except CalibrationFailed as error:
        return _failed(backend.fallback_costs(), str(error))


def _expected_s(backend: Backend, *, running: bool) -> float:
    """Seconds a measurement should take, going by the fallback costs."""
    costs = backend.fallback_costs()
    seconds = _CHUNKS_SENT * costs.slot_s.value / 2 + 10 * costs.latency_s.value
    seconds += _BYTES_SENT / 2 * (costs.byte_in_s.value + costs.byte_out_s.value)
    if not running:
        seconds += 2 * (costs.startup_s.value + costs.shutdown_s.value)
        seconds += 3 * costs.startup_worker_s.value
    return seconds


def _failed(costs: BackendCosts, reason: str) -> BackendCosts:
    note = f"not measured: {reason}"
    changed = {
        name: figure._replace(note=note)
        for name, figure in costs.figures().items()
        if figure.origin == "fallback"
    }
    return costs._replace(**changed)


def _as_it_is(costs: BackendCosts, *, running: bool) -> BackendCosts:
    return costs.running() if running else costs
