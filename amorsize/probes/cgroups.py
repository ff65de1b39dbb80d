"""Which control groups hold this process, and what each of them and its ancestors allow."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from amorsize.probes.facts import Fact
from amorsize.probes.host import Host
from amorsize.probes.parse import byte_limit, cpu_list, table, whole

# The kernel refuses quotas below 1 ms and periods outside 1 ms - 1 s: such a value in the
# file is not one the kernel wrote.
_MIN_QUOTA_US = 1_000
_MAX_PERIOD_US = 1_000_000

# Blanks, tabs, newlines and backslashes in mountinfo; the backslash last.
_ESCAPES = (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\"))
_CONTROLLERS = ("cpu", "cpuset", "memory")

# Depth is bounded by the kernel only through the path length; a loop here needs its own end.
_MAX_DEPTH = 256


class Group(NamedTuple):
    """One control group directory that governs this process."""

    version: int
    """1 or 2."""

    path: str
    """Directory of its control files."""


class Mount(NamedTuple):
    """A mounted control group hierarchy."""

    version: int
    """1 or 2."""

    root: str
    """The group that the mount point shows."""

    point: str
    """Where it is mounted."""

    controllers: frozenset[str]
    """Controllers of a v1 hierarchy; empty for v2."""


def groups(host: Host, controller: str) -> tuple[Group, ...]:
    """Return the groups of ``controller`` (``cpu``, ``cpuset``, ``memory``), leaf first.

    v1 and v2 are both looked at, since hybrid systems have both: a controller lives in one
    of them, and the files of the other are simply absent.
    """
    return groups_of(host, controller)[0]


def groups_of(host: Host, *controllers: str) -> tuple[tuple[Group, ...], ...]:
    """Return the groups of several controllers; the system is asked once for all of them."""
    mounts, lines = _mounts(host), (host.read(f"{host.proc}/cgroup") or "").splitlines()
    return tuple(_groups(host, mounts, lines, controller) for controller in controllers)


def _groups(
    host: Host, mounts: list[Mount], lines: list[str], controller: str
) -> tuple[Group, ...]:
    found: list[Group] = []
    for version, path in _memberships(lines, controller):
        fitting = [
            mount
            for mount in mounts
            if mount.version == version and (version == 2 or controller in mount.controllers)
        ]
        for group in _chain(host, fitting, version, path):
            if group not in found:
                found.append(group)
    return tuple(found)


def cpu_facts(host: Host) -> Iterator[Fact]:
    """Yield the CPU quota and the CPU set of every group above this process that has one."""
    cpu, cpuset = groups_of(host, "cpu", "cpuset")
    for group in cpu:
        quota = _quota_v2(host, group) if group.version == 2 else _quota_v1(host, group)
        if quota is not None:
            yield quota
    for group in cpuset:
        names = (
            ("cpuset.cpus.effective",)
            if group.version == 2
            else ("cpuset.effective_cpus", "cpuset.cpus")
        )
        for name in names:
            cpus = cpu_list(host.read(f"{group.path}/{name}"))
            if cpus:
                yield Fact(
                    f"cgroup-v{group.version}-cpuset", len(cpus), "cores", f"{group.path}/{name}"
                )
                break


def memory_facts(host: Host) -> Iterator[Fact]:
    """Yield what each group above this process leaves, in bytes: its limit less what is in use.

    In use is the working set: usage less the inactive file cache, which the kernel reclaims
    before it kills anything.
    """
    unlimited = False
    for group in groups(host, "memory"):
        if group.version == 2:
            yield from _memory_v2(host, group)
        elif not unlimited:
            stat = table(host.read(f"{group.path}/memory.stat"))
            # The kernel knows the least limit of a group and its ancestors, also of those that a
            # container does not see.
            least = stat.get("hierarchical_memory_limit")
            unlimited = whole(least) is not None and byte_limit(least) is None
            if not unlimited:
                yield from _memory_v1(host, group, stat)


def _quota_v2(host: Host, group: Group) -> Fact | None:
    path = f"{group.path}/cpu.max"
    words = (host.read(path) or "").split()
    if not 1 <= len(words) <= 2:
        return None
    return _quota(words[0], words[1] if len(words) == 2 else "100000", 2, path)


def _quota_v1(host: Host, group: Group) -> Fact | None:
    path = f"{group.path}/cpu.cfs_quota_us"
    return _quota(host.read(path), host.read(f"{group.path}/cpu.cfs_period_us"), 1, path)


def _quota(quota_text: str | None, period_text: str | None, version: int, path: str) -> Fact | None:
    quota, period = whole(quota_text), whole(period_text)
    if quota is None or period is None:
        return None  # "max" in v2, -1 in v1: no quota
    if not _MIN_QUOTA_US <= period <= _MAX_PERIOD_US or not _MIN_QUOTA_US <= quota < 1 << 50:
        return None
    note = f"{quota} us of CPU time every {period} us"
    return Fact(f"cgroup-v{version}-quota", quota / period, "cores", path, note)


def _memory_v2(host: Host, group: Group) -> Iterator[Fact]:
    limits = {name: byte_limit(host.read(f"{group.path}/{name}")) for name in _V2_MEMORY}
    if all(limit is None for limit in limits.values()):
        return
    usage = whole(host.read(f"{group.path}/memory.current"))
    cache = whole(table(host.read(f"{group.path}/memory.stat")).get("inactive_file"))
    for name, limit in limits.items():
        if limit is not None:
            short = name.partition(".")[2]
            yield _left(f"cgroup-v2-{short}", f"{group.path}/{name}", limit, usage, cache)


_V2_MEMORY = ("memory.max", "memory.high")


def _memory_v1(host: Host, group: Group, stat: Mapping[str, str]) -> Iterator[Fact]:
    path = f"{group.path}/memory.limit_in_bytes"
    limit = byte_limit(host.read(path))
    inherited = byte_limit(stat.get("hierarchical_memory_limit"))
    if inherited is not None and (limit is None or inherited < limit):
        limit, path = inherited, f"{group.path}/memory.stat"
    if limit is None:
        return
    usage = whole(host.read(f"{group.path}/memory.usage_in_bytes"))
    cache = whole(stat.get("total_inactive_file"))
    yield _left("cgroup-v1-limit", path, limit, usage, cache)


def _left(name: str, path: str, limit: int, usage: int | None, cache: int | None) -> Fact:
    used = max(0, (usage or 0) - (cache or 0))
    note = f"limit {limit} bytes, working set {used} bytes"
    return Fact(name, max(0, limit - used), "bytes", path, note)


def _memberships(lines: list[str], controller: str) -> list[tuple[int, str]]:
    """Return (version, path) of the process's groups that may carry the controller."""
    found: list[tuple[int, str]] = []
    for line in lines:
        number, _, rest = line.partition(":")
        names, colon, path = rest.partition(":")
        if not colon or not path.startswith("/"):
            continue
        if number == "0" and not names:
            found.append((2, path))
        elif controller in names.split(","):
            found.append((1, path))
    # Unreadable membership: the mount points themselves are the best that is left.
    return found or [(1, "/"), (2, "/")]


def _mounts(host: Host) -> list[Mount]:
    found = [
        mount
        for line in (host.read(f"{host.proc}/mountinfo") or "").splitlines()
        if "cgroup" in line and (mount := _mount(line)) is not None
    ]
    return found or _usual_mounts(host)


def _mount(line: str) -> Mount | None:
    """Parse one line of mountinfo: ``36 35 98:0 /root /point opts [fields] - type src super``."""
    before, _, after = line.partition(" - ")
    left, right = before.split(), after.split()
    if len(left) < 5 or not right or right[0] not in ("cgroup", "cgroup2"):
        return None
    version = 2 if right[0] == "cgroup2" else 1
    names = frozenset(right[-1].split(",")) & frozenset(_CONTROLLERS)
    return Mount(version, _plain(left[3]), _plain(left[4]), names if version == 1 else frozenset())


def _plain(text: str) -> str:
    """Undo the octal escapes of mountinfo."""
    if "\\" in text:
        for escape, character in _ESCAPES:
            text = text.replace(escape, character)
    return text


def _usual_mounts(host: Host) -> list[Mount]:
    """Guess the usual places; for sandboxes that hide mountinfo."""
    base = "/sys/fs/cgroup"
    found = [Mount(2, "/", base, frozenset())]
    found += [
        Mount(1, "/", f"{base}/{name}", frozenset({name}))
        for name in _CONTROLLERS
        if host.is_dir(f"{base}/{name}")
    ]
    return found


def _chain(host: Host, mounts: list[Mount], version: int, path: str) -> Iterator[Group]:
    """Yield the group at ``path`` and its ancestors as far as a mount shows them."""
    above = [mount for mount in mounts if _below(mount.root, path) is not None]
    for mount in above or mounts[:1]:
        relative = _visible(host, mount, path)
        for _ in range(_MAX_DEPTH):
            yield Group(version, posixpath.join(mount.point, relative).rstrip("/") or "/")
            if not relative:
                break
            relative = posixpath.dirname(relative)


def _below(root: str, path: str) -> str | None:
    """Return ``path`` relative to ``root``, or ``None`` when it lies elsewhere."""
    root = root.rstrip("/")
    if path == root or path.startswith(root + "/"):
        return path[len(root) :].strip("/")
    return None


def _visible(host: Host, mount: Mount, path: str) -> str:
    """Return the part of ``path`` that exists below the mount point.

    A container whose cgroup file still shows the host's path, or one that moved to another
    group after the mount was made, has only the tail of that path below its mount, or
    nothing of it. Then the mount point is the container's own group.
    """
    relative = _below(mount.root, path)
    if relative is None:
        relative = path.strip("/")
    parts = [part for part in relative.split("/") if part]
    if ".." in parts:  # the group lies outside this control group namespace
        return ""
    while parts:
        candidate = "/".join(parts)
        if host.is_dir(f"{mount.point}/{candidate}"):
            return candidate
        parts.pop(0)
    return ""
