"""Loads what every parallel run needs together with amorsize, rather than in the time of the first
map: what names stored costs, the ways of the standard library to wait for workers, and what each
forked worker would otherwise load by itself.
"""

from __future__ import annotations

import select
import zlib
from contextlib import suppress

import amorsize.arrivals
import amorsize.executors
import amorsize.probes.blas

with suppress(ImportError):  # Windows
    import fcntl

__all__ = ["amorsize", "fcntl", "select", "zlib"]
