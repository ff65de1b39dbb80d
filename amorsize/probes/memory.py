"""How much memory this process and its workers may still use: every limit less what is used."""

from __future__ import annotations

from collections.abc import Iterator

from amorsize.probes import cgroups, schedulers
from amorsize.probes.facts import Fact
from amorsize.probes.host import Host
from amorsize.probes.parse import UNLIMITED, table, whole


def memory_facts(host: Host) -> tuple[Fact, ...]:
    """Return every limit on memory shared by this process and its workers, in bytes left.

    The host's available memory comes first, then control groups, then schedulers.
    """
    facts = list(_available(host))
    if host.linux:
        facts += cgroups.memory_facts(host)
    for fact in schedulers.memory_facts(host):
        resident = _resident(host)
        left = max(0, int(fact.value) - resident)
        note = f"limit {fact.value:.0f} bytes, {resident} used by this process"
        facts.append(Fact(fact.name, left, "bytes", fact.source, note))
    return tuple(facts)


def process_facts(host: Host) -> tuple[Fact, ...]:
    """Return the limits each process has for itself (``ulimit -v``, ``ulimit -d``), in bytes left.

    They are inherited by workers, so that each worker has such a limit of its own.
    """
    limits = host.system.rlimits()
    status = table(host.read(f"{host.proc}/status"), ":") if limits and host.linux else {}
    facts: list[Fact] = []
    for name, field in (("RLIMIT_AS", "VmSize"), ("RLIMIT_DATA", "VmData")):
        limit = limits.get(name)
        if limit is None:
            continue
        used = _kibibytes(status.get(field)) or 0
        note = f"limit {limit} bytes for each process, {used} used by this one"
        facts.append(Fact(name, max(0, limit - used), "bytes", f"getrlimit({name})", note))
    return tuple(facts)


def _available(host: Host) -> Iterator[Fact]:
    info = table(host.read("/proc/meminfo"), ":") if host.linux else {}
    available = _kibibytes(info.get("MemAvailable"))
    if available is not None:
        yield Fact("host-available", available, "bytes", "/proc/meminfo MemAvailable")
        return
    parts = [_kibibytes(info.get(name)) for name in ("MemFree", "Buffers", "Cached")]
    if parts[0] is not None:  # kernels before 3.14
        total = sum(part for part in parts if part is not None)
        yield Fact("host-available", total, "bytes", "/proc/meminfo MemFree + Buffers + Cached")
        return
    asked = host.system.available_memory()
    if asked is not None and asked >= 0:
        yield Fact("host-available", asked, "bytes", "operating system")


def _resident(host: Host) -> int:
    words = (host.read(f"{host.proc}/statm") or "").split() if host.linux else []
    pages = whole(words[1]) if len(words) > 1 else None
    return (pages or 0) * host.system.page_size()


def _kibibytes(text: str | None) -> int | None:
    """Return the bytes of a ``123 kB`` field."""
    words = (text or "").split()
    number = whole(words[0]) if words else None
    return number * 1024 if number is not None and number < UNLIMITED // 1024 else None
