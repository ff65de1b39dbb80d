"""How busy the machine is with other work now; a busy core is one that a worker will not get."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import NamedTuple

from amorsize.probes.cores import allowed_cpus, logical_cores
from amorsize.probes.facts import Fact
from amorsize.probes.host import Host
from amorsize.probes.parse import whole

# /proc/stat counts in ticks of 10 ms: over less than this the rounding is the result.
MIN_WINDOW_S = 0.1

# A window that began long ago says nothing about now.
MAX_WINDOW_S = 10.0

_MOMENT_S = 0.0005

# A program with more has other worries; reading their counters would take too long.
_MAX_DESCENDANTS = 512

# Looking at each task takes some 20 us; with more of them their load is taken to be spread evenly.
_MOST_LOOKED_AT = 512

# Of the fields of a task's stat after its command: how many threads, and on which CPU.
_THREADS, _PROCESSOR = 17, 36


class Contention(NamedTuple):
    """The load by others, on the CPUs this process may use."""

    load1: float | None
    """Load average over one minute, tasks, of the whole host; this process counts too."""

    load5: float | None
    """Load average over five minutes."""

    load15: float | None
    """Load average over fifteen minutes."""

    steal: float | None
    """Fraction (0-1) of CPU time that the hypervisor withheld during the window."""

    foreign_cores: float
    """Cores among this process's that others keep busy."""

    cpus: int
    """CPUs that this process may run on, those of ``foreign_cores``. More than its cores where a
    quota or a share of a parent's limits these: then others on the rest take nothing from it."""

    window_s: float | None
    """Seconds over which ``steal`` and ``foreign_cores`` were measured.

    ``None`` when there was no earlier reading to compare with: then ``foreign_cores`` is
    estimated from the load average and the tasks running at this instant.
    """

    facts: tuple[Fact, ...] = ()
    """The same numbers with their sources."""

    def taken(self, cores: float) -> float:
        """Of so many cores that this process may use, how many others keep busy: those that do not
        fit on the CPUs beyond.
        """
        return min(cores, max(0.0, self.foreign_cores - max(0.0, self.cpus - cores)))

    def to_dict(self) -> dict[str, object]:
        """Return the contention as plain data for JSON."""
        return {
            "load1": self.load1,
            "load5": self.load5,
            "load15": self.load15,
            "steal": self.steal,
            "foreign_cores": self.foreign_cores,
            "cpus": self.cpus,
            "window_s": self.window_s,
            "facts": [fact.to_dict() for fact in self.facts],
        }


class Sample(NamedTuple):
    """CPU time counted up to one moment."""

    at_s: float
    """Clock in seconds."""

    busy_s: float
    """CPU seconds spent on the allowed CPUs by anyone, without steal."""

    steal_s: float
    """CPU seconds withheld by the hypervisor on the allowed CPUs."""

    own_s: float
    """CPU seconds of this process, its living descendants and those it has reaped."""

    cpus: int
    """CPUs counted."""

    idle_s: float = 0.0
    """Seconds that nobody used the allowed CPUs."""


def contention(
    host: Host, before: Sample | None = None, clock: Callable[[], float] = time.monotonic
) -> tuple[Contention, Sample | None]:
    """Return the contention since the reading ``before``, and the present reading.

    Two readings some time apart measure what others used in between; one alone cannot, and
    waiting for a second one would cost more than planning itself.
    """
    loads = _loads(host)
    now = sample(host, clock)
    facts = [
        Fact(f"load-{minutes}min", load, "tasks", _LOAD_SOURCE, limiting=False)
        for minutes, load in zip((1, 5, 15), loads or (), strict=False)
    ]
    window = now.at_s - before.at_s if now is not None and before is not None else 0.0
    steal: float | None = None
    if now is not None and before is not None and MIN_WINDOW_S <= window <= MAX_WINDOW_S:
        foreign, steal = _between(before, now, window)
        note = f"used by others during the last {window:.2g} s"
        facts.append(Fact("steal", steal, "fraction", "/proc/stat", note, limiting=False))
        facts.append(Fact("foreign", foreign, "cores", "/proc/stat", note, limiting=False))
    else:
        window = 0.0
        foreign = _estimated(host, loads)
        note = "estimated from the load average and the tasks running now"
        facts.append(Fact("foreign", foreign, "cores", _LOAD_SOURCE, note, limiting=False))
    load1, load5, load15 = loads or (None, None, None)
    cpus = len(allowed_cpus(host) or ()) or int(logical_cores(host).value)
    found = Contention(load1, load5, load15, steal, foreign, cpus, window or None, tuple(facts))
    return found, now


_LOAD_SOURCE = "/proc/loadavg or os.getloadavg()"


def sample(host: Host, clock: Callable[[], float] = time.monotonic) -> Sample | None:
    """Read the CPU time counters of the allowed CPUs; ``None`` where there is no /proc/stat."""
    if not host.linux:
        return None
    allowed = allowed_cpus(host)
    tick = 1.0 / max(1, host.system.clock_ticks())
    busy = steal = idle = counted = 0
    for line in (host.read("/proc/stat") or "").splitlines():
        name, *words = line.split() or [""]
        cpu = whole(name[3:]) if name.startswith("cpu") else None
        if cpu is None or (allowed is not None and cpu not in allowed):
            continue
        ticks = [whole(word) or 0 for word in words[:8]]
        if len(ticks) < 8:
            continue
        # user nice system idle iowait irq softirq steal; guest time is part of user.
        busy += sum(ticks[:3]) + sum(ticks[5:7])
        steal += ticks[7]
        idle += sum(ticks[3:5])
        counted += 1
    if not counted:
        return None
    own = host.system.cpu_seconds() + _descendants_ticks(host) * tick
    return Sample(clock(), busy * tick, steal * tick, own, counted, idle * tick)


def _descendants_ticks(host: Host) -> int:
    """Return the CPU ticks of living descendants: one's own workers are no foreign load.

    Kernels built without lists of children tell nothing; then own workers that are busy
    count as foreign.
    """
    ticks = 0
    waiting = [host.proc]
    seen: set[str] = set()
    while waiting and len(seen) < _MAX_DESCENDANTS:
        process = waiting.pop()
        for task in host.entries(f"{process}/task"):
            children = (host.read(f"{process}/task/{task}/children") or "").split()
            fresh = [child for child in children if child.isdigit() and child not in seen]
            seen.update(fresh)
            waiting += [f"/proc/{child}" for child in fresh]
    for child in seen:
        # User, system and their sums over reaped children.
        ticks += sum(whole(word) or 0 for word in _fields(host, f"/proc/{child}")[11:15])
    return ticks


def _between(before: Sample, now: Sample, window: float) -> tuple[float, float]:
    others = (now.busy_s - before.busy_s) - (now.own_s - before.own_s)
    stolen = max(0.0, now.steal_s - before.steal_s)
    cpus = max(1, now.cpus)
    foreign = min(max(0.0, others / window), float(cpus))
    return foreign, min(1.0, stolen / window / cpus)


def _loads(host: Host) -> tuple[float, float, float] | None:
    words = (host.read("/proc/loadavg") or "").split()[:3] if host.linux else []
    try:
        one, five, fifteen = (float(word) for word in words)
    except ValueError:
        return host.system.loadavg()
    if not all(0 <= load < 1e9 for load in (one, five, fifteen)):
        return None
    return one, five, fifteen


def _estimated(host: Host, loads: tuple[float, float, float] | None) -> float:
    """Return the smaller of the load average and the other tasks running at this instant.

    Either alone misleads: the average remembers this program's own last run for minutes,
    and one instant may catch a task that runs for a millisecond.
    """
    if loads is None:
        return 0.0
    others = _others_running(host)
    if others:  # a task of a moment is gone at a second look
        time.sleep(_MOMENT_S)
        others = min(others, _others_running(host) or 0)
    busy = loads[0] if others is None else min(loads[0], others)
    logical = logical_cores(host).value
    allowed = allowed_cpus(host)
    if not allowed or len(allowed) >= logical:
        return min(busy, logical)
    near = _running_on(host, allowed) if busy else 0
    return min(busy, logical) * len(allowed) / logical if near is None else min(busy, near)


def _fields(host: Host, task: str) -> list[str]:
    """What a task's stat says after its command, which is in brackets and may hold blanks; nothing
    of one that has ended.
    """
    return (host.read(f"{task}/stat") or "").rpartition(")")[2].split()


def _running_on(host: Host, allowed: frozenset[int]) -> int | None:
    """Return how many tasks of other processes are on the allowed CPUs or wait for them: where a
    process is bound to some CPUs, the load of the machine may be on all others. ``None`` if there
    are too many tasks to look at each. Containers do not see those of others: what is not seen
    counts as idle, as a run whose workers get less than they were promised notices that.
    """
    running = looked = 0
    own = str(host.pid or os.getpid())
    waiting = [f"/proc/{name}" for name in host.entries("/proc") if name.isdigit() and name != own]
    while waiting:
        looked += 1
        if looked + len(waiting) > _MOST_LOOKED_AT:
            return None
        task = waiting.pop()
        fields = _fields(host, task)
        if len(fields) <= _PROCESSOR:
            continue  # it has ended
        is_process = task.count("/") == 2
        if is_process and (whole(fields[_THREADS]) or 1) > 1:
            waiting += [f"{task}/task/{thread}" for thread in host.entries(f"{task}/task")]
        else:
            running += fields[0] == "R" and whole(fields[_PROCESSOR]) in allowed
    return running


def _others_running(host: Host) -> int | None:
    """Return how many tasks run at this instant that are no threads of this process (those of
    a numerical library go on for a while after they were used); ``None`` if it is not told.
    """
    words = (host.read("/proc/loadavg") or "").split() if host.linux else []
    running = whole(words[3].partition("/")[0]) if len(words) > 3 else None
    if running is None:
        return None
    own = 0
    for task in host.entries(f"{host.proc}/task"):
        own += _fields(host, f"{host.proc}/task/{task}")[:1] == ["R"]
    return max(0, running - max(1, own))
