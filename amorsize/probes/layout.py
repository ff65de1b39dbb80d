"""How the host's CPUs are arranged: sockets, NUMA nodes, shared cores, caches, core kinds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

from amorsize.probes.cores import logical_cores, physical_cores
from amorsize.probes.facts import Fact
from amorsize.probes.host import Host
from amorsize.probes.parse import cpu_list, positive, sized, table, whole

_CPUS = "/sys/devices/system/cpu"
_NODES = "/sys/devices/system/node"


@dataclass(frozen=True)
class Cache:
    """One kind of cache, of which the host has one or several."""

    level: int
    """1 is closest to the core."""

    kind: str
    """``data``, ``instruction`` or ``unified``."""

    size_bytes: int
    """Bytes of one such cache."""

    line_bytes: int | None
    """Bytes that it loads at once."""

    shared_by: int
    """Logical CPUs that share one."""

    count: int
    """How many of them the host has."""


@dataclass(frozen=True)
class Node:
    """A NUMA node: CPUs with memory of their own."""

    number: int
    """The kernel's number."""

    cpus: tuple[int, ...]
    """Its logical CPUs."""

    memory_bytes: int | None
    """Its memory in bytes; ``None`` where not told."""


@dataclass(frozen=True)
class Topology:
    """The arrangement of the host's CPUs, as far as the system shows it."""

    sockets: int
    """Processor packages."""

    physical_cores: int
    """Physical cores."""

    logical_cores: int
    """Logical CPUs."""

    siblings: tuple[tuple[int, ...], ...]
    """Groups of logical CPUs that share a core; empty where not visible."""

    nodes: tuple[Node, ...]
    """NUMA nodes; empty where not visible."""

    caches: tuple[Cache, ...]
    """Kinds of cache, smallest level first; empty where not visible."""

    performance_cpus: tuple[int, ...]
    """Logical CPUs of the fast kind, on hosts that have two kinds and show them."""

    efficiency_cpus: tuple[int, ...]
    """Logical CPUs of the slow kind, likewise."""

    facts: tuple[Fact, ...]
    """The counts with their sources."""

    def to_dict(self) -> dict[str, object]:
        """Return the topology as plain data for JSON."""
        return asdict(self)


def read_topology(host: Host | None = None) -> Topology:
    """Read the host's topology; not cached, some milliseconds on a large host."""
    host = host or Host()
    logical = logical_cores(host)
    physical = physical_cores(host)
    online = sorted(cpu_list(host.read(f"{_CPUS}/online")) or ()) if host.linux else []
    sockets = _sockets(host, online)
    fast, slow = _kinds(host, online)
    return Topology(
        sockets=int(sockets.value),
        physical_cores=int(physical.value),
        logical_cores=int(logical.value),
        siblings=_siblings(host, online),
        nodes=tuple(_nodes(host)),
        caches=_caches(host, online) or _mac_caches(host),
        performance_cpus=fast,
        efficiency_cpus=slow,
        facts=(logical, physical, sockets),
    )


def _sockets(host: Host, online: list[int]) -> Fact:
    path = "topology/physical_package_id"
    numbers = {host.read(f"{_CPUS}/cpu{cpu}/{path}") for cpu in online}
    known = {number.strip() for number in numbers if number and whole(number) is not None}
    if known:
        source = f"{_CPUS}/*/{path}"
        return Fact("sockets", len(known), "sockets", source, limiting=False)
    packages = host.system.sysctl("hw.packages")
    if packages:
        return Fact("sockets", packages, "sockets", "sysctl hw.packages", limiting=False)
    return Fact("sockets", 1, "sockets", "assumed", limiting=False)


def _siblings(host: Host, online: list[int]) -> tuple[tuple[int, ...], ...]:
    groups: set[tuple[int, ...]] = set()
    for cpu in online:
        base = f"{_CPUS}/cpu{cpu}/topology"
        cpus = cpu_list(host.read(f"{base}/core_cpus_list")) or cpu_list(
            host.read(f"{base}/thread_siblings_list")
        )
        if cpus:
            groups.add(tuple(sorted(cpus)))
    return tuple(sorted(groups))


def _nodes(host: Host) -> Iterator[Node]:
    for name in host.entries(_NODES):
        number = whole(name.removeprefix("node")) if name.startswith("node") else None
        if number is None:
            continue
        cpus = tuple(sorted(cpu_list(host.read(f"{_NODES}/{name}/cpulist")) or ()))
        # "Node 0 MemTotal:  24684084 kB"
        rows = (host.read(f"{_NODES}/{name}/meminfo") or "").replace(f"Node {number} ", "")
        words = table(rows, ":").get("MemTotal", "").split()
        kibibytes = whole(words[0]) if words else None
        yield Node(number, cpus, None if kibibytes is None else kibibytes * 1024)


def _caches(host: Host, online: list[int]) -> tuple[Cache, ...]:
    seen: dict[tuple[int, str, int, int | None, int], set[str]] = {}
    for cpu in online:
        base = f"{_CPUS}/cpu{cpu}/cache"
        for index in host.entries(base):
            where = f"{base}/{index}"
            level = positive(host.read(f"{where}/level"))
            size = sized(host.read(f"{where}/size"))
            kind = (host.read(f"{where}/type") or "").strip().lower()
            sharing = (host.read(f"{where}/shared_cpu_list") or "").strip()
            if level is None or size is None or kind not in ("data", "instruction", "unified"):
                continue
            line = positive(host.read(f"{where}/coherency_line_size"))
            key = (level, kind, size, line, len(cpu_list(sharing) or {cpu}))
            seen.setdefault(key, set()).add(sharing or str(cpu))
    return tuple(
        Cache(level, kind, size, line, shared, len(places))
        for (level, kind, size, line, shared), places in sorted(seen.items(), key=_by_level)
    )


def _by_level(item: tuple[tuple[int, str, int, int | None, int], set[str]]) -> tuple[int, str, int]:
    level, kind, size, _, _ = item[0]
    return level, kind, size


def last_level_bytes(host: Host) -> int | None:
    """Return the size of the largest cache that the first CPU sees, in bytes."""
    caches = _caches(host, [0]) or _mac_caches(host)
    return max((cache.size_bytes for cache in caches), default=None)


def _mac_caches(host: Host) -> tuple[Cache, ...]:
    line = host.system.sysctl("hw.cachelinesize")
    found = [
        Cache(level, kind, size, line, 1, 1)
        for level, kind, name in _MAC_CACHES
        if (size := host.system.sysctl(name))
    ]
    return tuple(found)


_MAC_CACHES = (
    (1, "data", "hw.l1dcachesize"),
    (1, "instruction", "hw.l1icachesize"),
    (2, "unified", "hw.l2cachesize"),
    (3, "unified", "hw.l3cachesize"),
)


def _kinds(host: Host, online: list[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the fast and the slow CPUs of a hybrid processor; nothing for a uniform one."""
    fast = cpu_list(host.read("/sys/devices/cpu_core/cpus"))
    slow = cpu_list(host.read("/sys/devices/cpu_atom/cpus"))
    if fast and slow:  # Intel
        return tuple(sorted(fast)), tuple(sorted(slow))
    capacities = {
        cpu: capacity
        for cpu in online
        if (capacity := positive(host.read(f"{_CPUS}/cpu{cpu}/cpu_capacity"))) is not None
    }
    if len(set(capacities.values())) > 1:  # Arm
        top = max(capacities.values())
        return (
            tuple(cpu for cpu, capacity in capacities.items() if capacity == top),
            tuple(cpu for cpu, capacity in capacities.items() if capacity < top),
        )
    return _mac_kinds(host)


def _mac_kinds(host: Host) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """macOS tells how many of each kind there are, and lists efficiency cores first."""
    fast = host.system.sysctl("hw.perflevel0.logicalcpu") or 0
    slow = host.system.sysctl("hw.perflevel1.logicalcpu") or 0
    if not fast or not slow or fast + slow > 1 << 16:
        return (), ()
    return tuple(range(slow, slow + fast)), tuple(range(slow))
