"""CPU load that is not ours, and memory that is. Reads /proc itself: importing psutil before the
clock starts would spare a contestant the import that its own first call pays.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable

READY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "ready.py")
_TICK = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


class LoadWatch:
    """Foreign CPU seconds between its creation and :meth:`foreign_share`."""

    def __init__(self, companions: Iterable[int] = ()) -> None:
        self._roots = {os.getpid(), *companions}
        self._system, self._own = system_busy_s(), tree_cpu_s(self._roots)
        self._stolen = stolen_s()
        self._begin = time.perf_counter()

    def stolen_share(self) -> float | None:
        """Cores that the host of a virtual machine gave to others, on average."""
        before, after = self._stolen, stolen_s()
        if before is None or after is None:
            return None
        return (after - before) / (time.perf_counter() - self._begin)

    def foreign_share(self) -> float | None:
        """Cores that other processes kept busy on average: all but this one, its companions
        (those of a running cluster) and their descendants. ``None`` where it cannot be told:
        no /proc, or less than 0.1 s.
        """
        wall = time.perf_counter() - self._begin
        system = system_busy_s()
        if system is None or self._system is None or wall < 0.1:
            return None
        own = tree_cpu_s(self._roots) - self._own
        return max(0.0, system - self._system - own) / wall


def system_busy_s() -> float | None:
    """CPU seconds of all programs of this machine since its start, ``None`` without /proc."""
    fields = _machine_ticks()
    return None if fields is None else (sum(fields[:7]) - fields[3] - fields[4]) / _TICK


def stolen_s() -> float | None:
    """CPU seconds that a virtual machine wanted and its host gave to others."""
    fields = _machine_ticks()
    return None if fields is None else fields[7] / _TICK


def _machine_ticks() -> list[int] | None:
    try:
        with open("/proc/stat", encoding="ascii") as file:
            return [int(field) for field in file.readline().split()[1:9]]
    except (OSError, ValueError):
        return None


def tree_cpu_s(roots: set[int]) -> float:
    """CPU seconds of processes, their living descendants and all their reaped children."""
    parents: dict[int, int] = {}
    seconds: dict[int, float] = {}
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                fields = file.read().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(name)] = int(fields[1])
        seconds[int(name)] = sum(int(field) for field in fields[11:15]) / _TICK
    return sum(s for pid, s in seconds.items() if _descends(pid, roots, parents))


def _descends(pid: int, roots: set[int], parents: dict[int, int]) -> bool:
    while pid > 1:
        if pid in roots:
            return True
        pid = parents.get(pid, 0)
    return False


def machine_busy(seconds: float) -> float | None:
    """Cores busy on this machine over the next seconds."""
    before = system_busy_s()
    time.sleep(seconds)
    after = system_busy_s()
    return None if before is None or after is None else (after - before) / seconds


def wait_for_quiet(patience_s: float, limit: float = 0.3) -> bool:
    """Wait until less than ``limit`` cores are busy; ``False`` if patience ended first."""
    deadline = time.monotonic() + patience_s
    while True:
        busy = machine_busy(0.1)
        if busy is None or busy <= limit:
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.4)


def peak_rss_bytes() -> int:
    """Largest resident memory of this process so far. The kernel's high-water mark starts anew
    with each program, unlike getrusage's, which remembers the process that started this one.
    """
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        import resource
    except ImportError:  # Windows
        return 0
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def make_ready(nbytes: int) -> None:
    """See to it that this machine has so much free memory at hand. A virtual machine gives what was
    free for a second or two back to its host, and getting it again takes up to forty times as long
    as using it: chance would decide which contestant pays for that.
    """
    if hasattr(os, "posix_spawn"):
        # In a process of its own: this one's peak of memory is measured.
        command = [sys.executable, "-I", "-S", READY, str(nbytes)]
        os.waitpid(os.posix_spawn(sys.executable, command, os.environ), 0)
