"""Loads what parallel runs need together with amorsize, rather than in the time of the first map:
what tells what items take and which threads are OpenBLAS's, what names stored costs, the ways of
the standard library to wait for workers, and what each forked worker would otherwise load by
itself.
"""

from __future__ import annotations

import select
import zlib
from contextlib import suppress

import amorsize.arrivals
import amorsize.executors
import amorsize.probes.blas
import amorsize.probes.openblas
import amorsize.probes.symbols
import amorsize.sharing
import amorsize.sizes
from amorsize.rooms import keep_freed_memory

with suppress(ImportError):  # Windows
    import fcntl

keep_freed_memory()  # forked workers inherit that

__all__ = ["amorsize", "fcntl", "select", "zlib"]
