"""What the workers of this host take from each other, whatever the engine: memory bandwidth, the
units of a processor that two of its hardware threads share, and the system's time for new pages.

Measured by threads that leave the interpreter to each other, as many as there may be workers, and
by one of them alone; once a process.
"""

from __future__ import annotations

import zlib
from typing import NamedTuple

from amorsize.backend import Traits
from amorsize.calibration import quality
from amorsize.calibration.repeats import Repeats, summary
from amorsize.costs import HOST_FALLBACK, Figure, declared
from amorsize.own_lock import OwnLock
from amorsize.pages import turns
from amorsize.probes import Limits, memory_bandwidth
from amorsize.probes.together import Compared, compare

_TEXT_BYTES, _ROUNDS = 1 << 16, 8
"""Bytes that are compressed for finding out what computing takes, and how often: a millisecond in
which branches, tables and a little memory matter as much as in most code."""


class Together(NamedTuple):
    """The costs of this host, by the names that ``BackendCosts`` has for them."""

    memory_one_s: Figure | None = None
    memory_all_s: Figure | None = None
    crowded: Figure | None = None
    page_turns: Figure | None = None
    host_workers: Figure | None = None
    apart: Figure | None = None


def together(traits: Traits, found: Limits, *, memory: bool) -> Together:
    """What workers of a backend on this host take from each other; nothing where they live
    elsewhere, or where there is only one. ``memory`` takes a tenth of a second more.
    """
    workers = found.workers
    if traits.remote or traits.inline or workers < 2:
        return Together()
    with _lock:
        if workers not in _measured:
            try:
                _measured[workers] = _measure(found, workers)
            except Exception:  # no threads to be had, no memory
                return Together()
        figures = _measured[workers]
    if memory:
        figures = figures._replace(**_bandwidth())
    # Processes have each their own memory, and get pages without waiting for each other.
    return figures if traits.shares_memory else figures._replace(page_turns=None)


_lock = OwnLock()
_measured: dict[int, Together] = {}


def _measure(found: Limits, workers: int) -> Together:
    alone = workers <= found.physical_cores
    return Together(
        crowded=declared(1.0, "a core each") if alone else _slower(_computing(workers)),
        page_turns=_slower(turns(workers)),
        host_workers=declared(workers),
        apart=declared(min(workers, found.physical_cores)),
    )


def _bandwidth() -> dict[str, Figure]:
    rates = memory_bandwidth()
    if rates is None:
        note = "not measured: too little memory for that"
        return {name: figure._replace(note=note) for name, figure in HOST_FALLBACK.items()}
    one, every = 1 / rates.one_thread, 1 / rates.all_threads
    return {"memory_one_s": Figure(one, "measured"), "memory_all_s": Figure(every, "measured")}


def _computing(workers: int) -> Compared:
    text = b"".join(b"%d workers of %d\n" % (n * 7919 % 10007, n) for n in range(10_000))

    def work() -> object:
        return zlib.compress(text[:_TEXT_BYTES])  # leaves the interpreter to others

    return compare(work, [work] * workers, _ROUNDS)


def _slower(found: Compared | None) -> Figure | None:
    """Factor by which work takes longer together; how well both stand is checked. Pure."""
    if found is None:
        return None
    times = summary([b / max(a, 1e-9) for a, b in zip(found.alone, found.together, strict=True)])
    factor = max(1.0, found.together_s / max(found.alone_s, 1e-9))
    return quality.figure(Repeats(factor, times.spread, times.error, times.number))
