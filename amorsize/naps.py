"""What a short wait takes of a processor by itself: mostly, waking it up where it was idle."""

from __future__ import annotations

import time

from amorsize.loop import raise_what_came, run_loop
from amorsize.profile import Profile

SHORT_S = 0.0001
"""CPU seconds of an item up to which what its wait takes by itself may be most of them."""
WAITS = 0.1
"""Waiting over computing from which on work counts as waiting."""
_NAPS, _MOST_S = 6, 0.0004
"""Naps that tell it, fewer if these take very long; and their longest: longer ones take the same
of a processor."""

_WORTH = 0.01
"""Share of the plain loop that they may take, which is over in a small part of its time side by
side: of shorter ones what was measured with the backend serves as well."""


def is_nap(wait_s: float, cpu_s: float) -> bool:
    """Whether what an item is on a processor for may be little but waking up after its wait."""
    return wait_s >= WAITS * cpu_s and 0 < cpu_s <= SHORT_S


def waking_s(profile: Profile) -> float:
    """CPU seconds that a wait as long as an item's takes this thread now, by itself; 0 for items
    that do not wait, that compute so long that it plays no part, or that are soon over. It depends
    on how long the processor was idle, and of a virtual one on what the host does: so it is
    measured with the items.
    """
    wait_s = profile.waiting_share * profile.item_s
    if not is_nap(wait_s, profile.item_cpu_s):
        return 0.0
    serial_s = profile.serial_s
    if serial_s is not None and _NAPS * min(wait_s, _MOST_S) > _WORTH * serial_s:
        return 0.0
    until = time.perf_counter() + _NAPS * _MOST_S
    late_s, _ = _nap(1e-6)  # every sleep is
    nap_s = max(1e-6, min(wait_s, _MOST_S) - late_s)
    taken = [_nap(nap_s)[1]]
    while len(taken) < _NAPS and time.perf_counter() < until:
        taken.append(_nap(nap_s)[1])
    taken.sort()  # the median; what tells it elsewhere takes longer to import than a plan
    middle = len(taken) // 2
    return (taken[middle] + taken[~middle]) / 2


def _nap(seconds: float) -> tuple[float, float]:
    """Seconds and CPU seconds of a sleep, as a sample takes them of an item."""
    cpu, wall = time.thread_time(), time.perf_counter()
    loop = run_loop(time.sleep, (seconds,), 0, keep=True)
    wall, cpu = time.perf_counter() - wall, time.thread_time() - cpu
    raise_what_came(loop)
    return wall, cpu
