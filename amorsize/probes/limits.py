"""What this process may use of the machine, all limits taken together, and which one binds."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from amorsize.probes import contention as load
from amorsize.probes.cores import core_facts, physical_cores, workers_for
from amorsize.probes.facts import Fact, mark_binding
from amorsize.probes.forking import start_methods
from amorsize.probes.host import Host
from amorsize.probes.memory import memory_facts, process_facts
from amorsize.probes.nesting import nested_share

# Memory and load change while a program runs; cores practically never do.
NOW_TTL_S = 1.0


class Limits(NamedTuple):
    """What this process may use, with every limit that was found."""

    cores: float
    """Cores' worth of CPU time; quotas make it fractional. Above 0."""

    workers: int
    """CPU-bound workers that ``cores`` can feed, rounded up. At least 1."""

    physical_cores: int
    """Physical cores of the host, whether or not this process may use them."""

    logical_cores: int
    """Logical CPUs of the host."""

    memory_bytes: int | None
    """Bytes available now under every limit found, so also the most a single process may
    take; ``None`` where unknown."""

    shared_memory_bytes: int | None
    """Bytes that this process and its workers may take together. More than ``memory_bytes``
    only where an rlimit binds, since each process has that for itself."""

    facts: tuple[Fact, ...]
    """Everything read, with sources; those that bind are marked."""

    binding_cpu: Fact
    """The limit that decides ``cores``."""

    binding_memory: Fact | None
    """The limit that decides ``memory_bytes``."""

    load: load.Contention
    """How busy the machine is with other work now."""

    start_methods: tuple[str, ...]
    """Ways to start processes here; Python's default first."""

    @property
    def busy_cores(self) -> float:
        """Of ``cores``, those that others keep busy now and that no spare CPU makes up for."""
        return self.load.taken(self.cores)

    @property
    def free_cores(self) -> float:
        """Cores that others leave idle now; never less than one, or ``cores`` if that is less."""
        return max(self.cores - self.busy_cores, min(1.0, self.cores))

    def workers_that_fit(self, worker_bytes: float) -> int:
        """Return how many workers of this many bytes each the memory holds, up to ``workers``.

        At least 1: whether a single worker may be tried in too little memory is for the
        planner to say, not for the probe.
        """
        if self.shared_memory_bytes is None or worker_bytes <= 0:
            return self.workers
        return max(1, min(self.workers, int(self.shared_memory_bytes / worker_bytes)))

    def to_dict(self) -> dict[str, object]:
        """Return the limits as plain data for JSON."""
        return {
            "cores": self.cores,
            "workers": self.workers,
            "physical_cores": self.physical_cores,
            "logical_cores": self.logical_cores,
            "memory_bytes": self.memory_bytes,
            "shared_memory_bytes": self.shared_memory_bytes,
            "facts": [fact.to_dict() for fact in self.facts],
            "binding_cpu": self.binding_cpu.to_dict(),
            "binding_memory": self.binding_memory.to_dict() if self.binding_memory else None,
            "load": self.load.to_dict(),
            "start_methods": list(self.start_methods),
        }


class Processor(NamedTuple):
    """The facts about the CPUs, which are read once."""

    limits: tuple[Fact, ...]
    """Limits on cores, the host's logical count first."""

    physical: Fact
    """The host's physical cores."""


def read_processor(host: Host) -> Processor:
    """Read the facts about the CPUs; the slow part of a first probe."""
    return Processor(core_facts(host), physical_cores(host, load_psutil=False))


class Prober:
    """Reads the limits of one host and remembers them.

    Facts about CPUs are kept until a refresh, memory and load for a second. Threads that
    ask at the same time wait for one reading.
    """

    def __init__(
        self,
        host: Host | None = None,
        *,
        measure: Callable[[Host], Processor] = read_processor,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._host = host or Host()
        self._measure = measure
        self._clock = clock
        self._processor: Processor | None = None
        self._sample: load.Sample | None = None
        self._cached: tuple[float, tuple[Fact, ...], Limits] | None = None
        self._lock = threading.Lock()

    def after_fork(self) -> None:
        """Forget, in a forked child, what holds for its parent only.

        The lock may be held by a thread that the child does not have, and the child's count
        of its own CPU time starts anew.
        """
        self._lock = threading.Lock()
        self._sample = None
        self._cached = None

    def limits(self, *, refresh: bool = False) -> Limits:
        """Return the limits; ``refresh`` reads everything again."""
        nested = nested_share(self._host.environ)
        if not refresh and (known := self._fresh(nested)) is not None:
            return known
        with self._lock:
            if not refresh and (known := self._fresh(nested)) is not None:
                return known
            if self._processor is None or refresh:
                self._host.system.forget()
                self._processor = self._measure(self._host)
            limits = self._assemble(self._processor, nested)
            self._cached = (self._clock() + NOW_TTL_S, nested, limits)
            return limits

    def _fresh(self, nested: tuple[Fact, ...]) -> Limits | None:
        cached = self._cached  # one read: another thread may replace it meanwhile
        if cached is None or cached[1] != nested or cached[0] <= self._clock():
            return None
        return cached[2]

    def _assemble(self, processor: Processor, nested: tuple[Fact, ...]) -> Limits:
        shared = memory_facts(self._host)
        own = process_facts(self._host)
        cpu, binding_cpu = mark_binding((*processor.limits, *nested))
        memory, binding_memory = mark_binding((*shared, *own))
        now, self._sample = load.contention(self._host, self._sample, self._clock)
        logical = processor.limits[0]
        cores = float((binding_cpu or logical).value)
        shared_bytes = min((int(fact.value) for fact in shared), default=None)
        total = int(binding_memory.value) if binding_memory else None
        return Limits(
            cores=cores,
            workers=workers_for(cores),
            physical_cores=int(processor.physical.value),
            logical_cores=int(logical.value),
            memory_bytes=total,
            shared_memory_bytes=shared_bytes,
            facts=(*cpu, processor.physical, *memory, *now.facts),
            binding_cpu=binding_cpu or logical,
            binding_memory=binding_memory,
            load=now,
            start_methods=start_methods(self._host.system.platform),
        )


_prober = Prober()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_prober.after_fork)


def limits(*, refresh: bool = False) -> Limits:
    """Return what this process may use: cores, workers, memory, with all limits found.

    Safe to call from any thread, and cheap: CPUs are read once, memory and load at most once
    a second. ``refresh=True`` reads everything again, for a program that changed its own
    affinity, say. Never raises for what the machine says.
    """
    return _prober.limits(refresh=refresh)
