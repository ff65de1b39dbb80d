"""How many threads the numerical libraries inside this process may use, and putting it back."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, MutableMapping
from contextlib import AbstractContextManager
from types import ModuleType, TracebackType
from typing import Protocol

from amorsize.probes.parse import positive

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
"""Variables that such libraries read when they are loaded."""

# One of these is always there when a library with a pool of threads is.
_OWNERS = ("numpy", "scipy", "sklearn", "torch", "numexpr", "mkl", "faiss", "cv2")


def threads_per_worker(cores: float, workers: int) -> int:
    """Return the inner threads that keep workers times threads within the cores; at least 1."""
    return max(1, int(cores / max(1, workers)))


class _Restorable(Protocol):
    def restore_original_limits(self) -> None:
        """Give every pool its former size."""


class InnerThreads(AbstractContextManager["InnerThreads"]):
    """A limit on inner threads that holds until ``restore()`` or the end of the block."""

    def __init__(self, count: int, environ: MutableMapping[str, str]) -> None:
        self.count = count
        """Threads that each library may use."""
        self._environ = environ
        self._before = {name: environ.get(name) for name in THREAD_VARIABLES}
        self._pools: list[_Restorable] = []

    def apply(self, modules: Mapping[str, ModuleType]) -> None:
        """Limit the libraries that are loaded, and those loaded from now on."""
        for name, value in self._before.items():
            # A user who asked for fewer threads still gets fewer.
            self._environ[name] = str(min(positive(value) or self.count, self.count))
        if any(name in modules for name in _OWNERS):
            self._pools = _limit_loaded(self.count)

    def restore(self) -> None:
        """Put back what was there before; doing so twice does no harm."""
        for name, value in self._before.items():
            if value is None:
                self._environ.pop(name, None)
            else:
                self._environ[name] = value
        self._before = {}
        pools, self._pools = self._pools, []
        for pool in reversed(pools):
            pool.restore_original_limits()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.restore()


def limit_inner_threads(
    n: int,
    *,
    environ: MutableMapping[str, str] | None = None,
    modules: Mapping[str, ModuleType] | None = None,
) -> InnerThreads:
    """Let BLAS and OpenMP libraries in this process use at most ``n`` threads each.

    Takes effect at once; meant for the start of a worker. OpenBLAS libraries that are loaded
    already are told directly, others through threadpoolctl where it is installed; libraries
    loaded later, and child processes, read the variables. Settings that are lower already
    stay. As a context manager, or through ``restore()``, the former settings come back.
    """
    limit = InnerThreads(max(1, n), os.environ if environ is None else environ)
    limit.apply(sys.modules if modules is None else modules)
    return limit


def _limit_loaded(count: int) -> list[_Restorable]:
    """Limit the pools of loaded libraries, leaving alone those that are smaller already."""
    from amorsize.probes.host import Host
    from amorsize.probes.openblas import PoolSizes, loaded_pools

    libraries, others = loaded_pools(Host())
    limits: list[_Restorable] = [PoolSizes(libraries, count)]
    # threadpoolctl takes some 20 ms to import: not for OpenBLAS, which needs no help.
    if others or not libraries:
        limits += _limit_others(count)
    return limits


def _limit_others(count: int) -> list[_Restorable]:
    try:
        import threadpoolctl

        controller = threadpoolctl.ThreadpoolController()
        pools = controller.info()
        wide = [pool["filepath"] for pool in pools if pool["num_threads"] > count]
        if not wide:
            return []
        limiter: _Restorable = controller.select(filepath=wide).limit(limits=count)
    except Exception:  # not installed, or a library it cannot talk to: the variables remain
        return []
    return [limiter]
