"""How many cores this process may use: every limit on them, and the counts they start from."""

from __future__ import annotations

import math
from collections.abc import Iterator

from amorsize.probes import cgroups, schedulers
from amorsize.probes.facts import Fact
from amorsize.probes.host import Host
from amorsize.probes.parse import cpu_list, table

# concurrent.futures refuses more: WaitForMultipleObjects takes 63 handles and two are its own.
WINDOWS_WORKERS = 61

# Below this a further worker cannot pay: with 2.04 cores a third one gains 2 % at best.
_USELESS_FRACTION = 0.05


def core_facts(host: Host) -> tuple[Fact, ...]:
    """Return every limit on cores, the host's own count first."""
    facts = [logical_cores(host)]
    if host.system.platform == "win32":
        note = "most processes that one executor can wait for on Windows"
        facts.append(Fact("windows-handles", WINDOWS_WORKERS, "cores", "Windows", note))
    facts += _affinity(host)
    if host.linux:
        facts += cgroups.cpu_facts(host)
    facts += schedulers.cpu_facts(host)
    return tuple(facts)


def workers_for(cores: float) -> int:
    """Return how many CPU-bound workers ``cores``, possibly fractional, can feed; at least 1.

    Fractions round up: under a quota of 1.5 two workers finish in two thirds of the time of
    one, which would leave half a core unused. A remainder below 5 % is left alone.
    """
    return max(1, math.ceil(cores - _USELESS_FRACTION))


def logical_cores(host: Host) -> Fact:
    """Return the host's logical CPUs: the system's count, else the kernel's list, else 1."""
    count = host.system.cpu_count()
    if count is not None and count >= 1:
        return Fact("logical", count, "cores", "os.cpu_count()")
    online = cpu_list(host.read("/sys/devices/system/cpu/online")) if host.linux else None
    if online:
        return Fact("logical", len(online), "cores", "/sys/devices/system/cpu/online")
    return Fact("logical", 1, "cores", "assumed", "the system does not tell")


def physical_cores(host: Host, *, load_psutil: bool = True) -> Fact:
    """Return the host's physical cores by the first of five ways that answers.

    psutil; the kernel's files; lscpu; half the logical CPUs; 1. ``load_psutil=False`` uses
    psutil only where the program has loaded it already, since importing it takes longer
    than everything else here; on Linux the kernel's files give the same count.
    """
    logical = int(logical_cores(host).value)
    for count, source in _physical(host, load_psutil=load_psutil):
        # More cores than CPUs is nonsense, unless CPUs are hidden from os.cpu_count().
        if count is not None and 1 <= count <= max(logical, 1):
            return Fact("physical", count, "cores", source, limiting=False)
    if logical >= 2:
        note = "assumes two hardware threads a core"
        return Fact("physical", logical // 2, "cores", "logical / 2", note, limiting=False)
    return Fact("physical", 1, "cores", "assumed", limiting=False)


def _physical(host: Host, *, load_psutil: bool) -> Iterator[tuple[int | None, str]]:
    yield host.system.physical_cores(load=load_psutil or not host.linux), "psutil"
    if host.linux:
        yield _sysfs_cores(host), "/sys/devices/system/cpu/*/topology/core_cpus_list"
        yield _cpuinfo_cores(host.read("/proc/cpuinfo")), "/proc/cpuinfo"
        yield _lscpu_cores(host.system.lscpu()), "lscpu"
    yield host.system.sysctl("hw.physicalcpu"), "sysctl hw.physicalcpu"


def _sysfs_cores(host: Host) -> int | None:
    """Count the distinct sets of CPUs that share a core."""
    online = cpu_list(host.read("/sys/devices/system/cpu/online"))
    cores: set[str] = set()
    for cpu in sorted(online or ()):
        base = f"/sys/devices/system/cpu/cpu{cpu}/topology"
        text = host.read(f"{base}/core_cpus_list") or host.read(f"{base}/thread_siblings_list")
        if cpu_list(text) is None:
            return None
        cores.add((text or "").strip())
    return len(cores) or None


def _cpuinfo_cores(text: str | None) -> int | None:
    """Count distinct (socket, core) pairs; core numbers repeat from socket to socket."""
    pairs: set[tuple[str, str]] = set()
    for block in (text or "").split("\n\n"):
        rows = table(block, ":")
        if "core id" in rows:
            pairs.add((rows.get("physical id", "0"), rows["core id"]))
    return len(pairs) or None


def _lscpu_cores(text: str | None) -> int | None:
    """Count distinct lines of ``core,socket``; comment lines start with #."""
    rows = {line.strip() for line in (text or "").splitlines() if not line.startswith("#")}
    numbered = {row for row in rows if row and row.replace(",", "").isdigit()}
    return len(numbered) or None


def _affinity(host: Host) -> list[Fact]:
    if host.pid is None:
        cpus = host.system.affinity()
        if cpus:
            return [Fact("affinity", len(cpus), "cores", "os.sched_getaffinity(0)")]
    allowed = cpu_list(table(host.read(f"{host.proc}/status"), ":").get("Cpus_allowed_list"))
    if allowed:
        source = f"{host.proc}/status Cpus_allowed_list"
        return [Fact("affinity", len(allowed), "cores", source)]
    return []


def allowed_cpus(host: Host) -> frozenset[int] | None:
    """Return the CPUs this process may run on; ``None`` where there is no such notion."""
    cpus = host.system.affinity() if host.pid is None else None
    if cpus:
        return cpus
    return cpu_list(table(host.read(f"{host.proc}/status"), ":").get("Cpus_allowed_list"))
