"""No file, variable or answer, however malformed, makes the probes raise or give no core."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amorsize.probes import Host, System, fork_safety, nested_share
from amorsize.probes.layout import read_topology
from amorsize.probes.limits import Prober
from amorsize.probes.parse import byte_limit, cpu_list, positive_float, sized, whole

BASE = "/sys/fs/cgroup"
V1 = f"{BASE}/cpu,cpuacct/g"
FILES = [
    "/proc/self/cgroup",
    "/proc/self/mountinfo",
    "/proc/self/status",
    "/proc/self/statm",
    "/proc/self/maps",
    "/proc/meminfo",
    "/proc/loadavg",
    "/proc/stat",
    "/proc/cpuinfo",
    "/sys/devices/system/cpu/online",
    "/sys/devices/system/cpu/cpu0/topology/core_cpus_list",
    "/sys/devices/system/cpu/cpu0/topology/physical_package_id",
    "/sys/devices/system/cpu/cpu0/cache/index0/size",
    "/sys/devices/system/cpu/cpu0/cache/index0/level",
    "/sys/devices/system/cpu/cpu0/cache/index0/type",
    "/sys/devices/system/node/node0/meminfo",
    "/etc/podinfo/cpu_limit",
    "/spool/file",
    f"{BASE}/cpu.max",
    f"{BASE}/g/cpu.max",
    f"{BASE}/g/cpuset.cpus.effective",
    f"{BASE}/g/memory.max",
    f"{BASE}/g/memory.high",
    f"{BASE}/g/memory.current",
    f"{BASE}/g/memory.stat",
    f"{V1}/cpu.cfs_quota_us",
    f"{V1}/cpu.cfs_period_us",
    f"{BASE}/cpuset/g/cpuset.cpus",
    f"{BASE}/memory/g/memory.limit_in_bytes",
    f"{BASE}/memory/g/memory.usage_in_bytes",
    f"{BASE}/memory/g/memory.stat",
]
SOUND = {
    "/proc/self/cgroup": b"3:cpu,cpuacct:/g\n4:cpuset:/g\n5:memory:/g\n0::/g\n",
    "/proc/self/mountinfo": b"29 25 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
    b"31 25 0:31 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    b"32 25 0:32 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
    b"33 25 0:33 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
    "/sys/devices/system/cpu/online": b"0-3\n",
}
VARIABLES = [
    "SLURM_CPUS_PER_TASK",
    "SLURM_CPUS_ON_NODE",
    "SLURM_JOB_CPUS_PER_NODE",
    "SLURM_NNODES",
    "SLURM_NODEID",
    "SLURM_MEM_PER_NODE",
    "SLURM_MEM_PER_CPU",
    "PBS_JOBID",
    "NCPUS",
    "LSB_MCPU_HOSTS",
    "LSB_DJOB_NUMPROC",
    "LSB_MEMLIMIT",
    "NSLOTS",
    "PE_HOSTFILE",
    "_CONDOR_MACHINE_AD",
    "KUBERNETES_SERVICE_HOST",
    "CPU_LIMIT",
    "PYTHON_CPU_COUNT",
    "LOKY_MAX_CPU_COUNT",
    "AMORSIZE_MAX_WORKERS",
    "AMORSIZE_WORKER_SHARE",
]

nasty = st.sampled_from(
    [
        "",
        "max",
        "max 100000",
        "-1",
        "-1 100000",
        "0",
        "0-",
        "0-99999999999",
        "3-1",
        "9" * 400,
        "1e999",
        "nan",
        "inf",
        "0x10",
        "1 2 3",
        "\x00",
        "\u00b2",
        "\u0663",
        "::",
        "0::",
        "0::/../..",
        "0::" + "/a" * 3000,
        " - ",
        "1(x99999999)",
        "/spool/file",
        "/spool\x00file",
        "k: v",
        "MemAvailable: -5 kB",
        f"MemAvailable: {'9' * 30} kB",
        "cpu0 1 2 3",
        "cpu99999999999999999999 1 2 3 4 5 6 7 8",
    ]
)
texts = st.one_of(nasty, st.text(max_size=60), st.integers().map(str)).map(
    lambda text: text.encode("utf-8", "surrogatepass")
)
contents = st.one_of(texts, st.binary(max_size=200), st.lists(texts, max_size=4).map(b"\n".join))


class Recorded(Host):
    """A host whose files are in memory; ``None`` stands for one that may not be read."""

    def __init__(
        self, files: Mapping[str, bytes | None], environ: Mapping[str, str], system: System
    ) -> None:
        super().__init__("/nonexistent", environ, None, system)
        self._files = files

    def read(self, path: str) -> str | None:
        content = self._files.get(path)
        return None if content is None else content.decode("ascii", "replace")

    def entries(self, path: str) -> list[str]:
        names = {
            name.removeprefix(path + "/").split("/")[0]
            for name in self._files
            if name.startswith(path + "/")
        }
        return sorted(names)

    def is_dir(self, path: str) -> bool:
        return bool(self.entries(path))


class Strange(System):
    """Answers as a broken or unknown system may give them."""

    def __init__(self, platform: str, count: int | None, psutil_cores: int | None) -> None:
        self.platform = platform
        self._count = count
        self._cores = psutil_cores

    def cpu_count(self) -> int | None:
        return self._count

    def affinity(self) -> frozenset[int] | None:
        return frozenset() if self._cores == 0 else None

    def physical_cores(self, *, load: bool) -> int | None:
        return self._cores

    def lscpu(self) -> str | None:
        return "-1,,\n#\n\x00"

    def available_memory(self) -> int | None:
        return self._cores

    def loadavg(self) -> tuple[float, float, float] | None:
        return None

    def rlimits(self) -> dict[str, int]:
        return {"RLIMIT_AS": 0}


hosts: st.SearchStrategy[Host] = st.builds(
    lambda files, environ, system: Recorded({**SOUND, **files}, environ, system),
    st.dictionaries(st.sampled_from(FILES), st.one_of(st.none(), contents), max_size=14),
    st.dictionaries(
        st.sampled_from(VARIABLES),
        st.one_of(nasty, st.text(max_size=20), st.integers().map(str)),
        max_size=8,
    ),
    st.builds(
        Strange,
        st.sampled_from(["linux", "darwin", "win32", "freebsd14"]),
        st.sampled_from([None, 0, -1, 1, 4, 8192]),
        st.sampled_from([None, 0, -1, 2, 10**9]),
    ),
)

checked = settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))


@checked
@given(hosts)
def test_limits(host: Host) -> None:
    found = Prober(host).limits()
    assert found.cores > 0
    assert math.isfinite(found.cores)
    assert found.workers >= 1
    assert found.physical_cores >= 1
    assert found.logical_cores >= 1
    assert found.memory_bytes is None or found.memory_bytes >= 0
    assert found.load.foreign_cores >= 0
    assert found.cores == min(
        fact.value for fact in found.facts if fact.unit == "cores" and fact.limiting
    )
    assert sum(fact.binds for fact in found.facts if fact.unit == "cores") == 1
    json.dumps(found.to_dict())


@checked
@given(st.sampled_from([name for name in FILES if name not in SOUND]))
def test_blank_lines(name: str) -> None:
    host = Recorded(
        {**SOUND, name: b" \n\n\t\n"}, {"PE_HOSTFILE": "/spool/file"}, Strange("linux", 4, 2)
    )
    assert Prober(host).limits().cores == 4


# What the kernel itself cannot have written leaves the count of cores alone.
@checked
@given(st.sampled_from([name for name in FILES if BASE in name or "/proc/self/" in name]), contents)
def test_one_malformed_file_never_costs_the_last_core(name: str, content: bytes) -> None:
    host = Recorded({**SOUND, name: content}, {}, Strange("linux", 4, 2))
    words = content.split()
    valid = len(words) in (1, 2) and all(word.isdigit() for word in words)
    if not valid:
        assert Prober(host).limits().cores >= 1


@checked
@given(hosts)
def test_the_other_probes(host: Host) -> None:
    found = read_topology(host)
    assert found.sockets >= 1
    json.dumps(found.to_dict())
    assert fork_safety(host).reason
    assert isinstance(nested_share(host.environ, {}), tuple)


PARSERS: list[Callable[[str | None], object]] = [whole, byte_limit, positive_float, sized, cpu_list]


@checked
@given(st.one_of(nasty, st.text(), st.none()))
def test_parsers(text: str | None) -> None:
    for parse in PARSERS:
        value = parse(text)
        assert value is None or isinstance(value, frozenset) or float(str(value)) >= 0


def test_unreadable_and_missing_files(tmp_path: object) -> None:
    host = Host(str(tmp_path), {}, None, Strange("linux", None, None))
    found = Prober(host).limits()
    assert (found.cores, found.workers, found.memory_bytes) == (1, 1, None) or found.cores == 1
    assert host.read("/a\x00b") is None
    assert host.entries("/a\x00b") == []
    assert not host.is_dir("/a\x00b")
