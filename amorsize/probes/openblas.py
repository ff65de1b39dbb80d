"""Which native threads belong to an OpenBLAS pool, the one pool known to survive a fork.

OpenBLAS built with POSIX threads (the one in numpy's and scipy's wheels is) registers fork
handlers: before a fork they finish and join the pool's threads, and parent and child each
start new ones when they next need them. So its threads are no hazard. OpenMP runtimes do not
do so: a child that enters a parallel region after its parent used GNU's libgomp hangs.

Linux does not say which library started a thread, but it says what an idle thread waits for.
OpenBLAS keeps its condition variables in its own static data: a thread that waits on a futex
inside the library's mapping is one of the pool, whatever its name and number.
"""

from __future__ import annotations

import os
import struct
import sys
import time
from collections.abc import Callable, Iterable

from amorsize.probes.host import Host

# Runtimes whose threads spin for a while like OpenBLAS's, and cannot be told from them then.
_OTHER_POOLS = ("libgomp", "libiomp", "libomp", "libtbb", "libmkl", "libblis", "libtorch", "jaxlib")

# Names of the functions in plain builds, in builds with 64-bit integers, and in wheels.
_PREFIXES = ("scipy_openblas_", "openblas_")
_SUFFIXES = ("64_", "")

# Threads of the pool spin for some 25 ms after a computation before they sleep.
_NAP_S = 0.002
_MAX_NAPS = 25

_PTHREADS = 1  # what openblas_get_parallel() returns for a pool of POSIX threads

Span = tuple[int, int]


class Pools:
    """The OpenBLAS libraries mapped into this process."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.spans: dict[str, Span] = {}
        """Address range of each library by its file, static data included."""
        self.others = False
        """Whether another runtime with a pool of threads is loaded."""
        for line in (host.read("/proc/self/maps") or "").splitlines():
            bounds, _, rest = line.partition(" ")
            path = rest[rest.find("/") :] if "/" in rest else ""
            base = path.rpartition("/")[2]
            if "openblas" in base and path not in self.spans:
                low = _address(bounds.partition("-")[0])
                self.spans[path] = (low, low + _memory_size(host, path))
            self.others = self.others or base.startswith(_OTHER_POOLS)

    def foreign(self, tids: list[str], sleep: Callable[[float], None] = time.sleep) -> list[str]:
        """Return the threads that do not belong to one of the pools."""
        if not self.spans:
            return tids
        foreign, busy, asleep = self._classify(tids)
        if not self.others:
            # Threads that compute show nothing of themselves; as nothing else that is known
            # to have a pool is loaded, they are OpenBLAS's if its pools can have so many.
            fits = asleep + len(busy) <= self._capacity() if busy else True
            return foreign if fits else foreign + busy
        # Otherwise wait until they have gone to sleep, and show where.
        for _ in range(_MAX_NAPS):
            if foreign or not busy:
                break
            sleep(_NAP_S)
            foreign, busy, _ = self._classify(tids)
        return foreign + busy

    def _classify(self, tids: Iterable[str]) -> tuple[list[str], list[str], int]:
        """Return the foreign threads, those that compute now, and the number asleep in a pool."""
        foreign: list[str] = []
        busy: list[str] = []
        asleep = 0
        for tid in tids:
            state = self._host.read(f"/proc/self/task/{tid}/syscall")
            if state is None:  # the thread has ended meanwhile, or the file is withheld
                foreign += [tid] if tid in self._host.entries("/proc/self/task") else []
            elif state.startswith("running") or _yielding(state):
                busy.append(tid)
            elif self._waits_inside(state):
                asleep += 1
            else:
                foreign.append(tid)
        return foreign, busy, asleep

    def _waits_inside(self, state: str) -> bool:
        """Return whether the first argument of the system call lies in a library's data."""
        words = state.split()
        try:
            address = int(words[1], 16)
        except (IndexError, ValueError):
            return False
        return any(low <= address < high for low, high in self.spans.values())

    def _capacity(self) -> int:
        """Return the most threads the pools can have, the callers' own not counted."""
        return sum(_pool_threads(path) for path in self.spans)


def _address(text: str) -> int:
    try:
        return int(text, 16)
    except ValueError:
        return 0


def _memory_size(host: Host, path: str) -> int:
    """Return the bytes of address space that the ELF file's segments take when loaded.

    Its zero-initialised data is anonymous memory in the process's map, where neighbours run
    together; only the file tells where it ends.
    """
    try:
        with open(host.root + path, "rb") as file:
            head = file.read(64)
            if head[:5] != b"\x7fELF\x02" or head[5] != 1:
                return 0  # neither 64 bits nor little-endian: threads stay unrecognised
            offset, entry, count = (*_at(head, 32, "Q"), *_at(head, 54, "HH"))
            file.seek(offset)
            table = file.read(entry * count)
        ends = [
            sum(_at(table, index * entry + 16, "Q") + _at(table, index * entry + 40, "Q"))
            for index in range(count)
            if _at(table, index * entry, "I")[0] == 1  # PT_LOAD: address + size in memory
        ]
    except (OSError, struct.error):
        return 0
    return max(ends, default=0)


def _at(data: bytes, offset: int, code: str) -> tuple[int, ...]:
    return struct.unpack_from(f"<{code}", data, offset)


# The system call on which they spin, where its number is known.
_SCHED_YIELD = {"x86_64": "24", "aarch64": "124", "riscv64": "124"}


def _yielding(state: str) -> bool:
    number = _SCHED_YIELD.get(os.uname().machine)
    return number is not None and state.split(" ", 1)[0] == number


def _pool_threads(path: str) -> int:
    """Return the most threads the pool of one library can have, its callers not counted."""
    library = _library(path)
    if _call(library, "get_parallel") != _PTHREADS:
        return 0  # with OpenMP the threads are the runtime's, which no handler joins
    # The pool is created for every processor and never shrinks when fewer are asked for.
    sizes = (_call(library, "get_num_threads"), _call(library, "get_num_procs"))
    return max(0, max(size or 0 for size in sizes) - 1)


def _library(path: str) -> object:
    """Return a library that is loaded already; ``None`` where it is not to be had."""
    try:
        import ctypes

        return ctypes.CDLL(path, mode=getattr(os, "RTLD_NOLOAD", 0) | os.RTLD_NOW)
    except (ImportError, OSError, AttributeError):
        return None


def _call(library: object, name: str, *arguments: int) -> int | None:
    """Call a function of OpenBLAS by its plain name, whatever this build calls it."""
    for prefix in _PREFIXES:
        for suffix in _SUFFIXES:
            function = getattr(library, f"{prefix}{name}{suffix}", None)
            if function is not None:
                return int(function(*arguments) or 0)
    return None


class PoolSizes:
    """A limit on the threads of the OpenBLAS libraries that are loaded."""

    def __init__(self, host: Host, count: int) -> None:
        self._before: list[tuple[object, int]] = []
        for path in Pools(host).spans:
            library = _library(path)
            size = _call(library, "get_num_threads")
            if size is not None and size > count:
                _call(library, "set_num_threads", count)
                self._before.append((library, size))

    def restore_original_limits(self) -> None:
        """Give every library its former number of threads."""
        for library, size in self._before:
            _call(library, "set_num_threads", size)


class Recogniser:
    """Tells foreign threads from pool threads, and remembers those it recognised.

    A thread's number is reused only after all others have been, so a remembered number that
    has been present ever since belongs to the same thread.
    """

    def __init__(self) -> None:
        self._known: frozenset[str] = frozenset()
        self._pid = os.getpid()

    def foreign(self, tids: Iterable[str], host: Host) -> list[str]:
        """Return the threads among ``tids`` that are no idle or spinning pool threads."""
        if self._pid != os.getpid():
            self._known, self._pid = frozenset(), os.getpid()
        present = frozenset(tids)
        fresh = present - self._known
        if fresh and not sys.platform.startswith("linux"):
            return sorted(fresh)
        foreign = Pools(host).foreign(sorted(fresh)) if fresh else []
        self._known = present - frozenset(foreign)
        return foreign


recogniser = Recogniser()
"""The memory of this process, shared by all callers."""
