"""What this machine, container or job lets this process use, and where each number is from.

``limits()`` is the way in; the rest answers single questions. Nothing here needs more than
the standard library; psutil, threadpoolctl and numpy are used where they are installed or
loaded already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from amorsize.probes.contention import Contention
from amorsize.probes.facts import Fact
from amorsize.probes.forking import (
    ForkSafety,
    default_start_method,
    fork_safety,
    start_methods,
)
from amorsize.probes.host import Host
from amorsize.probes.limits import Limits, limits
from amorsize.probes.nesting import nested_share
from amorsize.probes.oom import oom_kills
from amorsize.probes.system import System

if TYPE_CHECKING:
    from amorsize.probes.bandwidth import Bandwidth
    from amorsize.probes.layout import Topology

__all__ = [
    "Contention",
    "Fact",
    "ForkSafety",
    "Host",
    "Limits",
    "System",
    "default_start_method",
    "fork_safety",
    "limits",
    "memory_bandwidth",
    "nested_share",
    "oom_kills",
    "start_methods",
    "topology",
]


def topology(host: Host | None = None) -> Topology:
    """Return sockets, NUMA nodes, caches, shared cores and core kinds of the host."""
    from amorsize.probes.layout import read_topology  # few programs ask

    return read_topology(host)


def memory_bandwidth(*, refresh: bool = False) -> Bandwidth | None:
    """Return the memory bandwidth: measured on the first call, in 0.05-0.2 s, then remembered."""
    from amorsize.probes import bandwidth  # few programs ask

    return bandwidth.memory_bandwidth(refresh=refresh)
