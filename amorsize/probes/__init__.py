"""What this machine, container or job lets this process use, and where each number is from.

``limits()`` is the way in; the rest answers single questions. Nothing here needs more than
the standard library; psutil, threadpoolctl and numpy are used where they are installed or
loaded already.
"""

from __future__ import annotations

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
from amorsize.probes.system import System

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
    "nested_share",
    "start_methods",
]
