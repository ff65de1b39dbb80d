"""What is asked of the operating system by calls rather than by reading files."""

from __future__ import annotations

import os
import sys
from functools import cache

_RLIM_HUGE = 1 << 60


@cache
def host_cpus() -> int | None:
    """Logical CPUs of this host, asked for once: the C library reads a file."""
    return os.cpu_count()


class System:
    """The calls of the running system; tests replace it by recorded answers.

    Every method returns ``None`` (or nothing) where the platform cannot answer, and never
    raises.
    """

    platform: str = sys.platform

    def cpu_count(self) -> int | None:
        """Return the logical CPUs of the host."""
        return host_cpus()

    def forget(self) -> None:
        """Ask anew from now on."""
        host_cpus.cache_clear()

    def affinity(self) -> frozenset[int] | None:
        """Return the CPUs this process may run on."""
        if hasattr(os, "sched_getaffinity"):
            try:
                return frozenset(os.sched_getaffinity(0))
            except (OSError, NotImplementedError):
                return None
        if self.platform == "darwin":  # macOS has no affinity to ask for
            return None
        try:
            import psutil

            return frozenset(psutil.Process().cpu_affinity())
        except Exception:  # psutil is missing, or lacks the call on this platform
            return None

    def physical_cores(self, *, load: bool) -> int | None:
        """Return psutil's count of physical cores.

        ``load`` says whether psutil may be imported for it; that costs some 10-25 ms, more
        than all other probes together.
        """
        if not load and "psutil" not in sys.modules:
            return None
        try:
            import psutil

            count = psutil.cpu_count(logical=False)
        except Exception:  # missing, or no answer in this container
            return None
        return None if count is None else int(count)

    def lscpu(self) -> str | None:
        """Return the output of ``lscpu -p=CORE,SOCKET``."""
        try:
            import subprocess

            done = subprocess.run(
                ["lscpu", "-p=CORE,SOCKET"], capture_output=True, text=True, timeout=2, check=False
            )
        except Exception:  # not installed, not allowed, or too slow
            return None
        return done.stdout if done.returncode == 0 else None

    def sysctl(self, name: str) -> int | None:
        """Return an integer from macOS's ``sysctlbyname``."""
        if self.platform != "darwin":
            return None
        try:
            import ctypes

            value = ctypes.c_uint64(0)
            size = ctypes.c_size_t(8)
            libc = ctypes.CDLL(None)
            failed = libc.sysctlbyname(
                name.encode(), ctypes.byref(value), ctypes.byref(size), None, ctypes.c_size_t(0)
            )
        except Exception:  # no such call here
            return None
        return None if failed else value.value

    def available_memory(self) -> int | None:
        """Return the host's available bytes where /proc/meminfo does not exist."""
        try:
            import psutil

            return int(psutil.virtual_memory().available)
        except Exception:  # psutil missing: ask the system itself
            return self._windows_memory() if self.platform == "win32" else self._free_pages()

    def loadavg(self) -> tuple[float, float, float] | None:
        """Return the load averages over 1, 5 and 15 minutes."""
        try:
            return os.getloadavg()
        except (OSError, AttributeError):
            return None

    def rlimits(self) -> dict[str, int]:
        """Return the soft limits set on address space and data size, in bytes."""
        try:
            import resource
        except ImportError:  # Windows
            return {}
        found: dict[str, int] = {}
        for name in ("RLIMIT_AS", "RLIMIT_DATA"):
            try:
                soft, _ = resource.getrlimit(getattr(resource, name))
            except (AttributeError, OSError, ValueError):
                continue
            if 0 <= soft < _RLIM_HUGE and soft != resource.RLIM_INFINITY:
                found[name] = soft
        return found

    def hostname(self) -> str:
        """Return this host's name, as schedulers list it."""
        try:
            return os.uname().nodename
        except AttributeError:  # Windows
            return ""

    def cpu_seconds(self) -> float:
        """Return the CPU seconds of this process and of the children it has reaped."""
        used = os.times()
        return used.user + used.system + used.children_user + used.children_system

    def clock_ticks(self) -> int:
        """Return the ticks a second in which /proc/stat counts."""
        try:
            return os.sysconf("SC_CLK_TCK") or 100
        except (AttributeError, OSError, ValueError):
            return 100

    def page_size(self) -> int:
        """Return the bytes in a page of memory."""
        try:
            return os.sysconf("SC_PAGE_SIZE") or 4096
        except (AttributeError, OSError, ValueError):
            return 4096

    def _free_pages(self) -> int | None:
        try:
            return os.sysconf("SC_AVPHYS_PAGES") * self.page_size()
        except (AttributeError, OSError, ValueError):
            return None

    def _windows_memory(self) -> int | None:
        try:
            import ctypes

            # MEMORYSTATUSEX: two 32-bit fields, then seven of 64 bits; the second of these
            # is ullAvailPhys. The first field must hold the structure's size.
            status = (ctypes.c_uint64 * 8)()
            status[0] = ctypes.sizeof(status)
            kernel32 = getattr(ctypes, "windll").kernel32  # noqa: B009 - only on Windows
            return int(status[2]) if kernel32.GlobalMemoryStatusEx(status) else None
        except Exception:  # not on Windows, or the call is refused
            return None
