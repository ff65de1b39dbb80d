"""Facts about what an engine costs, each with where it came from. All times in seconds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

Origin = Literal["measured", "cached", "observed", "declared", "fallback"]
"""``measured`` now through the backend's own ``open`` and ``submit``; ``cached`` from an earlier
measurement on this host; ``observed`` in a run of this process; ``declared`` true by
construction (a thread ships no bytes); ``fallback`` a documented default, used when nothing
was measured."""


CROWD = 48
"""Threads with which ``handover_s`` is measured."""


class Check(NamedTuple):
    """One question a measured figure had to answer."""

    name: str
    """``measured``, ``plausible``, ``signal``, ``consistent`` or ``explained`` (docs/costs.md)."""
    passed: bool
    """Whether it holds. A figure that fails is replaced by its fallback."""
    detail: str = ""
    """What was found."""


class Figure(NamedTuple):
    """One number and its provenance."""

    value: float
    """Seconds, seconds per byte, or a count; see the field that holds it."""
    origin: Origin
    """Where the number comes from."""
    spread: float = 0.0
    """Relative spread (median absolute deviation over median) of the repeats; 0 if unknown."""
    note: str = ""
    """A remark for the reader: a failed check, the reason for a fallback."""
    checks: tuple[Check, ...] = ()
    """The checks that were made when it was measured, with their outcome."""

    def to_dict(self) -> dict[str, Any]:
        """The figure as plain data."""
        data: dict[str, Any] = {"value": self.value, "origin": self.origin}
        if self.spread:
            data["spread"] = self.spread
        if self.note:
            data["note"] = self.note
        if self.checks:
            data["checks"] = [check._asdict() for check in self.checks]
        return data


def declared(value: float = 0.0, note: str = "") -> Figure:
    """A figure that is true by construction."""
    return Figure(value, "declared", note=note)


def fallback(value: float, note: str = "") -> Figure:
    """A documented default."""
    return Figure(value, "fallback", note=note)


class BackendCosts(NamedTuple):
    """What one backend costs on this machine (MODEL: h, rho, l, a, b, d, beta)."""

    startup_s: Figure
    """Fixed part of starting the backend, in seconds; 0 when it is already up."""
    startup_worker_s: Figure
    """Start-up of each further worker, in seconds."""
    shutdown_s: Figure
    """Stopping it again, in seconds."""
    dispatch_s: Figure
    """Seconds the caller is busy per chunk: the ceiling of its throughput is one over this."""
    latency_s: Figure
    """Seconds from submitting a chunk of nothing to holding its outcome, when idle."""
    slot_s: Figure
    """Least seconds between two chunks on one worker, whatever they hold."""
    byte_in_s: Figure
    """Seconds per byte of packed input, on the way to a worker, in messages around 1 MB."""
    byte_out_s: Figure
    """Seconds per byte of packed results, on the way back, in messages around 1 MB."""
    slowdown: Figure
    """Factor (>= 1) by which user code runs slower in one of its workers than alone."""
    startup_first_s: Figure | None = None
    """Seconds that the first start of a process takes beyond later ones: imports, servers."""
    startup_cpu_s: Figure | None = None
    """CPU seconds that the start of a worker takes: those beyond the cores wait for it."""
    workers_up: Figure | None = None
    """Number of workers that wait for work: only others have to be started."""
    attach_s: Figure | None = None
    """Seconds to open and close a session on an engine that is up."""
    item_s: Figure | None = None
    """Seconds per item within a chunk, beyond the function's own."""
    function_byte_s: Figure | None = None
    """Seconds per byte of the pickled function, for each worker; ``None``: as ``byte_in_s``."""
    slots: Figure | None = None
    """Chunks that ran at once when two workers were asked for."""
    in_flight: Figure | None = None
    """Chunks for each worker that must be on their way for it never to wait (Little's law)."""
    handover_s: Figure | None = None
    """Seconds in which a lock that many threads want goes from one that is done with it to the
    next, which has to be woken."""
    waking_s: Figure | None = None
    """CPU seconds that waiting for a moment takes, alone on an idle processor, and waking up."""
    memory_one_s: Figure | None = None
    """Seconds per byte that one worker reads or writes in this host's memory, caches aside."""
    memory_all_s: Figure | None = None
    """The same of what all workers move together."""
    crowded: Figure | None = None
    """Factor (>= 1) by which computing takes longer in a worker where all compute at once: two
    hardware threads of a core share its units."""
    page_turns: Figure | None = None
    """Factor (>= 1) by which a new page of memory takes longer where all threads of a process are
    given some at once; their number if they get them in turns."""
    host_workers: Figure | None = None
    """Number of workers of this host that "all" was measured with."""
    apart: Figure | None = None
    """Workers of this host that need not share a core with another."""
    byte_in_1k_s: Figure | None = None
    """Seconds per byte of input in messages around 1 kB."""
    byte_in_50m_s: Figure | None = None
    """Seconds per byte of input in messages around 50 MB."""
    buffer_in_s: Figure | None = None
    """Seconds per byte of input that is pickled out of band (numpy), around 1 MB."""
    buffer_in_50m_s: Figure | None = None
    """The same around 50 MB."""
    store_in_1k_s: Figure | None = None
    """Seconds per byte of input that lies in the engine's own store, around 1 kB."""
    store_in_s: Figure | None = None
    """The same around 1 MB."""
    store_in_50m_s: Figure | None = None
    """The same around 50 MB."""
    store_buffer_in_s: Figure | None = None
    """The same for input that is pickled out of band, around 1 MB."""
    store_buffer_in_50m_s: Figure | None = None
    """The same around 50 MB."""
    byte_out_1k_s: Figure | None = None
    """Seconds per byte of results in messages around 1 kB."""
    byte_out_50m_s: Figure | None = None
    """Seconds per byte of results in messages around 50 MB."""
    buffer_out_s: Figure | None = None
    """Seconds per byte of results that are pickled out of band (numpy), around 1 MB."""
    buffer_out_50m_s: Figure | None = None
    """The same around 50 MB."""

    def figures(self) -> dict[str, Figure]:
        """All figures by name that are known."""
        return {name: figure for name, figure in self._asdict().items() if figure is not None}

    @property
    def is_guess(self) -> bool:
        """Whether this is a documented default that nobody has tried to measure. What a run saw
        of starting the engine is none of a chunk.
        """
        return self.dispatch_s.origin == "fallback" and not self.dispatch_s.checks

    def running(self, idle: int | None = None) -> BackendCosts:
        """The same costs with the engine already up: nothing to start, nothing to stop, but
        sessions to open and close. With ``idle`` only so many workers are.
        """
        up = declared(0.0, "already running")
        if idle is not None:
            return self._replace(
                startup_first_s=None,
                shutdown_s=up,
                workers_up=declared(idle, "wait for another run"),
            )
        return self._replace(
            startup_s=up,
            startup_worker_s=up,
            startup_first_s=None,
            startup_cpu_s=None,
            shutdown_s=up,
        )

    def stopped(self, *, first: bool) -> BackendCosts:
        """The same costs with the engine to be started, for the ``first`` time in this process or
        not: opening is part of starting.
        """
        extra = self.startup_first_s if first else None
        return self._replace(attach_s=None, startup_first_s=extra)

    def starting_s(self, workers: int, cores: float = math.inf) -> float:
        """Seconds to start an engine with that many workers on so many cores, or those of them that
        do not wait already.
        """
        if self.workers_up is not None:
            workers = max(0, workers - int(self.workers_up.value))
            if not workers:
                return 0.0
        first = self.startup_first_s.value if self.startup_first_s else 0.0
        seconds = first + self.startup_s.value + workers * self.startup_worker_s.value
        if self.startup_cpu_s is not None:
            seconds += self.startup_cpu_s.value * max(0.0, workers / cores - 1)
        return seconds

    def into(self, nbytes: float, buffers: float = 0.0) -> float:
        """Seconds that a message of ``nbytes`` takes to a worker, ``buffers`` bytes of it out of
        band.
        """
        if self.store_in_s is not None and nbytes >= self.store_bytes:
            stored = (None, self.store_in_s, self.store_in_50m_s)
            beside = (self.store_buffer_in_s, self.store_buffer_in_50m_s)
            return _transfer_s(nbytes, buffers, stored, beside)
        classes = (self.byte_in_1k_s, self.byte_in_s, self.byte_in_50m_s)
        return _transfer_s(nbytes, buffers, classes, (self.buffer_in_s, self.buffer_in_50m_s))

    def traffic_s(self, nbytes: float) -> float:
        """Seconds that one worker takes to move ``nbytes`` through memory, where that is known."""
        return 0.0 if self.memory_one_s is None else nbytes * self.memory_one_s.value

    def starving(self, workers: int, cores: float) -> float:
        """Factor (>= 1) by which that takes longer where so many workers do it at once: as many
        bytes a second as all of them get together are the most that some get.
        """
        one, every = self.memory_one_s, self.memory_all_s
        if one is None or every is None or one.value <= 0:
            return 1.0
        return max(1.0, self._active(workers, cores) * every.value / one.value)

    def crowding(self, workers: int, cores: float) -> float:
        """Factor (>= 1) by which computing takes longer where so many workers do it at once: none
        while each has a core, and from there on in proportion to those that share one.
        """
        if self.crowded is None or self.host_workers is None or self.apart is None:
            return 1.0
        every, apart = self.host_workers.value, self.apart.value
        if every <= apart:
            return 1.0
        share = (self._active(workers, cores) - apart) / (every - apart)
        return 1 + (max(1.0, self.crowded.value) - 1) * min(1.0, max(0.0, share))

    def taking_turns(self, threads: int) -> float:
        """Factor (>= 1) by which a new page takes longer to each of so many threads of a process;
        their number, as where they get them in turns, if nothing is known.
        """
        if self.page_turns is None or self.host_workers is None or self.host_workers.value < 2:
            return float(threads)
        each = (self.page_turns.value - 1) / (self.host_workers.value - 1)
        return min(max(1.0, 1 + each * (threads - 1)), float(threads))

    def _active(self, workers: int, cores: float) -> float:
        """Workers that run at once, in workers of this host: a larger one, which a question may
        be about, has as much more of everything.
        """
        here = cores if self.host_workers is None else self.host_workers.value
        return min(workers, cores) * min(1.0, here / cores)

    @property
    def store_bytes(self) -> float:
        """Size from which inputs of a chunk are cheaper in the engine's own store than within its
        task, by what has been measured of both ways; infinite if they never are.
        """
        task, store, small = self.byte_in_s, self.store_in_s, self.store_in_1k_s
        if store is not None and small is not None and small.value <= store.value:
            small = None  # lost in the noise of a round trip
        compared = (
            (SMALL_BYTES, self.byte_in_1k_s or task, small),
            (MEDIUM_BYTES, task, store),
            (MEDIUM_BYTES, self.buffer_in_s, self.store_buffer_in_s),
            (LARGE_BYTES, self.byte_in_50m_s, self.store_in_50m_s),
            (LARGE_BYTES, self.buffer_in_50m_s, self.store_buffer_in_50m_s),
        )
        gains: dict[int, float] = {}
        for nbytes, within, beside in compared:
            if within is not None and beside is not None:
                saved = nbytes * (within.value - (1 + STORE_MARGIN) * beside.value)
                gains[nbytes] = gains.get(nbytes, 0.0) + saved
        return _crossing(list(gains.items()))

    def out_of(self, nbytes: float, buffers: float = 0.0) -> float:
        """Seconds that a message of ``nbytes`` takes back, ``buffers`` bytes of it out of band."""
        classes = (self.byte_out_1k_s, self.byte_out_s, self.byte_out_50m_s)
        return _transfer_s(nbytes, buffers, classes, (self.buffer_out_s, self.buffer_out_50m_s))

    def function_s(self, nbytes: float, workers: int) -> float:
        """Seconds to make a function of ``nbytes`` known to all workers."""
        each = self.function_byte_s
        return workers * (self.into(nbytes) if each is None else nbytes * each.value)

    def with_origin(self, origin: Origin) -> BackendCosts:
        """The same values under another origin, except what is declared or a fallback."""
        changed = {
            name: figure._replace(origin=origin)
            for name, figure in self.figures().items()
            if figure.origin not in ("declared", "fallback")
        }
        return self._replace(**changed)

    def to_dict(self) -> dict[str, Any]:
        """The costs as plain data."""
        return {name: figure.to_dict() for name, figure in self.figures().items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> BackendCosts:
        """The inverse of :meth:`to_dict`.

        Raises:
            ValueError: if a figure is missing, not a finite number >= 0, or of no known origin.
        """
        wanted = [name for name in cls._fields if name in data or name not in cls._field_defaults]
        return cls(**{name: _figure(name, data) for name in wanted})


HOST_FALLBACK = {"memory_one_s": fallback(1e-10), "memory_all_s": fallback(2.5e-11)}
"""What is assumed of the memory of this host where nothing has been measured: one worker moves 10
GB a second, all together 40 GB."""
STEADY_S = {"local": 0.1, "remote": 0.45}
"""Seconds after which a calibration of a local backend, or of one that may be on other hosts,
repeats nothing any more."""
COUNTS = (
    "workers_up",
    "slowdown",
    "slots",
    "in_flight",
    "crowded",
    "page_turns",
    "host_workers",
    "apart",
)
"""Figures that are numbers, not seconds."""
BYTES = (
    "byte_in_s",
    "byte_in_1k_s",
    "byte_in_50m_s",
    "buffer_in_s",
    "buffer_in_50m_s",
    "store_in_1k_s",
    "store_in_s",
    "store_in_50m_s",
    "store_buffer_in_s",
    "store_buffer_in_50m_s",
    "byte_out_s",
    "byte_out_1k_s",
    "byte_out_50m_s",
    "buffer_out_s",
    "buffer_out_50m_s",
)
"""Figures of bytes of items and results on their way."""
DETAILS = (
    "startup_cpu_s",
    "slots",
    "in_flight",
    "waking_s",
    "page_turns",
    "host_workers",
    "apart",
    *(name for name in BYTES if name not in ("byte_in_s", "byte_out_s")),
)
"""Figures that a reader of a plan wants to see only if there is something to say of them; all are
in ``plan.costs``."""
SMALL_BYTES, MEDIUM_BYTES, LARGE_BYTES = 1_000, 1_000_000, 50_000_000
"""Sizes of messages that are measured. Between them seconds per byte follow the logarithm."""
LARGE_FIGURES = ("byte_in_50m_s", "buffer_in_50m_s", "byte_out_50m_s", "buffer_out_50m_s")
"""Figures of large messages, which are measured only where such messages are sent."""

STORE_BYTES = 8_000_000
"""Size from which inputs lie in the store of an engine whose ways have not been compared there:
engines advise against large tasks, Dask from 10 MB on."""
STORE_MARGIN = 0.2
"""By what share the store must be cheaper: inputs within a task go to whichever worker is free,
and are not lost with one."""


def _crossing(gains: Sequence[tuple[int, float]]) -> float:
    """Size from which something gains, given the seconds gained at some sizes: between two of
    them seconds are taken to follow the size.
    """
    above: tuple[int, float] | None = None
    for size, gain in reversed(gains):
        if gain <= 0:
            if above is None:
                return math.inf if size >= LARGE_BYTES else STORE_BYTES
            return size + (above[0] - size) * gain / (gain - above[1])
        above = size, gain
    return STORE_BYTES if above is None else above[0]


def _transfer_s(
    nbytes: float,
    buffers: float,
    classes: tuple[Figure | None, ...],
    out_of_band: tuple[Figure | None, ...],
) -> float:
    in_band = _between(nbytes, (SMALL_BYTES, MEDIUM_BYTES, LARGE_BYTES), classes)
    if not buffers or not any(out_of_band):
        return nbytes * in_band
    return (nbytes - buffers) * in_band + buffers * _between(
        nbytes, (MEDIUM_BYTES, LARGE_BYTES), out_of_band
    )


def _between(nbytes: float, sizes: tuple[int, ...], figures: tuple[Figure | None, ...]) -> float:
    """Seconds per byte at a size: between the next two known ones, or the nearest one's."""
    known = [(s, f.value) for s, f in zip(sizes, figures, strict=True) if f is not None]
    below, rate = known[0]
    for size, value in known:
        if nbytes <= size:
            if nbytes <= below or size == below:
                return value
            share = math.log(nbytes / below) / math.log(size / below)
            return rate + share * (value - rate)
        below, rate = size, value
    return rate


def _figure(name: str, data: Mapping[str, Any]) -> Figure:
    try:
        raw = data[name]
        value, origin = float(raw["value"]), raw["origin"]
        spread, note = float(raw.get("spread", 0.0)), str(raw.get("note", ""))
        checks = tuple(
            Check(str(check["name"]), bool(check["passed"]), str(check.get("detail", "")))
            for check in raw.get("checks", ())
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no valid figure {name!r}") from error
    if not 0.0 <= value < 1e6 or origin not in (
        "measured",
        "cached",
        "observed",
        "declared",
        "fallback",
    ):
        raise ValueError(f"figure {name!r} is out of range: {raw}")
    return Figure(value, origin, spread, note, checks)
