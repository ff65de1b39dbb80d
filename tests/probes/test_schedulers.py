"""Job schedulers and operators: what their variables and files grant."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from amorsize.probes import Host
from amorsize.probes.limits import Prober

MIB = 1 << 20
GIB = 1 << 30
Machine = Callable[..., Host]


@pytest.mark.parametrize(
    ("environ", "cores"),
    [
        ({"SLURM_CPUS_PER_TASK": "3", "SLURM_CPUS_ON_NODE": "12"}, 3),
        ({"SLURM_CPUS_ON_NODE": "12"}, 12),
        ({"SLURM_CPUS_ON_NODE": "12", "SLURM_JOB_NUM_NODES": "1"}, 12),
        (
            {
                "SLURM_CPUS_ON_NODE": "12",
                "SLURM_NNODES": "3",
                "SLURM_JOB_CPUS_PER_NODE": "10(x2),8",
                "SLURM_NODEID": "2",
            },
            8,
        ),
        ({"SLURM_NNODES": "2", "SLURM_JOB_CPUS_PER_NODE": "10(x2)"}, 10),
        ({"SLURM_NNODES": "2", "SLURM_JOB_CPUS_PER_NODE": "ten(x2)"}, 64),
        ({"PBS_NUM_PPN": "5"}, 5),
        ({"PBS_JOBID": "1.server", "NCPUS": "6"}, 6),
        ({"NCPUS": "6"}, 64),
        ({"LSB_DJOB_NUMPROC": "7"}, 7),
        ({"LSB_DJOB_NUMPROC": "7", "LSB_MCPU_HOSTS": "node6 3 node7 4"}, 4),
        ({"LSB_DJOB_NUMPROC": "7", "LSB_MCPU_HOSTS": "anyname 2"}, 2),
        ({"LSB_DJOB_NUMPROC": "7", "LSB_MCPU_HOSTS": "broken"}, 7),
        ({"NSLOTS": "9"}, 9),
        ({"NSLOTS": "9", "PE_HOSTFILE": "/spool/pe"}, 4),
        ({"_CONDOR_MACHINE_AD": "/spool/machine.ad"}, 11),
        ({"_CONDOR_SLOT": "slot1", "OMP_NUM_THREADS": "2"}, 2),
        ({"OMP_NUM_THREADS": "2"}, 64),
        ({"PJM_VNODE_CORE": "12"}, 12),
        ({"PYTHON_CPU_COUNT": "4"}, 4),
        ({"PYTHON_CPU_COUNT": "default"}, 64),
        ({"LOKY_MAX_CPU_COUNT": "5"}, 5),
        ({"AMORSIZE_MAX_WORKERS": "6"}, 6),
        ({"AMORSIZE_MAX_WORKERS": "0"}, 64),
        ({"AMORSIZE_MAX_WORKERS": "-3"}, 64),
        ({"AMORSIZE_MAX_WORKERS": "many"}, 64),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1", "CPU_LIMIT": "2500"}, 2.5),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1", "CPU_LIMIT": "3"}, 3),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1", "CPU_LIMIT": "750m"}, 0.75),
        ({"CPU_LIMIT": "3"}, 64),
    ],
)
def test_granted_cores(machine: Machine, environ: dict[str, str], cores: float) -> None:
    tree = {
        "/spool/pe": "node6.example.org 5 all.q UNDEFINED\nnode7.example.org 4 all.q UNDEFINED\n",
        "/spool/machine.ad": 'Name = "slot1"\nCpus = 11\nMemory = 2048\n',
    }
    found = Prober(machine(tree, environ, cpus=64)).limits()
    assert found.cores == cores
    if cores != 64:
        assert found.binding_cpu.binds


def test_kubernetes_downward_file(machine: Machine) -> None:
    found = Prober(machine({"/etc/podinfo/cpu_limit": "250"}, cpus=16)).limits()
    assert found.cores == 0.25
    assert found.workers == 1
    assert found.binding_cpu.source == "/etc/podinfo/cpu_limit"


@pytest.mark.parametrize(
    ("environ", "limit"),
    [
        ({"SLURM_MEM_PER_NODE": "4096"}, 4 * GIB),
        ({"SLURM_MEM_PER_NODE": "4G"}, 4 * GIB),
        ({"SLURM_MEM_PER_CPU": "512", "SLURM_CPUS_ON_NODE": "4"}, 2 * GIB),
        ({"_CONDOR_MACHINE_AD": "/spool/machine.ad"}, 2 * GIB),
        ({"LSB_MEMLIMIT": str(3 * MIB)}, 3 * GIB),
        ({"SLURM_MEM_PER_NODE": "lots"}, 32 * GIB),
        ({"SLURM_MEM_PER_NODE": "0"}, 32 * GIB),
    ],
)
def test_granted_memory(machine: Machine, environ: dict[str, str], limit: int) -> None:
    tree = {
        "/proc/meminfo": f"MemAvailable: {32 * MIB} kB\n",
        "/proc/self/statm": "9000 1000 10 1 0 1 0\n",
        "/spool/machine.ad": "Cpus = 11\nMemory = 2048\n",
    }
    found = Prober(machine(tree, environ, cpus=64)).limits()
    resident = 1000 * 4096 if limit < 32 * GIB else 0
    assert found.memory_bytes == limit - resident
