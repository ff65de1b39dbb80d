"""Decides where a backend's costs come from: this process's memory, the store, a measurement,
or the documented fallback. Nothing is measured that costs more than it can gain.
"""

from __future__ import annotations

import math
from collections.abc import Collection

from amorsize import cost_store
from amorsize.backend import Availability, Backend
from amorsize.cost_store import Stored
from amorsize.costs import (
    HOST_FALLBACK,
    LARGE_BYTES,
    LARGE_FIGURES,
    STEADY_S,
    BackendCosts,
    Check,
    Figure,
)
from amorsize.own_lock import OwnLock
from amorsize.profile import Profile

CALIBRATION_SHARE, UNNOTICED_SHARE = 0.05, 0.005
"""Largest parts that may go into measuring one backend: of the predicted makespan where its costs
may change the decision, of the plain loop where it was named; and of the plain loop where they only
make the prediction better."""
LARGE_MESSAGE_BYTES = 8_000_000
"""Items or results from this size on have the costs of large messages measured, too."""
MOVING_SHARE = 0.05
"""Share of an item that moving its data may take from which on memory is measured, too."""
CONTRADICTED = 3.0
"""Factor beyond which what a run saw contradicts what was measured."""
_ABOVE_NOISE_S = 0.005
_CHUNKS_SENT = 1500
_BYTES_SENT = 20e6
_HOST_S, _MEMORY_S = 0.03, 0.15
"""Seconds that it takes to find out what workers take from each other, and what memory adds."""

_Key = tuple[str, str, int]
_lock = OwnLock()
_known: dict[_Key, Stored] = {}
_started: set[tuple[str, str]] = set()
"""Engines that this process has started before: their modules are imported, their servers up."""


def price(
    backend: Backend,
    *,
    workers: int,
    worth_s: float | None,
    share: float = CALIBRATION_SHARE,
    large: Collection[str] = (),
) -> BackendCosts:
    """The backend's costs, measured now only if that takes at most a ``share`` of ``worth_s``,
    the predicted seconds of the plain loop (``None``: unknown, nothing is measured). An engine
    that is not up is never started for its price unless it is local and cheap.

    ``large`` are figures of large messages, and of memory, that the work needs
    (:func:`large_figures`).
    """
    key = _key(backend, workers)
    now = backend.availability()
    with _lock:
        known = _known.get(key)
    if known is None and not backend.traits.inline:  # of the loop nothing is stored
        known = cost_store.load(backend, workers)
    if known is None or _lacks(backend, known.costs, large):
        most_s = None if worth_s is None else share * worth_s
        measured = _measure_if_worth(backend, workers, most_s, running=now.running, large=large)
        known = measured or known
        now = backend.availability()  # to measure it ends what was waiting
    if known is None:
        return _as_it_is(backend, backend.fallback_costs(), now)
    with _lock:
        _known[key] = known
    costs = known.costs or _failed(backend.fallback_costs(), known.failure)
    return _as_it_is(backend, costs, now)


def large_figures(profile: Profile) -> set[str]:
    """Figures that matter for work with much data only: of large messages for items or results
    that are large alone, of this host's memory for items that may spend their time on moving data.
    """
    found = set[str]()
    for way, packing in (("in", profile.inputs), ("out", profile.outputs)):
        if packing.nbytes >= LARGE_MESSAGE_BYTES:
            beside = packing.buffer_bytes > packing.nbytes / 2
            found.add(f"buffer_{way}_50m_s" if beside else f"byte_{way}_50m_s")
    moving_s = profile.memory_bytes * HOST_FALLBACK["memory_one_s"].value
    if moving_s > MOVING_SHARE * profile.item_s:
        found.update(HOST_FALLBACK)
    return found


def measure(
    backend: Backend,
    *,
    workers: int,
    full: bool = False,
    large: Collection[str] = (),
    refresh: bool = True,
) -> BackendCosts:
    """Measure now, whatever it takes, and keep the result; without ``refresh``, take what another
    process has measured meanwhile. ``full`` and ``large`` as for ``calibrate``.

    Raises:
        CalibrationFailed: if the backend cannot be measured; that is kept, too.
    """
    from amorsize.calibration import CalibrationFailed, calibrate

    with cost_store.measuring(backend, workers) as mine:
        if not refresh and (stored := cost_store.load(backend, workers)) is not None:
            if stored.costs is None:
                raise CalibrationFailed(stored.failure)
            wanted = (*LARGE_FIGURES, *HOST_FALLBACK) if full else large
            if not _lacks_large(backend, stored.costs, wanted):
                return stored.costs
            kept = stored.costs.figures().keys() & {*LARGE_FIGURES, *HOST_FALLBACK}
            large = {*large, *kept}
        if not mine:
            raise CalibrationFailed("another process measures it")
        try:
            first = _is_first(backend)
            costs = calibrate(backend, workers=workers, full=full, large=large, first=first)
            started(backend)
        except CalibrationFailed as error:
            _keep(backend, workers, Stored(None, str(error)))
            raise
        costs = _compared(backend, workers, costs)
        _keep(backend, workers, Stored(costs))
    return costs


def observe(
    backend: Backend, *, workers: int, first_answer_s: float, shutdown_s: float, first: bool
) -> None:
    """Take over what a run saw of starting the engine: instead of a fallback in later plans of
    this process; against a measurement as evidence, which after some runs in a row has it
    measured anew. ``first_answer_s`` are the seconds until the first worker had answered;
    ``first`` says whether the engine had never been started before in this process.
    """
    key = _key(backend, workers)
    with _lock:
        known = _known.get(key)
    costs = (known.costs if known else None) or backend.fallback_costs()
    costs = costs.stopped(first=first)
    # The first worker answers when it is up, or, where one thread starts them all and reads what
    # they say afterwards, when all are: what lies between says nothing against the costs.
    least_s, most_s = (costs.starting_s(n) + costs.latency_s.value for n in (1, workers))
    expected_s = min(max(first_answer_s, least_s), most_s)
    if costs.startup_s.origin in ("fallback", "observed"):
        startup_s = max(0.0, costs.startup_s.value + first_answer_s - expected_s)
        seen = costs._replace(
            startup_s=Figure(startup_s, "observed"), shutdown_s=Figure(shutdown_s, "observed")
        )
        with _lock:
            _known[key] = Stored(seen)
        return
    compare(backend, workers=workers, expected_s=expected_s, seen_s=first_answer_s)


def compare(backend: Backend, *, workers: int, expected_s: float, seen_s: float) -> None:
    """Take a run as evidence for or against measured costs: what it should have lost to the
    engine, and what it has lost. After some runs in a row that contradict them the costs are
    dropped, here and in the store.
    """
    key = _key(backend, workers)
    with _lock:
        known = _known.get(key)
    times = (seen_s + _ABOVE_NOISE_S) / (expected_s + _ABOVE_NOISE_S)
    again = not 1 / CONTRADICTED < times < CONTRADICTED
    if known is None or known.costs is None or (not again and not known.contradictions):
        return
    cost_store.contradict(backend, workers, again=again)
    counted = known._replace(contradictions=known.contradictions + 1 if again else 0)
    with _lock:
        if counted.contradictions >= cost_store.MOST_CONTRADICTIONS:
            _known.pop(key, None)
        else:
            _known[key] = counted


def started(backend: Backend) -> bool:
    """Note that this process has started the engine; true if it had not before."""
    engine = (backend.name, backend.configuration())
    with _lock:
        first = engine not in _started
        _started.add(engine)
    return first


def _is_first(backend: Backend) -> bool:
    return (backend.name, backend.configuration()) not in _started


def forget() -> None:
    """Drop what this process knows; stored costs stay."""
    with _lock:
        _known.clear()


def _key(backend: Backend, workers: int) -> _Key:
    return (backend.name, backend.configuration(), min(2, workers))


def _keep(backend: Backend, workers: int, stored: Stored) -> None:
    with _lock:
        _known[_key(backend, workers)] = stored
    cost_store.save(backend, workers, stored)


def _lacks(backend: Backend, costs: BackendCosts | None, large: Collection[str]) -> bool:
    """Whether there is more to measure: a run has only seen what starting takes, or large
    messages are wanted. What could not be measured is not tried again.
    """
    return costs is not None and (costs.is_guess or _lacks_large(backend, costs, large))


def _lacks_large(backend: Backend, costs: BackendCosts, large: Collection[str]) -> bool:
    """Whether some figures of large messages, or of this host's memory, are not measured yet, and
    differ from others.
    """
    figures = costs.figures()
    for name in large:
        usual = costs.byte_in_s if "_in_" in name else costs.byte_out_s
        if name in HOST_FALLBACK:
            usual = costs.dispatch_s
            if backend.traits.remote or costs.host_workers is None:
                continue
        if name not in figures and usual.origin in ("measured", "cached"):
            return True
    return False


def _measure_if_worth(
    backend: Backend, workers: int, most_s: float | None, *, running: bool, large: Collection[str]
) -> Stored | None:
    if most_s is None or expected_s(backend, running=running, large=large) > most_s:
        return None
    from amorsize.calibration import CalibrationFailed

    try:
        return Stored(measure(backend, workers=workers, large=large, refresh=False))
    except CalibrationFailed as error:
        return Stored(None, str(error))


def expected_s(
    backend: Backend, *, running: bool | None = None, large: Collection[str] = ()
) -> float:
    """Seconds a measurement should take, going by the fallback costs; repeats end with the
    budget. Infinite for what is not measured while planning: an engine that would have to be
    started on other hosts, and the plain loop, of which nothing is predicted but its items.
    """
    if running is None:
        running = backend.availability().running
    if backend.traits.inline or (backend.traits.remote and not running):
        return math.inf
    costs = backend.fallback_costs()
    most = STEADY_S["remote" if backend.traits.remote else "local"]
    seconds = _CHUNKS_SENT * costs.slot_s.value / 2 + 10 * costs.latency_s.value
    seconds += _BYTES_SENT / 2 * (costs.byte_in_s.value + costs.byte_out_s.value)
    for name in set(large).intersection(LARGE_FIGURES):
        seconds += 3 * (costs.into(LARGE_BYTES) if "_in_" in name else costs.out_of(LARGE_BYTES))
    seconds = min(seconds, 2 * most)
    if not backend.traits.remote:
        seconds += _HOST_S + (_MEMORY_S if HOST_FALLBACK.keys() & set(large) else 0.0)
    if not running:
        starts = 2 * (costs.startup_s.value + costs.shutdown_s.value)
        seconds += starts + 3 * costs.startup_worker_s.value
    return seconds


def _compared(backend: Backend, workers: int, costs: BackendCosts) -> BackendCosts:
    """Checked against another configuration of the engine, if that has been measured: one that
    does more to start cannot start faster.
    """
    other = backend.no_cheaper_than()
    stored = None if other is None else cost_store.load(other, workers)
    if stored is None or stored.costs is None or costs.startup_s.origin != "measured":
        return costs
    from amorsize.calibration.quality import believed, not_cheaper, with_check

    mine, least = (c.startup_s.value + 2 * c.startup_worker_s.value for c in (costs, stored.costs))
    assert other is not None
    check = not_cheaper(backend.configuration(), mine, other.configuration(), least)
    default = backend.fallback_costs()
    return costs._replace(
        startup_s=believed(with_check(costs.startup_s, check), default.startup_s),
        startup_worker_s=believed(
            with_check(costs.startup_worker_s, check), default.startup_worker_s
        ),
    )


def _failed(costs: BackendCosts, reason: str) -> BackendCosts:
    note, check = f"not measured: {reason}", Check("measured", False, reason)
    changed = {
        name: figure._replace(note=note, checks=(check,))
        for name, figure in costs.figures().items()
        if figure.origin == "fallback"
    }
    return costs._replace(**changed)


def _as_it_is(backend: Backend, costs: BackendCosts, now: Availability) -> BackendCosts:
    if now.running:
        return costs.running(now.idle)
    return costs.stopped(first=_is_first(backend))
