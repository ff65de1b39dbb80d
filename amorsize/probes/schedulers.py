"""What a job scheduler or an operator granted this process through variables and small files."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from amorsize.probes.facts import Fact
from amorsize.probes.host import Host
from amorsize.probes.parse import positive, positive_float, sized, table, whole

_MEBIBYTE = 1 << 20
_KIBIBYTE = 1 << 10

_MAX_NODES = 1 << 17

# The paths and names that Kubernetes' own documentation of the downward API uses.
_POD_FILES = ("/etc/podinfo/cpu_limit",)
_POD_VARIABLES = ("MY_CPU_LIMIT", "CPU_LIMIT", "KUBERNETES_CPU_LIMIT")

_OPERATOR_LIMITS = ("PYTHON_CPU_COUNT", "LOKY_MAX_CPU_COUNT", "AMORSIZE_MAX_WORKERS")


def cpu_facts(host: Host) -> Iterator[Fact]:
    """Yield the cores granted by each scheduler that left a trace, then by the operator."""
    for read in _CPU_READERS:
        fact = read(host)
        if fact is not None:
            yield fact
    for name in _OPERATOR_LIMITS:
        count = positive(host.variable(name))
        if count is not None:
            yield Fact(name, count, "cores", f"${name}")


def memory_facts(host: Host) -> Iterator[Fact]:
    """Yield the bytes a scheduler granted to this job on this host, before any use."""
    per_node = sized(host.variable("SLURM_MEM_PER_NODE"), unit=_MEBIBYTE)
    if per_node is not None:
        yield Fact("slurm-memory", per_node, "bytes", "$SLURM_MEM_PER_NODE")
    per_cpu = sized(host.variable("SLURM_MEM_PER_CPU"), unit=_MEBIBYTE)
    cpus = _slurm(host)
    if per_cpu is not None and cpus is not None:
        total = int(per_cpu * cpus.value)
        note = f"{per_cpu} bytes for each of {cpus.value:g} CPUs"
        yield Fact("slurm-memory", total, "bytes", "$SLURM_MEM_PER_CPU", note)
    machine = _condor_slot(host).get("Memory")
    condor = sized(machine, unit=_MEBIBYTE)
    if condor is not None:
        yield Fact("htcondor-memory", condor, "bytes", "$_CONDOR_MACHINE_AD")
    lsf = sized(host.variable("LSB_MEMLIMIT"), unit=_KIBIBYTE)
    if lsf is not None:
        yield Fact("lsf-memory", lsf, "bytes", "$LSB_MEMLIMIT")


def _variable(host: Host, label: str, names: tuple[str, ...]) -> Fact | None:
    """Return the first of several variables that holds a positive count."""
    for name in names:
        count = positive(host.variable(name))
        if count is not None:
            return Fact(label, count, "cores", f"${name}")
    return None


def _slurm(host: Host) -> Fact | None:
    per_task = _variable(host, "slurm", ("SLURM_CPUS_PER_TASK",))
    if per_task is not None:
        return per_task
    nodes = positive(host.variable("SLURM_JOB_NUM_NODES") or host.variable("SLURM_NNODES"))
    if (nodes or 1) == 1:  # rounded up by SLURM when the job spans several nodes
        on_node = _variable(host, "slurm", ("SLURM_CPUS_ON_NODE",))
        if on_node is not None:
            return on_node
    counts = _slurm_counts(host.variable("SLURM_JOB_CPUS_PER_NODE"))
    index = whole(host.variable("SLURM_NODEID")) or 0
    if counts is None or index >= len(counts):
        return None
    return Fact("slurm", counts[index], "cores", "$SLURM_JOB_CPUS_PER_NODE")


def _slurm_counts(text: str | None) -> list[int] | None:
    """Return the CPUs of each node; ``40(x2),8`` is two nodes with 40 and a third with 8."""
    counts: list[int] = []
    for part in (text or "").split(","):
        cpus, repeated, times = part.strip().removesuffix(")").partition("(x")
        count, nodes = positive(cpus), positive(times) if repeated else 1
        if count is None or nodes is None or nodes + len(counts) > _MAX_NODES:
            return None
        counts += [count] * nodes
    return counts


def _pbs(host: Host) -> Fact | None:
    """PBS and TORQUE; NCPUS is too common a name to believe outside a job."""
    inside = host.variable("PBS_JOBID") or host.variable("PBS_ENVIRONMENT")
    return _variable(host, "pbs", ("PBS_NUM_PPN", "NCPUS") if inside else ("PBS_NUM_PPN",))


def _lsf(host: Host) -> Fact | None:
    """LSF lists slots as ``host slots host slots``; only this host's count here."""
    words = (host.variable("LSB_MCPU_HOSTS") or "").split()
    slots = _own_slots(host, list(zip(words[::2], words[1::2], strict=False)))
    if slots is not None:
        return Fact("lsf", slots, "cores", "$LSB_MCPU_HOSTS")
    return _variable(host, "lsf", ("LSB_DJOB_NUMPROC", "LSB_MAX_NUM_PROCESSORS"))


def _sge(host: Host) -> Fact | None:
    """Grid Engine: the parallel environment's file has ``host slots queue range`` lines."""
    path = host.variable("PE_HOSTFILE")
    rows = [line.split()[:2] for line in (host.read(path) or "").splitlines()] if path else []
    slots = _own_slots(host, [(row[0], row[1]) for row in rows if len(row) == 2])
    if slots is not None:
        return Fact("sge", slots, "cores", "$PE_HOSTFILE")
    return _variable(host, "sge", ("NSLOTS",))


def _own_slots(host: Host, rows: list[tuple[str, str]]) -> int | None:
    """Return this host's slots; a list of a single host needs no matching of names."""
    own = host.system.hostname().partition(".")[0]
    for name, slots in rows:
        if len(rows) == 1 or (own and name.partition(".")[0] == own):
            return positive(slots)
    return None


def _condor_slot(host: Host) -> dict[str, str]:
    path = host.variable("_CONDOR_MACHINE_AD")
    return table(host.read(path), "=") if path else {}


def _condor(host: Host) -> Fact | None:
    cpus = positive(_condor_slot(host).get("Cpus"))
    if cpus is not None:
        return Fact("htcondor", cpus, "cores", "$_CONDOR_MACHINE_AD")
    # HTCondor sets OMP_NUM_THREADS to the slot's CPUs; elsewhere it is no limit on cores.
    inside = host.variable("_CONDOR_SLOT")
    return _variable(host, "htcondor", ("OMP_NUM_THREADS",)) if inside else None


def _fujitsu(host: Host) -> Fact | None:
    return _variable(host, "pjm", ("PJM_VNODE_CORE",))


def _kubernetes(host: Host) -> Fact | None:
    """The downward API's CPU limit, in cores or, with the divisor 1m, in thousandths.

    Nothing in the value tells the divisor. A number above the host's CPUs can only be
    thousandths: without a limit Kubernetes reports the node's own CPUs, never more.
    """
    sources = [(path, host.read(path)) for path in _POD_FILES]
    if host.variable("KUBERNETES_SERVICE_HOST"):
        sources += [(f"${name}", host.variable(name)) for name in _POD_VARIABLES]
    logical = host.system.cpu_count() or 1
    for source, text in sources:
        value = positive_float((text or "").strip().removesuffix("m"))
        if value is None:
            continue
        if (text or "").strip().endswith("m") or value > logical:
            return Fact("kubernetes", value / 1000, "cores", source, "read as thousandths")
        return Fact("kubernetes", value, "cores", source)
    return None


_CPU_READERS: tuple[Callable[[Host], Fact | None], ...] = (
    _slurm,
    _pbs,
    _lsf,
    _sge,
    _condor,
    _fujitsu,
    _kubernetes,
)
