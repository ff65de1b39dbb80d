"""Whether forking is safe: threads by name, native pools, devices; and that it really is."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import cast

import pytest

from amorsize.probes import Host, fork_safety, start_methods

Machine = Callable[..., Host]
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux only")


def child(code: str) -> list[str]:
    """Run code in a fresh interpreter, which has no threads of the test runner's."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", "from amorsize.probes import fork_safety\n" + code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")


def module(**names: object) -> ModuleType:
    return cast(ModuleType, SimpleNamespace(**names))


def test_windows_has_no_fork(machine: Machine) -> None:
    found = fork_safety(machine(platform="win32"))
    assert not found
    assert "no fork" in found.reason


def test_macos_is_never_safe(machine: Machine) -> None:
    found = fork_safety(machine(platform="darwin"))
    assert not found.safe
    assert "macOS" in found.reason


@pytest.mark.parametrize(
    ("platform", "methods"),
    [("win32", {"spawn"}), ("darwin", {"spawn", "fork", "forkserver"})],
)
def test_start_methods_elsewhere(platform: str, methods: set[str]) -> None:
    found = start_methods(platform)
    assert found[0] == "spawn"
    assert set(found) == methods


def test_a_python_thread_is_told_by_name() -> None:
    script = """
import threading
from amorsize.probes import fork_safety
threading.Thread(target=threading.Event().wait, name="feeder-7", daemon=True).start()
print(fork_safety())
"""
    command = [sys.executable, "-c", script]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert "safe=False" in told
    if sys.platform.startswith("linux"):
        assert "'feeder-7'" in told


@pytest.mark.parametrize(
    ("name", "fake", "word"),
    [
        ("torch.cuda", module(is_initialized=lambda: True), "torch"),
        ("jax._src.xla_bridge", module(backends_are_initialized=lambda: True), "JAX"),
        (
            "numba.cuda.cudadrv.driver",
            module(driver=SimpleNamespace(is_initialized=True)),
            "numba",
        ),
        ("ray._private.worker", module(global_worker=SimpleNamespace(connected=True)), "Ray"),
    ],
)
@linux
def test_an_initialised_device(name: str, fake: ModuleType, word: str) -> None:
    found = fork_safety(modules={name: fake})
    assert not found.safe
    assert word in found.reason


@linux
def test_loaded_but_unused_or_broken_libraries_do_no_harm() -> None:
    harmless = {
        "torch.cuda": module(is_initialized=lambda: False),
        "jax._src.xla_bridge": module(),
        "cupy": module(),
    }
    assert fork_safety(modules=harmless) == fork_safety(modules={})


@linux
def test_a_fresh_process_is_safe() -> None:
    assert child("print(fork_safety())")[0].startswith("ForkSafety(safe=True")


@linux
def test_a_native_thread_unknown_to_threading_is_found() -> None:
    out = child(
        "import _thread, time\n"
        "lock = _thread.allocate_lock(); lock.acquire()\n"
        "_thread.start_new_thread(lock.acquire, ()); time.sleep(0.05)\n"
        "print(fork_safety())\n"
    )
    assert "1 native thread alive" in out[0]


@linux
def test_without_proc_native_threads_are_assumed(machine: Machine) -> None:
    named = [t for t in threading.enumerate() if t is not threading.main_thread()]
    if named:
        pytest.skip("the test runner has threads of its own")
    assert not fork_safety(machine({})).safe


NUMPY_SETUP = """
import os, signal, sys, time
import numpy as np
def threads(): return len(os.listdir('/proc/self/task'))
a = np.random.default_rng(0).random((400, 400))
a @ a
np.linalg.det(a)
"""


@linux
@pytest.mark.parametrize("pause_s", [0, 0.15], ids=["pool spinning", "pool asleep"])
def test_numpy_users_keep_fork(pause_s: float) -> None:
    pytest.importorskip("numpy")
    out = child(NUMPY_SETUP + f"time.sleep({pause_s})\nprint(threads(), fork_safety())")
    count, _, found = out[0].partition(" ")
    if count == "1":
        pytest.skip("numpy runs on one thread here")
    if "scipy_openblas" not in _numpy_libraries() and "safe=False" in found:
        pytest.skip("numpy is not built with OpenBLAS")
    assert "safe=True" in found
    assert "OpenBLAS" in found


def _numpy_libraries() -> str:
    from pathlib import Path

    import numpy

    folder = Path(numpy.__file__).parent.parent / "numpy.libs"
    return " ".join(path.name for path in folder.glob("*")) if folder.is_dir() else ""


@linux
def test_forked_children_really_compute_after_their_parent_did() -> None:
    """What the verdict promises: children and parent go on multiplying and factorising."""
    pytest.importorskip("numpy")
    out = child(
        NUMPY_SETUP
        + """
if not fork_safety():
    print("skip"); sys.exit()
for round in range(3):
    pids = []
    for _ in range(2):
        pid = os.fork()
        if pid == 0:
            signal.alarm(10)  # a child that hangs is killed, and its status tells
            a @ a
            np.linalg.inv(a)
            np.linalg.det(a)
            os._exit(0)
        pids.append(pid)
    statuses = [os.waitpid(pid, 0)[1] for pid in pids]
    assert statuses == [0, 0], statuses
    signal.alarm(10)
    a @ a  # the parent's pool starts anew
    np.linalg.inv(a)
    signal.alarm(0)
    assert fork_safety(), fork_safety()
print("fine")
"""
    )
    if out[0] == "skip":
        pytest.skip("numpy is not built with OpenBLAS")
    assert out[0] == "fine"


@linux
def test_a_spinning_pool_beside_an_unused_openmp_library() -> None:
    """scikit-learn loads libgomp; until it is used, only OpenBLAS's threads are there."""
    pytest.importorskip("sklearn")
    out = child("import sklearn.cluster" + NUMPY_SETUP + "print(threads(), fork_safety())")
    count, _, found = out[0].partition(" ")
    if count == "1":
        pytest.skip("numpy runs on one thread here")
    assert "safe=True" in found


@linux
def test_an_openmp_pool_is_recognised_as_unsafe() -> None:
    """A child of such a process that enters a parallel region hangs (measured: libgomp)."""
    pytest.importorskip("sklearn")
    out = child(
        NUMPY_SETUP
        + """
from sklearn.cluster import KMeans
before = fork_safety()
KMeans(8, n_init=1).fit(np.random.default_rng(0).random((20000, 10)))
print(threads(), before.safe, fork_safety())
time.sleep(0.15)
print(fork_safety())
"""
    )
    count, _, found = out[0].split(" ", 2)
    if count in ("1", "2"):
        pytest.skip("OpenMP runs on one thread here")
    assert "safe=False" in found
    assert "safe=False" in out[1]
