"""Which native threads belong to an OpenBLAS pool, the one pool known to survive a fork.

OpenBLAS built with POSIX threads (the one in numpy's and scipy's wheels is) registers fork
handlers: before a fork they finish and join the pool's threads, and parent and child each
start new ones when they next need them. So its threads are no hazard. OpenMP runtimes do not
do so: a child that enters a parallel region after its parent used GNU's libgomp hangs.

Linux does not say which library started a thread, but OpenBLAS says how many it has: its
``blas_server_avail`` tells whether the pool exists at this moment, ``blas_num_threads`` how
large it is, the caller included. Threads beyond that number belong to somebody else.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from amorsize.probes.host import Host

if TYPE_CHECKING:
    import ctypes

# Runtimes with pools of threads that other means have to limit.
_OTHER_POOLS = ("libgomp", "libiomp", "libomp", "libtbb", "libmkl", "libblis", "libtorch")

# Names of the functions in plain builds, in builds with 64-bit integers, and in wheels.
_PREFIXES = ("scipy_openblas_", "openblas_")
_SUFFIXES = ("64_", "")

_SIZE = "blas_cpu_number"
_VARIABLES = (_SIZE, "blas_num_threads", "blas_server_avail")

_PTHREADS = 1  # what openblas_get_parallel() returns for a pool of POSIX threads


class Library:
    """One OpenBLAS library that is loaded into this process."""

    def __init__(self, path: str) -> None:
        self._library, self._path = _loaded(path), path

    @property
    def size(self) -> int | None:
        """Threads that a computation may use, its caller included; ``None`` if not told."""
        return self._call("get_num_threads")

    def resize(self, count: int) -> None:
        """Let computations use ``count`` threads.

        In a forked child the pool does not exist until it is needed. OpenBLAS's own function
        would start it, whatever the count, and new threads spin for some 25-100 ms on cores
        that other workers need. So there, the number alone is set.
        """
        number = self._variable(_SIZE)
        if number is not None and self._running() == 0:
            number.value = count
            if self.size == count:
                return
        self._call("set_num_threads", count)

    def pool_threads(self) -> int:
        """Return the threads that the library has at this moment, its callers not counted."""
        if self._call("get_parallel") != _PTHREADS:
            return 0  # with OpenMP the threads are that runtime's
        total = self._variable("blas_num_threads")
        return max(0, total.value - 1) if total is not None and self._running() else 0

    def _running(self) -> int | None:
        """Return whether the pool exists, as 1 or 0; ``None`` if this build does not tell."""
        flag = self._variable("blas_server_avail")
        return None if flag is None else flag.value

    def _variable(self, name: str) -> ctypes.c_int | None:
        if self._library is None:
            return None
        import ctypes

        try:
            return ctypes.c_int.in_dll(self._library, name)
        except ValueError:  # not exported by this build
            place = self._hidden(name)
            return None if place is None else ctypes.c_int.from_address(place)

    def _hidden(self, name: str) -> int | None:
        """Where a variable is that is not exported, as none is since OpenBLAS 0.3.34: as far from a
        function that is as in the library's file. ``None`` if that cannot be told, or if what is
        at the place of the pool's size is not its size.
        """
        import ctypes

        function = self._function("get_num_threads")
        if function is None:
            return None
        from amorsize.probes.symbols import offsets

        known = offsets(self._path, (function.__name__, *_VARIABLES))
        if not {function.__name__, _SIZE, name} <= known.keys():
            return None
        here = ctypes.cast(function, ctypes.c_void_p).value or 0
        begin = here - known[function.__name__]
        told = ctypes.c_int.from_address(begin + known[_SIZE]).value
        return begin + known[name] if told == self.size else None

    def _call(self, name: str, *arguments: int) -> int | None:
        """Call a function by its plain name."""
        function = self._function(name)
        return None if function is None else int(function(*arguments) or 0)

    def _function(self, name: str) -> Any:
        """A function by its plain name, whatever this build calls it."""
        for prefix in _PREFIXES:
            for suffix in _SUFFIXES:
                function = getattr(self._library, f"{prefix}{name}{suffix}", None)
                if function is not None:
                    return function
        return None


def _loaded(path: str) -> ctypes.CDLL | None:
    """Return a library that is loaded already; ``None`` where it is not to be had."""
    try:
        import ctypes

        return ctypes.CDLL(path, mode=os.RTLD_NOLOAD | os.RTLD_NOW)
    except (ImportError, OSError, AttributeError):
        return None


def loaded_pools(host: Host) -> tuple[list[Library], bool]:
    """Return the OpenBLAS libraries of this process, and whether other runtimes are loaded."""
    paths: dict[str, None] = {}
    others = False
    text = host.read("/proc/self/maps") or ""
    for name in ("openblas", *_OTHER_POOLS):
        for line in _lines_with(name, text):
            path = line[line.find("/") :] if "/" in line else ""
            base = path.rpartition("/")[2]
            if "openblas" in base:
                paths[path] = None
            others = others or base.startswith(_OTHER_POOLS)
    return [Library(path) for path in paths], others


def _lines_with(word: str, text: str) -> Iterator[str]:
    """The few lines of a long text that hold a word."""
    at = text.find(word)
    while at >= 0:
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        yield text[text.rfind("\n", 0, at) + 1 : end]
        at = text.find(word, end)


class PoolSizes:
    """A limit on the threads of the OpenBLAS libraries that are loaded."""

    def __init__(self, libraries: Iterable[Library], count: int) -> None:
        self._before: list[tuple[Library, int]] = []
        for library in libraries:
            size = library.size
            if size is not None and size > count:
                library.resize(count)
                self._before.append((library, size))

    def restore_original_limits(self) -> None:
        """Give every library its former number of threads."""
        for library, size in self._before:
            library.resize(size)


class Recogniser:
    """Tells whether the native threads of this process are OpenBLAS's, and remembers it.

    The numbers of threads are reused only after all others have been, so what was found of a set
    of numbers stays so.
    """

    def __init__(self) -> None:
        self._known: tuple[int, frozenset[str], int] = (os.getpid(), frozenset(), 0)
        """Process, its threads when they were looked at, how many of them are not OpenBLAS's."""

    def foreign(self, tids: Iterable[str], host: Host) -> int:
        """Return how many threads among ``tids`` are not OpenBLAS's."""
        present = frozenset(tids)
        pid, threads, foreign = self._known
        if present == threads and pid == os.getpid():
            return foreign
        libraries, _ = loaded_pools(host)
        # Fewer threads than the pools claim to have: the claim cannot be trusted.
        foreign = abs(len(present) - sum(library.pool_threads() for library in libraries))
        self._known = (os.getpid(), present, foreign)
        return foreign


recogniser = Recogniser()
"""The memory of this process, shared by all callers."""
