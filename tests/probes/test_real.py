"""Real limits of this machine: control groups, affinity, rlimits. Skipped where not permitted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from amorsize import probes
from amorsize.probes.forking import default_start_method

MIB = 1 << 20

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux only")

PROBE = (
    "import json, sys; from amorsize import probes; print(json.dumps(probes.limits().to_dict()))"
)


def probe(
    *, prefix: tuple[str, ...] = (), setup: str = "", environ: dict[str, str] | None = None
) -> dict[str, object]:
    """Return what a child process finds; ``setup`` runs in it before anything is probed."""
    done = subprocess.run(
        [*prefix, sys.executable, "-c", f"{setup}\n{PROBE}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **(environ or {})},
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


# In v1 the kernel refuses a child a larger quota than its parent's; in v2 it allows it.
@pytest.mark.parametrize(
    ("outer", "inner"),
    [
        ((1.5, 512 * MIB), (None, None)),
        ((1.8, 900 * MIB), (1.5, 512 * MIB)),
        ((1.5, 900 * MIB), (1.2, 512 * MIB)),
        ((1.5, 512 * MIB), (1.5, 700 * MIB)),
    ],
    ids=["outer only", "inner tighter", "both, inner tighter", "memory: outer tighter"],
)
def test_the_tightest_of_two_nested_groups(
    cgroups: Any,
    outer: tuple[float | None, int | None],
    inner: tuple[float | None, int | None],
) -> None:
    name = f"amorsize-test-{os.getpid()}"
    try:
        cgroups.make(name, quota=outer[0], memory=outer[1])
        cgroups.make(f"{name}/inner", quota=inner[0], memory=inner[1])
    except OSError as error:
        pytest.skip(f"these limits cannot be set here: {error}")
    found = probe(setup=cgroups.entry(f"{name}/inner"))
    quota = min(value for value in (outer[0], inner[0]) if value is not None)
    memory = min(value for value in (outer[1], inner[1]) if value is not None)
    if (os.cpu_count() or 1) < 2:
        quota = min(quota, 1.0)
    assert found["cores"] == quota
    assert found["workers"] == (2 if quota > 1 else 1)
    assert isinstance(found["memory_bytes"], int)
    assert memory - 128 * MIB < found["memory_bytes"] <= memory
    binding = found["binding_memory"]
    assert isinstance(binding, dict)
    assert binding["name"].startswith("cgroup-v")
    assert name in binding["source"]
    if quota != 1.0:
        assert isinstance(found["binding_cpu"], dict)
        assert name in found["binding_cpu"]["source"]


def test_file_cache_in_a_group_is_not_in_use(cgroups: Any, tmp_path: Path) -> None:
    """Reading a file fills the group's cache; the probe must not count it as used."""
    name = f"amorsize-test-{os.getpid()}"
    cgroups.make(name, memory=512 * MIB)
    file = tmp_path / "data"
    setup = cgroups.entry(name) + (
        f"\nopen({str(file)!r}, 'wb').write(bytes({200 * MIB}))"
        f"\nos.sync()\nlen(open({str(file)!r}, 'rb').read(1))"
    )
    found = probe(setup=setup)
    binding = found["binding_memory"]
    assert isinstance(binding, dict)
    assert name in binding["source"]
    assert isinstance(found["memory_bytes"], int)
    assert found["memory_bytes"] > 400 * MIB, binding["note"]


def test_one_cpu_by_taskset() -> None:
    from shutil import which

    if which("taskset") is None:
        pytest.skip("taskset is not installed")
    cpu = min(os.sched_getaffinity(0))
    found = probe(prefix=("taskset", "-c", str(cpu)))
    assert found["cores"] == 1
    assert found["workers"] == 1
    assert isinstance(found["binding_cpu"], dict)
    if (os.cpu_count() or 1) > 1:
        assert found["binding_cpu"]["name"] == "affinity"


def test_one_cpu_by_a_system_call() -> None:
    found = probe(setup="import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})")
    assert found["workers"] == 1


def test_affinity_changed_later_is_seen_after_a_refresh() -> None:
    setup = (
        "import os; from amorsize import probes; probes.limits()\n"
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); probes.limits(refresh=True)"
    )
    assert probe(setup=setup)["workers"] == 1


def test_address_space_limit() -> None:
    setup = "import resource; resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))"
    found = probe(setup=setup)
    assert isinstance(found["memory_bytes"], int)
    assert found["memory_bytes"] < 4 << 30


def test_the_operators_variable() -> None:
    assert probe(environ={"AMORSIZE_MAX_WORKERS": "1"})["workers"] == 1


def test_the_share_of_an_amorsize_worker() -> None:
    assert probe(environ={"AMORSIZE_WORKER_SHARE": "0.5"})["cores"] == 0.5


def test_start_methods_are_multiprocessings() -> None:
    import multiprocessing

    assert list(probes.start_methods()) == multiprocessing.get_all_start_methods()
    assert default_start_method() == multiprocessing.get_all_start_methods()[0]


def test_a_loky_worker_sees_its_share() -> None:
    pytest.importorskip("joblib")
    code = (
        "import warnings; warnings.simplefilter('ignore')\n"
        "from joblib import Parallel, delayed\n"
        "from amorsize import probes\n"
        "print(Parallel(n_jobs=2)([delayed(eval)"
        "(\"__import__('amorsize.probes').probes.limits().cores\")])[0])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    cores = float(done.stdout)
    assert cores == max(1, (os.cpu_count() or 1) // 2) or cores < 1


HUNGRY = """
import amorsize

def hungry(x):
    block = bytearray(200 << 20)
    for i in range(0, len(block), 4096):
        block[i] = 1
    return x + sum(range(300_000)) * 0

plan = amorsize.plan(hungry, range(10))
print(plan.workers, plan.run() == list(range(10)))
"""


def test_a_plan_in_a_small_group_fits_its_memory_and_finishes(cgroups: Any) -> None:
    name = f"amorsize-hungry-{os.getpid()}"
    try:
        cgroups.make(name, memory=512 * MIB)
    except OSError as error:
        pytest.skip(f"this limit cannot be set here: {error}")
    code = f"{cgroups.entry(name)}\n{HUNGRY}"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    workers, equal = done.stdout.split()
    assert int(workers) <= 2
    assert equal == "True"


def test_a_plan_on_one_core_has_one_worker() -> None:
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "import amorsize\n"
        "print(amorsize.plan(lambda x: sum(range(20_000)), range(400)).workers)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
