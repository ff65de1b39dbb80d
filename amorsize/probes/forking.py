"""Which ways to start a process exist here, and whether forking this process is safe now."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import NamedTuple

from amorsize.probes.host import Host

# forkserver needs sockets that pass descriptors, which every supported POSIX system has.
_POSIX = ("fork", "spawn", "forkserver")


class ForkSafety(NamedTuple):
    """Whether a plain fork of this process is safe at this moment."""

    safe: bool
    """Whether a forked child may run any code its parent could."""

    reason: str
    """Why, in words for the user."""

    def __bool__(self) -> bool:
        """Return ``safe``."""
        return self.safe


def start_methods(platform: str | None = None) -> tuple[str, ...]:
    """Return the start methods of multiprocessing on this platform, Python's default first.

    The same as ``multiprocessing.get_all_start_methods()``, without importing it.
    """
    platform = sys.platform if platform is None else platform
    if platform == "win32":
        return ("spawn",)
    default = default_start_method(platform)
    return (default, *(method for method in _POSIX if method != default))


def default_start_method(platform: str | None = None) -> str:
    """Return the method Python uses here when the program does not choose."""
    platform = sys.platform if platform is None else platform
    if platform in ("win32", "darwin"):
        return "spawn"
    return "forkserver" if sys.version_info >= (3, 14) else "fork"


def fork_safety(
    host: Host | None = None, modules: Mapping[str, ModuleType] | None = None
) -> ForkSafety:
    """Return whether ``os.fork()`` is safe at this moment, and why.

    Not cached: any import or call may start a thread. A child gets only the thread that
    forks; locks that others held stay locked for ever in it. So any other live thread makes
    forking unsafe, save the idle pools of OpenBLAS, which prepares for forks itself (see
    ``amorsize.probes.openblas``). A device that was initialised in the parent does not work
    in a child, either. Takes some 10 us for a process with one thread.
    """
    host = host or Host()
    platform = host.system.platform
    if platform == "win32" or not hasattr(os, "fork"):
        return ForkSafety(False, f"there is no fork on {platform}")
    if platform == "darwin":
        return ForkSafety(False, "macOS frameworks may start threads that do not survive a fork")
    device = _initialised_device(sys.modules if modules is None else modules)
    if device is not None:
        return ForkSafety(False, f"{device} cannot be used in a forked child")
    return _threads(host)


def _threads(host: Host) -> ForkSafety:
    tids = host.entries("/proc/self/task")
    if len(tids) == 1:
        return ForkSafety(True, "the process has one thread")
    own = threading.get_native_id()
    named = [f"{t.name!r}" for t in threading.enumerate() if t.native_id not in (own, None)]
    if named:
        shown = ", ".join(named[:4]) + (", ..." if len(named) > 4 else "")
        return ForkSafety(False, f"{_count(len(named), 'other Python thread')} alive: {shown}")
    if not tids:
        return ForkSafety(False, "native threads cannot be counted without /proc")
    others = [tid for tid in tids if tid != str(own)]
    from amorsize.probes import openblas  # needed by processes with native threads only

    foreign = openblas.recogniser.foreign(others, host)
    if foreign:
        count = _count(foreign, "native thread")
        return ForkSafety(False, f"{count} alive that may hold locks: {_names(host, others)}")
    count = _count(len(others), "other thread")
    return ForkSafety(True, f"{count} of OpenBLAS, which allows for forks")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _names(host: Host, tids: list[str]) -> str:
    names = sorted({(host.read(f"/proc/self/task/{tid}/comm") or "?").strip() for tid in tids})
    return ", ".join(names[:4])


def _initialised_device(modules: Mapping[str, ModuleType]) -> str | None:
    """Return the name of a library with a device in use; looks at loaded modules only."""
    for name, (label, ask) in _DEVICES.items():
        module = modules.get(name)
        if module is None:
            continue
        try:
            if ask(module):
                return label
        except Exception:  # half imported, or changed inside: nothing can be said
            continue
    return None


_DEVICES: dict[str, tuple[str, Callable[[ModuleType], object]]] = {
    "torch.cuda": ("CUDA initialised by torch", lambda module: module.is_initialized()),
    "torch.xpu": ("a device initialised by torch", lambda module: module.is_initialized()),
    "numba.cuda.cudadrv.driver": (
        "CUDA initialised by numba",
        lambda module: module.driver.is_initialized,
    ),
    "jax._src.xla_bridge": ("a JAX backend", lambda module: module.backends_are_initialized()),
    "cupy": ("CUDA as used by cupy", lambda module: module.cuda.runtime.getDeviceCount() > 0),
    "ray._private.worker": (
        "the connection to Ray",
        lambda module: module.global_worker.connected,
    ),
}
