"""Control groups as recorded in containers, clusters and on desktops."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from amorsize.probes import Host
from amorsize.probes.cgroups import groups
from amorsize.probes.limits import Limits, Prober

MIB = 1 << 20
GIB = 1 << 30
UNLIMITED_V1 = "9223372036854771712\n"

Machine = Callable[..., Host]

MEMINFO = "MemTotal:       65843028 kB\nMemFree:         1000000 kB\nMemAvailable:   33554432 kB\n"
V2_MOUNT = (
    "25 30 0:23 / /sys rw - sysfs sysfs rw\n"
    "29 25 0:26 {root} /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
)


def v1_mounts(root: str = "/", *, joined: bool = True) -> str:
    cpu = "cpu,cpuacct" if joined else "cpu"
    return "".join(
        f"{number} 25 0:{number} {root} /sys/fs/cgroup/{name} rw - cgroup cgroup rw,{name}\n"
        for number, name in ((31, cpu), (32, "cpuset"), (33, "memory"))
    )


def probe(host: Host) -> Limits:
    return Prober(host).limits()


def test_v2_quota_and_memory_at_the_leaf(machine: Machine) -> None:
    base = "/sys/fs/cgroup/app"
    host = machine(
        {
            "/proc/self/cgroup": "0::/app\n",
            "/proc/self/mountinfo": V2_MOUNT.format(root="/"),
            "/proc/meminfo": MEMINFO,
            f"{base}/cpu.max": "250000 100000\n",
            f"{base}/cpuset.cpus.effective": "0-5\n",
            f"{base}/memory.max": f"{2 * GIB}\n",
            f"{base}/memory.high": "max\n",
            f"{base}/memory.current": f"{GIB}\n",
            f"{base}/memory.stat": f"anon 1\ninactive_file {GIB // 2}\nactive_file 7\n",
        }
    )
    found = probe(host)
    assert found.cores == 2.5
    assert found.workers == 3
    assert found.binding_cpu.source == f"{base}/cpu.max"
    assert found.memory_bytes == 2 * GIB - GIB // 2
    assert found.binding_memory is not None
    assert found.binding_memory.source == f"{base}/memory.max"
    cpuset = next(fact for fact in found.facts if fact.name == "cgroup-v2-cpuset")
    assert cpuset.value == 6
    assert not cpuset.binds


def test_v2_systemd_slices_bind_above_the_leaf(machine: Machine) -> None:
    """A limit on user.slice holds for a terminal's scope that has none (loky#634)."""
    base = "/sys/fs/cgroup"
    leaf = "/user.slice/user-1000.slice/user@1000.service/app.slice/tmux-spawn-1.scope"
    host = machine(
        {
            "/proc/self/cgroup": f"1:net_cls:/\n0::{leaf}\n",
            "/proc/self/mountinfo": V2_MOUNT.format(root="/"),
            "/proc/meminfo": MEMINFO,
            f"{base}{leaf}/cpu.max": "max 100000\n",
            f"{base}/user.slice/user-1000.slice/cpu.max": "400000 100000\n",
            f"{base}/user.slice/cpu.max": "150000 100000\n",
            f"{base}/user.slice/memory.high": f"{GIB}\n",
            f"{base}/user.slice/memory.max": f"{2 * GIB}\n",
            f"{base}{leaf}/memory.max": "max\n",
        }
    )
    found = probe(host)
    assert found.cores == 1.5
    assert found.workers == 2
    assert found.binding_cpu.source == f"{base}/user.slice/cpu.max"
    assert found.memory_bytes == GIB
    quotas = [fact.value for fact in found.facts if fact.name == "cgroup-v2-quota"]
    assert quotas == [4.0, 1.5]


def test_docker_v2_in_its_own_namespace(machine: Machine) -> None:
    host = machine(
        {
            "/proc/self/cgroup": "0::/\n",
            "/proc/self/mountinfo": V2_MOUNT.format(root="/"),
            "/sys/fs/cgroup/cpu.max": "50000 100000\n",
            "/sys/fs/cgroup/memory.max": f"{512 * MIB}\n",
            "/sys/fs/cgroup/memory.current": f"{12 * MIB}\n",
        }
    )
    found = probe(host)
    assert found.cores == 0.5
    assert found.workers == 1
    assert found.memory_bytes == 500 * MIB


def test_docker_v1_shows_the_hosts_path_but_only_its_own_files(machine: Machine) -> None:
    """/proc/self/cgroup names the host's path; the mounts' root is that same path."""
    path = "/docker/0123456789abcdef"
    host = machine(
        {
            "/proc/self/cgroup": f"4:memory:{path}\n3:cpuset:{path}\n2:cpu,cpuacct:{path}\n",
            "/proc/self/mountinfo": v1_mounts(path),
            "/proc/meminfo": MEMINFO,
            "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "150000\n",
            "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            "/sys/fs/cgroup/cpuset/cpuset.cpus": "0,2\n",
            "/sys/fs/cgroup/memory/memory.limit_in_bytes": f"{GIB}\n",
            "/sys/fs/cgroup/memory/memory.usage_in_bytes": f"{300 * MIB}\n",
            "/sys/fs/cgroup/memory/memory.stat": f"total_inactive_file {100 * MIB}\n",
        }
    )
    found = probe(host)
    assert found.cores == 1.5
    assert found.memory_bytes == GIB - 200 * MIB
    assert {fact.value for fact in found.facts if fact.name == "cgroup-v1-cpuset"} == {2}


def test_docker_v1_where_the_mount_root_does_not_match(machine: Machine) -> None:
    """A cgroup path that is nowhere under the mount: the mount point is the group."""
    host = machine(
        {
            "/proc/self/cgroup": "2:cpu,cpuacct:/machine/elsewhere\n",
            "/proc/self/mountinfo": v1_mounts("/docker/abc"),
            "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "200000\n",
            "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        }
    )
    assert probe(host).cores == 2.0


def test_kubernetes_v1_pod_limit_above_the_container(machine: Machine) -> None:
    pod = "/kubepods/burstable/pod77"
    path = f"{pod}/c1"
    base = "/sys/fs/cgroup"
    host = machine(
        {
            "/proc/self/cgroup": f"2:cpu,cpuacct:{path}\n4:memory:{path}\n",
            "/proc/self/mountinfo": v1_mounts(),
            f"{base}/cpu,cpuacct{path}/cpu.cfs_quota_us": "-1\n",
            f"{base}/cpu,cpuacct{path}/cpu.cfs_period_us": "100000\n",
            f"{base}/cpu,cpuacct{pod}/cpu.cfs_quota_us": "350000\n",
            f"{base}/cpu,cpuacct{pod}/cpu.cfs_period_us": "100000\n",
            f"{base}/memory{path}/memory.limit_in_bytes": UNLIMITED_V1,
            f"{base}/memory{path}/memory.usage_in_bytes": "5\n",
            f"{base}/memory{path}/memory.stat": f"hierarchical_memory_limit {GIB}\n",
        }
    )
    found = probe(host)
    assert found.cores == 3.5
    assert found.workers == 4
    assert found.memory_bytes == GIB - 5


def test_kubernetes_v1_ancestor_outside_the_containers_view(machine: Machine) -> None:
    """hierarchical_memory_limit tells of a pod's limit that the container cannot see."""
    path = "/kubepods/burstable/pod77/c1"
    host = machine(
        {
            "/proc/self/cgroup": f"4:memory:{path}\n",
            "/proc/self/mountinfo": v1_mounts(path),
            "/sys/fs/cgroup/memory/memory.limit_in_bytes": UNLIMITED_V1,
            "/sys/fs/cgroup/memory/memory.stat": f"hierarchical_memory_limit {256 * MIB}\n",
        }
    )
    found = probe(host)
    assert found.memory_bytes == 256 * MIB
    assert found.binding_memory is not None
    assert found.binding_memory.source == "/sys/fs/cgroup/memory/memory.stat"


def test_kubernetes_v2(machine: Machine) -> None:
    pod = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod9.slice"
    leaf = f"{pod}/cri-containerd-1.scope"
    base = "/sys/fs/cgroup"
    host = machine(
        {
            "/proc/self/cgroup": f"0::{leaf}\n",
            "/proc/self/mountinfo": V2_MOUNT.format(root="/"),
            f"{base}{leaf}/cpu.max": "300000 100000\n",
            f"{base}{pod}/cpu.max": "220000 100000\n",
            f"{base}{leaf}/memory.max": f"{GIB}\n",
            f"{base}{pod}/memory.max": f"{GIB + 1}\n",
            f"{base}{pod}/memory.current": f"{GIB}\n",
        }
    )
    found = probe(host)
    assert found.cores == 2.2
    assert found.workers == 3
    assert found.memory_bytes == 1, "the pod is nearly full, although the container is not"


def test_hybrid_reads_controllers_from_v1(machine: Machine) -> None:
    host = machine(
        {
            "/proc/self/cgroup": "3:cpu,cpuacct:/work\n2:memory:/work\n1:name=systemd:/x\n0::/x\n",
            "/proc/self/mountinfo": v1_mounts()
            + "40 25 0:40 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
            + "41 25 0:41 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n",
            "/sys/fs/cgroup/cpu,cpuacct/work/cpu.cfs_quota_us": "700000\n",
            "/sys/fs/cgroup/cpu,cpuacct/work/cpu.cfs_period_us": "200000\n",
            "/sys/fs/cgroup/unified/x/cgroup.procs": "1\n",
        }
    )
    assert probe(host).cores == 3.5


def test_slurm_v2_job_step(machine: Machine) -> None:
    job = "/system.slice/slurmstepd.scope/job_42"
    step = f"{job}/step_batch/user/task_0"
    base = "/sys/fs/cgroup"
    host = machine(
        {
            "/proc/self/cgroup": f"0::{step}\n",
            "/proc/self/mountinfo": V2_MOUNT.format(root="/"),
            f"{base}{job}/cpuset.cpus.effective": "4-7\n",
            f"{base}{job}/memory.max": f"{8 * GIB}\n",
            f"{base}{job}/memory.current": "0\n",
            f"{base}{step}/cpuset.cpus.effective": "4-5\n",
        },
        {"SLURM_JOB_ID": "42", "SLURM_CPUS_ON_NODE": "4", "SLURM_JOB_NUM_NODES": "1"},
        cpus=64,
    )
    found = probe(host)
    assert found.cores == 2
    assert found.binding_cpu.source.endswith("task_0/cpuset.cpus.effective")
    assert found.memory_bytes == 8 * GIB


def test_namespace_whose_root_lies_below_the_process(machine: Machine) -> None:
    """A process moved out of its namespace's root sees /../..; only the mount is left."""
    host = machine(
        {
            "/proc/self/cgroup": "0::/../../other\n",
            "/proc/self/mountinfo": V2_MOUNT.format(root="/"),
            "/sys/fs/cgroup/cpu.max": "200000 100000\n",
            "/other/cpu.max": "100000 100000\n",
        }
    )
    assert [group.path for group in groups(host, "cpu")] == ["/sys/fs/cgroup"]
    assert probe(host).cores == 2.0


def test_namespace_with_the_hosts_mount(machine: Machine) -> None:
    """Mounted outside the namespace: the root has dots, the membership does not."""
    host = machine(
        {
            "/proc/self/cgroup": "0::/inner\n",
            "/proc/self/mountinfo": V2_MOUNT.format(root="/../.."),
            "/sys/fs/cgroup/inner/cpu.max": "300000 100000\n",
            "/sys/fs/cgroup/cpu.max": "600000 100000\n",
        }
    )
    assert probe(host).cores == 3.0


def test_without_mountinfo_the_usual_places_are_read(machine: Machine) -> None:
    host = machine(
        {
            "/proc/self/cgroup": "0::/a/b\n",
            "/sys/fs/cgroup/a/cpu.max": "100000 100000\n",
            "/sys/fs/cgroup/a/b/cpu.max": "max 100000\n",
        }
    )
    assert probe(host).cores == 1.0


def test_mount_points_with_blanks(machine: Machine) -> None:
    host = machine(
        {
            "/proc/self/cgroup": "0::/\n",
            "/proc/self/mountinfo": "29 25 0:26 / /mnt/my\\040groups rw - cgroup2 none rw\n",
            "/mnt/my groups/cpu.max": "150000 100000\n",
        }
    )
    assert probe(host).cores == 1.5


@pytest.mark.parametrize(
    "text",
    [
        *("", "max", "max 100000", "-1 100000", "0 100000", "1 100000", "100000 0", "x y", "1 2 3"),
        *("150000 100000 7", "\0", "99999999999999999999999 100000", "1e5 100000"),
        "100000 2000000",
    ],
)
def test_a_malformed_quota_is_no_quota(machine: Machine, text: str) -> None:
    host = machine(
        {
            "/proc/self/cgroup": "0::/\n",
            "/proc/self/mountinfo": V2_MOUNT.format(root="/"),
            "/sys/fs/cgroup/cpu.max": text,
        }
    )
    assert probe(host).cores == 8


def test_another_process_is_read_by_its_number(machine: Machine) -> None:
    host = machine(
        {
            "/proc/77/cgroup": "0::/theirs\n",
            "/proc/77/status": "Name: x\nCpus_allowed_list:\t0-2\n",
            "/proc/self/mountinfo": V2_MOUNT.format(root="/"),
            "/proc/77/mountinfo": V2_MOUNT.format(root="/"),
            "/sys/fs/cgroup/theirs/cpu.max": "400000 100000\n",
        },
        affinity=frozenset({0}),
    )
    theirs = Prober(Host(host.root, {}, 77, host.system)).limits()
    assert theirs.cores == 3
    assert theirs.binding_cpu.source == "/proc/77/status Cpus_allowed_list"
