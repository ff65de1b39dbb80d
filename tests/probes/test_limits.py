"""All limits together: which binds, caching, threads, and the other platforms."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable

import pytest

from amorsize import probes
from amorsize.probes import Fact, Host
from amorsize.probes.cores import physical_cores, workers_for
from amorsize.probes.facts import mark_binding
from amorsize.probes.limits import NOW_TTL_S, Prober, Processor, read_processor

GIB = 1 << 30
Machine = Callable[..., Host]


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("cores", "workers"),
    [(0.01, 1), (0.5, 1), (1, 1), (1.04, 1), (1.5, 2), (2, 2), (2.1, 3), (7.99, 8), (64, 64)],
)
def test_fractions_round_up_unless_useless(cores: float, workers: int) -> None:
    assert workers_for(cores) == workers


def test_of_equal_limits_the_first_binds() -> None:
    facts = (Fact("a", 4, "cores", "x"), Fact("b", 2, "cores", "y"), Fact("c", 2, "cores", "z"))
    marked, binding = mark_binding(facts)
    assert [fact.binds for fact in marked] == [False, True, False]
    assert binding is not None
    assert binding.name == "b"


def test_informing_facts_never_bind() -> None:
    assert mark_binding([Fact("physical", 1, "cores", "x", limiting=False)])[1] is None


def test_every_limit_is_listed_and_one_binds(machine: Machine) -> None:
    environ = {"AMORSIZE_MAX_WORKERS": "6", "LOKY_MAX_CPU_COUNT": "7"}
    found = Prober(machine({}, environ, affinity=frozenset(range(5)))).limits()
    limiting = [fact for fact in found.facts if fact.unit == "cores" and fact.limiting]
    assert [(fact.name, fact.value) for fact in limiting] == [
        ("logical", 8),
        ("affinity", 5),
        ("LOKY_MAX_CPU_COUNT", 7),
        ("AMORSIZE_MAX_WORKERS", 6),
    ]
    assert [fact.name for fact in limiting if fact.binds] == ["affinity"]
    assert found.cores == 5


def test_the_nested_share_binds(machine: Machine) -> None:
    found = Prober(machine({}, {"AMORSIZE_WORKER_SHARE": "2.5"})).limits()
    assert found.cores == 2.5
    assert found.binding_cpu.name == "amorsize-share"


def test_a_changed_share_is_seen_without_a_refresh(machine: Machine) -> None:
    environ: dict[str, str] = {"HOME": "/"}
    prober = Prober(machine({}, environ), clock=Clock())
    assert prober.limits().cores == 8
    environ["AMORSIZE_WORKER_SHARE"] = "1"
    assert prober.limits().cores == 1


def test_rlimits_bound_a_process_but_not_all_together(machine: Machine) -> None:
    tree = {
        "/proc/meminfo": f"MemAvailable: {GIB} kB\n",
        "/proc/self/status": "VmSize:  1048576 kB\nVmData:  1024 kB\n",
    }
    found = Prober(machine(tree, rlimits={"RLIMIT_AS": 5 * GIB})).limits()
    assert found.memory_bytes == 4 * GIB
    assert found.shared_memory_bytes == 1024 * GIB
    assert found.binding_memory is not None
    assert found.binding_memory.name == "RLIMIT_AS"


def test_memory_before_kernel_3_14(machine: Machine) -> None:
    tree = {"/proc/meminfo": "MemFree: 100 kB\nBuffers: 10 kB\nCached: 5 kB\n"}
    assert Prober(machine(tree)).limits().memory_bytes == 115 * 1024


def test_sixteen_threads_make_one_measurement(machine: Machine) -> None:
    measured: list[int] = []
    waiting = threading.Barrier(17)
    release = threading.Event()

    def measure(host: Host) -> Processor:
        measured.append(threading.get_ident())
        release.wait(10)  # all others must be blocked or yet to ask while this one measures
        return read_processor(host)

    prober = Prober(machine({}), measure=measure)
    found: list[probes.Limits] = []

    def ask() -> None:
        waiting.wait(10)
        found.append(prober.limits())

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    waiting.wait(10)
    release.set()
    for thread in threads:
        thread.join(10)
    assert len(measured) == 1
    assert len(found) == 16
    assert all(one is found[0] for one in found)


def test_cores_stay_cached_while_memory_is_read_again(machine: Machine) -> None:
    clock = Clock()
    measured: list[int] = []

    def measure(host: Host) -> Processor:
        measured.append(1)
        return read_processor(host)

    prober = Prober(
        machine({"/proc/meminfo": "MemAvailable: 8 kB\n"}), measure=measure, clock=clock
    )
    first = prober.limits()
    assert prober.limits() is first
    machine({"/proc/meminfo": "MemAvailable: 4 kB\n"})
    assert prober.limits() is first
    clock.now += NOW_TTL_S + 0.01
    second = prober.limits()
    assert (first.memory_bytes, second.memory_bytes) == (8192, 4096)
    assert len(measured) == 1
    assert prober.limits(refresh=True) is not second
    assert len(measured) == 2


def test_a_forked_child_is_not_stopped_by_its_parents_lock(machine: Machine) -> None:
    prober = Prober(machine({}))
    prober._lock.acquire()
    prober.after_fork()
    assert prober.limits().workers == 8


@pytest.mark.parametrize(
    ("worker_bytes", "workers"), [(0, 8), (100 << 20, 5), (200 << 20, 2), (10 * GIB, 1)]
)
def test_workers_that_fit_into_memory(machine: Machine, worker_bytes: int, workers: int) -> None:
    tree = {"/proc/meminfo": f"MemAvailable: {512 << 10} kB\n"}
    assert Prober(machine(tree)).limits().workers_that_fit(worker_bytes) == workers
    assert Prober(machine({"/proc/meminfo": ""})).limits().workers_that_fit(worker_bytes) == 8


@pytest.mark.parametrize(
    ("loadavg", "cores", "free"),
    [
        ("0.0 0 0 1/99 1", 8, 8),
        ("2.0 0 0 9/99 1", 8, 6),
        ("20 20 20 30/99 1", 8, 1),
        ("20 20 20 30/99 1", 0.5, 0.5),
        ("20 20 20 30/99 1", 3, 1),
        ("5.0 0 0 9/99 1", 3, 3),
        ("6.0 0 0 9/99 1", 3, 2),
    ],
)
def test_cores_that_others_leave(machine: Machine, loadavg: str, cores: float, free: float) -> None:
    environ = {"AMORSIZE_WORKER_SHARE": str(cores)}
    found = Prober(machine({"/proc/loadavg": loadavg}, environ)).limits()
    assert found.free_cores == free


def test_everything_becomes_json() -> None:
    found = probes.limits()
    again = json.loads(json.dumps(found.to_dict()))
    assert again["cores"] == found.cores
    assert again["binding_cpu"]["binds"] is True
    assert any(fact["source"] for fact in again["facts"])


@pytest.mark.parametrize(
    ("answers", "tree", "cores", "source"),
    [
        ({"psutil_cores": 3}, {}, 3, "psutil"),
        (
            {},
            {
                "/sys/devices/system/cpu/online": "0-3",
                **{
                    f"/sys/devices/system/cpu/cpu{cpu}/topology/core_cpus_list": f"{cpu % 2}-{cpu}"
                    for cpu in range(2)
                },
                "/sys/devices/system/cpu/cpu2/topology/thread_siblings_list": "2-3\n",
                "/sys/devices/system/cpu/cpu3/topology/thread_siblings_list": "2-3\n",
            },
            3,
            "/sys/devices/system/cpu/*/topology/core_cpus_list",
        ),
        (
            {},
            {
                "/proc/cpuinfo": "processor : 0\nphysical id : 0\ncore id : 0\n\n"
                "processor : 1\nphysical id : 0\ncore id : 0\n\n"
                "processor : 2\nphysical id : 1\ncore id : 0\n\n"
            },
            2,
            "/proc/cpuinfo",
        ),
        ({"lscpu": "# comment\n0,0\n0,0\n1,0\n1,0\n"}, {}, 2, "lscpu"),
        ({"lscpu": "garbage"}, {}, 4, "logical / 2"),
        ({"cpus": 1}, {}, 1, "assumed"),
        ({"psutil_cores": 0}, {}, 4, "logical / 2"),
        ({"psutil_cores": 4000}, {}, 4, "logical / 2"),
    ],
)
def test_physical_cores_by_the_first_way_that_answers(
    machine: Machine,
    answers: dict[str, object],
    tree: dict[str, str],
    cores: int,
    source: str,
) -> None:
    fact = physical_cores(machine(tree, **answers))
    assert (fact.value, fact.source) == (cores, source)


def test_logical_cores_where_python_cannot_tell(machine: Machine) -> None:
    host = machine({"/sys/devices/system/cpu/online": "0-5\n"}, cpus=None)
    assert Prober(host).limits().logical_cores == 6
    assert Prober(machine({}, platform="win32", cpus=None)).limits().cores == 1


def test_windows(machine: Machine) -> None:
    host = machine(
        {"/proc/meminfo": "MemAvailable: 1 kB\n"},
        platform="win32",
        cpus=128,
        psutil_cores=64,
        affinity=frozenset(range(96)),
        memory=7 * GIB,
    )
    found = Prober(host).limits()
    assert (found.cores, found.binding_cpu.name) == (61, "windows-handles")
    assert found.physical_cores == 64
    assert found.memory_bytes == 7 * GIB
    assert found.start_methods == ("spawn",)
    assert found.load.load1 is None
    assert found.load.foreign_cores == 0


def test_macos(machine: Machine) -> None:
    host = machine(
        {},
        platform="darwin",
        cpus=10,
        memory=5 * GIB,
        sysctl={"hw.physicalcpu": 10},
        loadavg=(3.0, 2.0, 1.0),
    )
    found = Prober(host).limits()
    assert found.cores == 10
    assert found.memory_bytes == 5 * GIB
    physical = next(fact for fact in found.facts if fact.name == "physical")
    assert physical.source == "sysctl hw.physicalcpu"
    assert found.start_methods[0] == "spawn"
    assert found.load.load1 == 3.0


def test_this_machine_answers_quickly() -> None:
    """A wide margin over the target of 20 ms and 20 us: CI machines are slow and shared."""
    started = time.perf_counter()
    Prober().limits()
    first_s = time.perf_counter() - started
    prober = Prober()
    prober.limits()
    best_s = min(_timed(prober) for _ in range(5))
    assert first_s < 0.1
    assert best_s < 100e-6


def _timed(prober: Prober) -> float:
    started = time.perf_counter()
    for _ in range(100):
        prober.limits()
    return (time.perf_counter() - started) / 100


def test_importing_loads_nothing_heavy() -> None:
    import subprocess

    code = (
        "import sys, amorsize.probes as p; p.limits(); p.fork_safety(); "
        "print([m for m in ('numpy', 'psutil', 'subprocess', 'multiprocessing', 'threadpoolctl',"
        " 'ctypes', 'socket') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
