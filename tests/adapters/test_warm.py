"""Workers that wait for the next run: found again, never stale, never left behind."""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from operator import mul
from pathlib import Path
from typing import Any

import psutil
import pytest

import amorsize
import amorsize_local.child
import amorsize_local.session
from amorsize import pricing
from amorsize.backend import Backend
from amorsize_local.processes import ProcessBackend

METHODS = ("forkserver", "spawn")


@pytest.fixture(params=METHODS)
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    backend = ProcessBackend(request.param)
    yield backend
    backend.release()


def pids(backend: Backend, items: int = 8) -> set[int]:
    """Workers that a run had: each holds on to an item until all have one."""

    def pid(x: int) -> int:
        time.sleep(0.02)
        return os.getpid()

    return set(amorsize.map(pid, range(items), backend=backend, workers=2, chunk_size=1)) - {
        os.getpid()
    }


def test_the_next_run_finds_the_workers_of_the_last(backend: Backend) -> None:
    first = pids(backend)
    assert backend.availability().running
    assert "wait for another run" in backend.availability().reason
    assert pids(backend) <= first
    plan = amorsize.plan(lambda x: x, range(100), backend=backend)
    assert not plan.decision.chosen.prediction.term("start-up")


def test_workers_that_do_not_wait_have_to_be_started(backend: Backend) -> None:
    """Two idle ones are no reason to take 48."""
    pids(backend)
    costs = pricing.price(backend, workers=2, worth_s=None)
    assert costs.workers_up is not None
    assert costs.workers_up.value == 2
    assert costs.starting_s(2) == 0
    assert costs.starting_s(48) >= 46 * costs.startup_worker_s.value > 0


@pytest.mark.measures
def test_workers_that_a_measurement_has_ended_do_not_wait(backend: Backend, store: Path) -> None:
    pids(backend)
    costs = pricing.price(backend, workers=2, worth_s=1e6)
    assert costs.dispatch_s.origin != "fallback"  # it was measured
    assert costs.workers_up is None
    assert costs.starting_s(2) > 0


def test_functions_and_results_are_those_of_this_run(backend: Backend) -> None:
    for factor in range(8):
        results = amorsize.map(partial(mul, factor), range(40), backend=backend, workers=2)
        assert results == [x * factor for x in range(40)]
        again = amorsize.map(str, range(40), backend=backend, workers=2)
        assert again == [str(x) for x in range(40)]


def test_surroundings_are_those_of_the_caller(
    backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    amorsize.map(abs, range(40), backend=backend, workers=2)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AMORSIZE_TEST_COLOUR", "green")
    seen = amorsize.map(
        lambda x: (os.getcwd(), os.environ["AMORSIZE_TEST_COLOUR"]),
        range(40),
        backend=backend,
        workers=2,
    )
    assert set(seen) == {(str(tmp_path), "green")}


SPOIL = {
    "directory": "os.chdir('/')",
    "environment": "os.environ.pop('PATH', None)",
    "module path": "sys.path.insert(0, '/nowhere')",
    "handlers": "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
    "recursion limit": "sys.setrecursionlimit(500)",
    "mask": "os.umask(0o777)",
    "standard files": "[os.close(fd) for fd in range(3)]",
    "a limit": "import resource; n = resource.RLIMIT_NOFILE\n"
    "resource.setrlimit(n, (200, resource.getrlimit(n)[1]))",
    "priority": "os.nice(1)",
    "processors": "if sys.platform == 'linux':\n"
    " os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])",
    "blocked signals": "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])",
    "an alarm": "signal.alarm(1000)",
}


@pytest.fixture
def _usual_sigterm() -> Iterator[None]:
    """Engines of other tests may have left a handler of theirs, which workers do not have."""
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("_usual_sigterm")
@pytest.mark.parametrize("spoil", SPOIL.values(), ids=SPOIL)
def test_what_items_have_changed_does_not_meet_the_next_run(backend: Backend, spoil: str) -> None:
    home = os.getpid()

    def change(x: int) -> int:
        time.sleep(0.02)
        if os.getpid() != home:
            with suppress(OSError):  # closed already, by an item before
                exec(spoil, {"os": os, "sys": sys, "signal": signal})
        return os.getpid()

    def look(x: int) -> tuple[object, ...]:
        time.sleep(0.01)
        mask = os.umask(0o022)
        os.umask(mask)
        handler, files = (
            signal.getsignal(signal.SIGTERM),
            [os.path.exists(f"/dev/fd/{fd}") for fd in range(3)],
        )
        place = os.getcwd(), sys.getrecursionlimit(), "/nowhere" in sys.path, "PATH" in os.environ
        limit = resource.getrlimit(resource.RLIMIT_NOFILE), os.getpriority(os.PRIO_PROCESS, 0)
        cpus = frozenset(os.sched_getaffinity(0)) if sys.platform == "linux" else None
        blocked = frozenset(signal.pthread_sigmask(signal.SIG_BLOCK, []))
        # The caller's own may be the time limit of this test.
        alarm = os.getpid() != home and signal.getitimer(signal.ITIMER_REAL)[0] > 0
        return (*place, handler, mask, *files, *limit, cpus, blocked, alarm)

    how: dict[str, Any] = {"backend": backend, "workers": 2, "chunk_size": 1}
    changed = set(amorsize.map(change, range(20), **how)) - {home}
    assert changed
    fresh = look(0)
    assert set(amorsize.map(look, range(20), **how)) == {fresh}


def test_workers_killed_while_they_wait_are_replaced(backend: Backend) -> None:
    for pid in pids(backend):
        os.kill(pid, signal.SIGKILL)
    plan = amorsize.plan(lambda x: x + 1, range(100), backend=backend, workers=2)
    assert plan.run() == list(range(1, 101))
    assert plan.report is not None
    assert plan.report.lost_workers == 0


def test_a_worker_that_was_stopped_while_it_waits_is_replaced(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The function is too large for shared memory: sending it would wait for the worker."""
    monkeypatch.setattr(amorsize_local.child, "TAKES_S", 0.2)
    for pid in pids(backend):
        os.kill(pid, signal.SIGSTOP)
    content = bytes(100_000_000)
    plan = amorsize.plan(lambda x: x + len(content), range(100), backend=backend, workers=2)
    assert plan.run() == [x + len(content) for x in range(100)]


def test_a_failed_run_leaves_no_worker(backend: Backend) -> None:
    def fail(x: int) -> int:
        if x == 90:
            raise ValueError(x)
        return x

    with pytest.raises(ValueError, match="90"):
        amorsize.map(fail, range(100), backend=backend, workers=2)
    assert not backend.availability().running


def test_an_interrupt_while_workers_are_called_leaves_none(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(worker: object) -> bool:
        raise KeyboardInterrupt

    hired = [psutil.Process(pid) for pid in pids(backend)]
    assert backend.availability().running
    monkeypatch.setattr(amorsize_local.session, "confirms", interrupted)
    hired[0].suspend()  # else it would notice by itself that it is alone
    with pytest.raises(KeyboardInterrupt):
        pids(backend)
    assert not backend.availability().running
    _, left = psutil.wait_procs(hired, 10)
    for process in left:
        process.kill()
    assert not left


def test_workers_nobody_calls_end_by_themselves(backend: Backend) -> None:
    def impatient(x: int) -> int:
        from amorsize_local import server

        server.IDLE_S = 0.05  # the worker's own
        time.sleep(0.02)
        return os.getpid()

    found = amorsize.map(impatient, range(8), backend=backend, workers=2, chunk_size=1)
    for pid in set(found) - {os.getpid()}:
        with suppress(psutil.NoSuchProcess):
            psutil.Process(pid).wait(10)
    assert amorsize.map(abs, range(40), backend=backend, workers=2) == list(range(40))


def test_a_module_that_was_edited_is_loaded_anew(
    backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    source = tmp_path / "edited_between_runs.py"
    for factor in (2, 3):
        source.write_text(f"def scale(x):\n    return {factor} * x\n")
        os.utime(source, (factor, factor))
        importlib.invalidate_caches()
        sys.modules.pop("edited_between_runs", None)
        scale = importlib.import_module("edited_between_runs").scale
        results = amorsize.map(scale, range(40), backend=backend, workers=2)
        assert results == [factor * x for x in range(40)]


@pytest.mark.parametrize("method", METHODS)
def test_a_program_ends_with_its_waiting_workers(method: str) -> None:
    code = f"""
import os, amorsize
def pid(x): return os.getpid()
if __name__ == "__main__":
    found = amorsize.map(pid, range(200), backend="multiprocessing", workers=2,
                         options={{"start_method": {method!r}}})
    print(*set(found))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr == ""
    alive = [int(pid) for pid in done.stdout.split() if psutil.pid_exists(int(pid))]
    assert not psutil.wait_procs([psutil.Process(pid) for pid in alive], timeout=5)[1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_leaves_its_parents_workers_alone() -> None:
    code = """
import os, amorsize
from amorsize_local import warm
def double(x): return 2 * x
def run(): return amorsize.map(double, range(100), backend="multiprocessing", workers=2,
                               options={"start_method": "spawn"})
if __name__ == "__main__":
    expected = run()
    assert warm.waiting("spawn") == 2
    child = os.fork()
    if child == 0:
        os._exit(0 if warm.waiting("spawn") == 0 and run() == expected else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert warm.waiting("spawn") == 2
    assert run() == expected
"""
    subprocess.run([sys.executable, "-c", code], timeout=60, check=True)


def test_a_fork_server_loads_what_workers_need_and_what_the_user_wants() -> None:
    code = """
import json, multiprocessing, os, sys
import amorsize
multiprocessing.set_forkserver_preload(["colorsys"])

def server_had(x):
    with open(f"/proc/{os.getppid()}/cmdline") as file:
        return file.read()

results = amorsize.map(server_had, range(20), backend="multiprocessing", workers=2, chunk_size=1,
                       options={"start_method": "forkserver"})
print(json.dumps([results[-1], list(multiprocessing.forkserver._forkserver._preload_modules)]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], timeout=60, check=True, capture_output=True, text=True
    )
    command, modules = json.loads(done.stdout)
    assert modules == ["colorsys", "amorsize_local.server", "cloudpickle"]
    assert "forkserver" in command
    assert "colorsys" in command


def test_a_terminated_program_leaves_no_folder_of_the_fork_server(tmp_path: Path) -> None:
    code = """
import time
import amorsize

def work(x):
    if x == 50:
        open("at-work", "w").close()
    time.sleep(0.01)
    return x

if __name__ == "__main__":
    amorsize.map(work, range(100_000), backend="multiprocessing", workers=2,
                 options={"start_method": "forkserver"})
"""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    program = subprocess.Popen([sys.executable, "-c", code], env=environment, cwd=tmp_path)
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "at-work").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        (tmp_path / "at-work").unlink()
        program.terminate()
        assert program.wait(30) == -signal.SIGTERM
    finally:
        program.kill()
        program.wait(30)
    assert not list(tmp_path.iterdir())


FIRST_MAPS = """
import sys, threading
import amorsize
from amorsize_local.processes import ProcessBackend

seen = []
other = threading.Thread(target=lambda: seen.append(ProcessBackend("forkserver").availability()))


class Finder:
    def find_spec(self, name, *_):
        if name == "amorsize_local.warm":
            sys.meta_path.remove(self)
            spec = importlib.util.find_spec(name)
            load = spec.loader.exec_module

            def exec_module(module):
                other.start()
                other.join(0.2)
                load(module)

            spec.loader.exec_module = exec_module
            return spec


import importlib.util
sys.meta_path.insert(0, Finder())
import amorsize_local.warm
other.join()
print(seen[0].usable)
"""


def test_threads_may_begin_their_first_maps_at_once() -> None:
    """One asks for idle workers while what keeps them is being loaded for the other."""
    call = [sys.executable, "-c", FIRST_MAPS]
    ended = subprocess.run(call, capture_output=True, text=True, timeout=60)
    assert ended.stdout == "True\n", ended.stderr
