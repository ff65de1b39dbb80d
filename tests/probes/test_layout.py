"""Topology and bandwidth."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from amorsize import probes
from amorsize.probes import Host
from amorsize.probes.bandwidth import measure
from amorsize.probes.layout import Cache, Node, read_topology

Machine = Callable[..., Host]
CPUS = "/sys/devices/system/cpu"


def tree() -> dict[str, str]:
    """Two sockets, two cores each, two threads a core."""
    files = {f"{CPUS}/online": "0-7\n"}
    for cpu in range(8):
        base = f"{CPUS}/cpu{cpu}"
        socket = cpu % 4 // 2
        files[f"{base}/topology/physical_package_id"] = f"{socket}\n"
        files[f"{base}/topology/core_cpus_list"] = f"{cpu % 4},{cpu % 4 + 4}\n"
        for index, (level, kind, size, shared) in enumerate(
            [
                (1, "Data", "32K", f"{cpu % 4},{cpu % 4 + 4}"),
                (
                    3,
                    "Unified",
                    "16384K",
                    f"{2 * socket}-{2 * socket + 1},{2 * socket + 4}-{2 * socket + 5}",
                ),
            ]
        ):
            where = f"{base}/cache/index{index}"
            files |= {
                f"{where}/level": str(level),
                f"{where}/type": kind,
                f"{where}/size": size,
                f"{where}/coherency_line_size": "64",
                f"{where}/shared_cpu_list": shared,
            }
    for node in range(2):
        base = f"/sys/devices/system/node/node{node}"
        files[f"{base}/cpulist"] = f"{2 * node}-{2 * node + 1},{2 * node + 4}-{2 * node + 5}"
        files[f"{base}/meminfo"] = f"Node {node} MemTotal:  1024 kB\nNode {node} MemFree: 1 kB\n"
    return files


def test_sockets_cores_nodes_and_caches(machine: Machine) -> None:
    found = read_topology(machine(tree()))
    assert (found.sockets, found.physical_cores, found.logical_cores) == (2, 4, 8)
    assert found.siblings == ((0, 4), (1, 5), (2, 6), (3, 7))
    assert found.nodes == (
        Node(0, (0, 1, 4, 5), 1 << 20),
        Node(1, (2, 3, 6, 7), 1 << 20),
    )
    assert found.caches == (
        Cache(1, "data", 32 << 10, 64, 2, 4),
        Cache(3, "unified", 16 << 20, 64, 4, 2),
    )
    assert found.performance_cpus == ()


def test_hybrid_processors(machine: Machine) -> None:
    intel = {"/sys/devices/cpu_core/cpus": "0-3\n", "/sys/devices/cpu_atom/cpus": "4-7\n"}
    found = read_topology(machine(intel))
    assert (found.performance_cpus, found.efficiency_cpus) == ((0, 1, 2, 3), (4, 5, 6, 7))


def test_arm_capacities(machine: Machine) -> None:
    files = {f"{CPUS}/online": "0-3"}
    files |= {f"{CPUS}/cpu{cpu}/cpu_capacity": "446" if cpu < 2 else "1024" for cpu in range(4)}
    found = read_topology(machine(files, cpus=4))
    assert (found.performance_cpus, found.efficiency_cpus) == ((2, 3), (0, 1))


def test_macos(machine: Machine) -> None:
    answers = {
        "hw.packages": 1,
        "hw.physicalcpu": 8,
        "hw.perflevel0.logicalcpu": 6,
        "hw.perflevel1.logicalcpu": 2,
        "hw.l1dcachesize": 65536,
        "hw.cachelinesize": 128,
    }
    found = read_topology(machine(platform="darwin", sysctl=answers))
    assert found.physical_cores == 8
    assert found.efficiency_cpus == (0, 1)
    assert found.caches == (Cache(1, "data", 65536, 128, 1, 1),)


def test_nothing_visible(machine: Machine) -> None:
    found = read_topology(machine(cpus=None))
    assert (found.sockets, found.physical_cores, found.logical_cores) == (1, 1, 1)


def test_this_machine() -> None:
    found = probes.topology()
    assert 1 <= found.physical_cores <= found.logical_cores
    json.dumps(found.to_dict())


def test_bandwidth_is_measured_once() -> None:
    first = probes.memory_bandwidth()
    assert first is not None
    assert probes.memory_bandwidth() is first
    assert first.one_thread > 1e8
    assert first.all_threads > 1e8
    assert first.seconds < 5
    json.dumps(first.to_dict())


def test_too_little_memory_to_measure() -> None:
    assert measure(probes.limits()._replace(memory_bytes=1 << 20)) is None


@pytest.mark.parametrize("workers", [1, 3])
def test_bandwidth_uses_the_workers_allowed(workers: int) -> None:
    found = measure(probes.limits()._replace(workers=workers, memory_bytes=1 << 28))
    assert found is not None
    assert found.threads == workers
    assert found.block_bytes * 2 * workers <= 1 << 25
