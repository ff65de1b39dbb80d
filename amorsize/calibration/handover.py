"""What waiting for a short time takes, and what threads lose that then all want the interpreter's
lock.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from amorsize.asking import Ask, answer
from amorsize.backend import Backend
from amorsize.calibration import quality
from amorsize.calibration.bounded import Budget
from amorsize.calibration.probe import opened
from amorsize.calibration.repeats import repeated, summary
from amorsize.costs import CROWD, Figure

_NAP = Ask(nap_s=1e-6)
_NAPS, _ALONE = 1000, 50
"""Naps of all of them together, and of one alone."""


class Handover(NamedTuple):
    """What waking takes."""

    handover_s: Figure | None
    """Seconds from one thread's hold of a wanted lock to the next one's."""
    waking_s: Figure | None
    """CPU seconds of a moment's wait alone."""


def handover(backend: Backend, budget: Budget) -> Handover:
    """Handing over is measured for workers that share the caller's lock and chunks: others cannot
    be so many. Waking, for workers of this host.
    """
    traits = backend.traits
    if traits.inline or traits.remote:
        return Handover(None, None)
    waking = quality.figure(summary([_alone_cpu_s() for _ in range(3)]))
    if not (traits.shares_gil and traits.shares_chunks):
        return Handover(None, waking)

    def crowd() -> float:
        with opened(backend, CROWD, budget, (_NAP,) * _NAPS) as probe:
            return probe.asked(_NAPS).wall_s / _NAPS

    crowded = summary(repeated(crowd, budget, least=2, most=4))
    return Handover(quality.figure(crowded), waking)


def _alone_cpu_s() -> float:
    begin = time.thread_time()
    for _ in range(_ALONE):
        answer(_NAP)
    return (time.thread_time() - begin) / _ALONE
