"""Ray, for real: a local session started here."""

from __future__ import annotations

import copyreg
import os
import pickle
import signal
import subprocess
import sys
from functools import partial
from typing import Any

import pytest

import amorsize
from amorsize.plugins import registry

pytest.importorskip("ray", reason="Ray is not installed")


def work(x: int) -> int:
    return sum(range(5_000)) * 0 + x * x


EXPECTED = [work(x) for x in range(300)]


def test_a_running_session_is_used_and_costs_no_start(ray: Any) -> None:
    plan = amorsize.plan(work, range(300), backend="ray")
    assert plan.run() == EXPECTED
    assert all(term.name not in ("start-up", "shut-down") for term in plan.terms)
    assert ray.is_initialized()
    assert amorsize.ray_map(work, range(300)) == EXPECTED
    assert amorsize.map(work, range(300), backend=ray) == EXPECTED


def test_each_item_runs_once(ray: Any, calls: Any) -> None:
    assert amorsize.map(calls, range(200), backend="ray") == list(range(200))
    assert calls.items == list(range(200))
    assert amorsize.map(lambda x: x, (x for x in range(50)), backend="ray") == list(range(50))


def test_error_and_index(ray: Any) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        amorsize.map(lambda x: 1 / (x - 137), range(300), backend="ray")
    assert any("item 137" in note for note in caught.value.__notes__)


def fetched(ref: Any) -> Any:
    import ray

    return ray.get(ref, timeout=30)


def added(ref: Any, x: int) -> Any:
    return fetched(ref) + x


def put(x: int) -> Any:
    import ray

    return ray.put(x)


def test_references_travel_as_items(ray: Any) -> None:
    refs = [ray.put(x) for x in range(40)]
    assert amorsize.map(fetched, refs, backend="ray") == list(range(40))
    assert amorsize.plan(fetched, refs, backend="ray").run() == list(range(40))


def test_references_travel_with_the_function(ray: Any) -> None:
    expected, ref = list(range(7, 47)), ray.put(7)
    assert amorsize.map(partial(added, ref), range(40), backend="ray") == expected
    assert amorsize.map(lambda x: added(ref, x), range(40), backend="ray") == expected
    assert amorsize.plan(partial(added, ref), range(40), backend="ray").run() == expected


def test_references_travel_as_results(ray: Any) -> None:
    refs = amorsize.map(put, range(40), backend="ray")
    assert ray.get(refs, timeout=30) == list(range(40))


def test_references_are_pickled_elsewhere_as_ever(ray: Any) -> None:
    """Ray would keep their objects for ever."""
    ref = ray.put(7)
    amorsize.map(fetched, [ref], backend="ray")
    ours = pickle.dumps(ref)
    reduced = copyreg.dispatch_table.pop(ray.ObjectRef)
    try:
        assert ours == pickle.dumps(ref)
    finally:
        copyreg.pickle(ray.ObjectRef, reduced)


def test_arrays_come_back_writable(ray: Any) -> None:
    numpy = pytest.importorskip("numpy")
    results = amorsize.map(lambda x: numpy.full(200_000, float(x)), range(8), backend="ray")
    results[-1][0] = -1.0
    assert [array[1] for array in results] == [float(x) for x in range(8)]


def test_a_worker_killed_once_costs_nothing(ray: Any, tmp_path: Any) -> None:
    marker, here = tmp_path / "died", os.getpid()

    def die_once(x: int) -> int:
        if x == 61 and os.getpid() != here and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    assert amorsize.map(die_once, range(100), backend="ray") == list(range(100))


def test_a_killed_worker_is_not_mistaken_for_a_child_of_it(ray: Any, tmp_path: Any) -> None:
    """Its child goes on, and waits here until the run is over."""
    marker, here, over = tmp_path / "died", os.getpid(), tmp_path / "over"
    os.mkfifo(over)

    def fork_and_die(x: int) -> int:
        if x == 61 and os.getpid() != here and not marker.exists():
            marker.touch()
            if os.fork() == 0:
                open(over).close()
                os._exit(0)
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    try:
        assert amorsize.map(fork_and_die, range(100), backend="ray") == list(range(100))
    finally:
        os.close(os.open(over, os.O_RDWR))


def test_a_poison_item_is_named(ray: Any) -> None:
    here = os.getpid()

    def die(x: int) -> int:
        if x == 61 and os.getpid() != here:
            os._exit(1)
        return x

    with pytest.raises(amorsize.WorkerDied) as caught:
        amorsize.map(die, range(100), backend="ray")
    assert caught.value.index == 61


def test_arguments_by_hand(ray: Any) -> None:
    arguments = amorsize.plan(work, range(300)).arguments("ray")
    run_batch = ray.remote(**arguments)(lambda batch: [work(x) for x in batch])
    references = [run_batch.remote(batch) for batch in arguments.batches(range(300))]
    assert len(references) == arguments.n_batches
    assert [y for batch in ray.get(references) for y in batch] == EXPECTED


def test_capacity_and_options(ray: Any) -> None:
    from amorsize.probes import limits

    backend = registry().get("ray")
    assert backend.capacity(limits()).workers == 2
    assert backend.bind({"num_cpus": 2}).capacity(limits()).workers == 1
    for number in (0, float("inf")):
        with pytest.raises(amorsize.InvalidArgument):
            backend.bind({"num_cpus": number})


ELSEWHERE = """
import itertools, threading, amorsize
def close():
    try:
        stream.close()
    except BaseException as error:
        print(repr(error))
stream = amorsize.imap(abs, itertools.count(), backend="ray", workers=1)
for _ in range(3000):
    next(stream)
thread = threading.Thread(target=close)
thread.start()
thread.join()
import ray
print(ray.is_initialized(), next(stream, None))
"""


def test_a_session_of_its_own_may_be_ended_in_another_thread() -> None:
    """Where nobody can put Ray's handler of SIGTERM back."""
    done = subprocess.run([sys.executable, "-c", ELSEWHERE], capture_output=True, text=True)
    assert done.stdout == "False None\n", done.stderr


SHARED = """
import faulthandler, threading, amorsize
from itertools import islice
faulthandler.dump_traceback_later(60, exit=True)

def begin():
    stream = amorsize.imap(abs, range(1000), backend="ray", workers=1)
    begun.append((stream, list(islice(stream, 900))))

if __name__ == "__main__":
    begun = []
    thread = threading.Thread(target=begin)
    thread.start()
    thread.join()
    begin()
    found = [results + list(stream) for stream, results in begun]
    import ray
    print(found == 2 * [list(range(1000))], ray.is_initialized())
"""


def test_runs_share_a_session_of_our_own() -> None:
    """It outlives the thread that has started it, and the run."""
    done = subprocess.run([sys.executable, "-c", SHARED], capture_output=True, text=True)
    assert done.stdout == "True False\n", done.stderr[-2000:]


INTERRUPTED = """
import glob, os, signal, threading, amorsize, psutil, ray
from ray._private import services, state

signal.signal(signal.SIGINT, signal.default_int_handler)

def interrupt():
    os.kill(os.getpid(), signal.SIGINT)

def end():
    interrupt()  # a second time, while it ends
    shutdown()

def run():
    return amorsize.map(abs, range(100), backend="ray", workers=2)

def starting():
    try:
        run()
    except KeyboardInterrupt:
        files = glob.glob(f"/tmp/amorsize-*/session_*_{os.getpid()}")
        print("interrupted", ray.is_initialized(), psutil.Process().children(), files)

look, connect, shutdown = services.get_node, ray._raylet.CoreWorker, ray.shutdown
ray.shutdown = end

def looked(address, node):
    threading.Timer(0.02, interrupt).start()
    try:
        return look(address, node)
    finally:
        table = state.GlobalState()
        table._initialize_global_state(services._get_gcs_client_options(address))
        print([known["NodeID"] for known in table.node_table()])

def connected(*how):
    there = connect(*how)
    interrupt()
    return there

class Dropped:
    def __del__(self):
        interrupt()

def dropped(*args, **settings):
    Dropped()
    return serve(*args, **settings)

serve, services.get_node = services.start_gcs_server, looked
starting()
services.get_node, ray._raylet.CoreWorker, ray.shutdown = look, connected, end
starting()
services.start_gcs_server, ray._raylet.CoreWorker, ray.shutdown = dropped, connect, shutdown
starting()
services.start_gcs_server = serve
print(run() == list(range(100)))
"""


def test_an_interrupted_start_leaves_nothing_and_can_be_repeated() -> None:
    """While Ray waits for its node, in native code, it is heard at once; while the process
    connects, it does not leave it half connected: Ray would abort it when it starts again. It is
    not forgotten where nothing can be raised.
    """
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True)
    nothing_left = "interrupted False [] []\n"
    assert done.stdout == f"[]\n{3 * nothing_left}True\n", done.stderr


HANDLED = """
import os, signal, amorsize
signal.signal(signal.SIGTERM, lambda *_: print("handled"))
with amorsize.imap(abs, iter(range(100_000)), backend="ray", workers=1) as stream:
    for _ in range(3000):
        next(stream)
    os.kill(os.getpid(), signal.SIGTERM)
    print(next(stream))
"""


def test_a_handler_of_sigterm_stays_the_callers() -> None:
    """While a session of its own is up, too."""
    done = subprocess.run([sys.executable, "-c", HANDLED], capture_output=True, text=True)
    assert done.stdout == "handled\n3000\n", done.stderr


_kept: list[Any] = []


def keep(array: Any) -> list[float]:
    """Changes its item, and tells of all that this worker still has."""
    array += 1
    _kept.append(array)
    return [float(kept[0]) for kept in _kept]


def test_workers_have_large_items_for_themselves(ray: Any) -> None:
    np = pytest.importorskip("numpy")
    items = [np.full(500_000, float(number)) for number in range(12)]
    told = amorsize.ray_map(keep, items)
    assert [seen[-1] for seen in told] == [number + 1.0 for number in range(12)]
    latest = max(told, key=len)
    assert sorted(set(latest)) == sorted(latest)  # none was overwritten by a later one
    assert all(float(item[0]) == number for number, item in enumerate(items))


PREPARED = """
import sys, time, ray
from amorsize_ray.backend import RayBackend
ray.init("local", num_cpus=1, include_dashboard=False, log_to_driver=False)
backend, loaded = RayBackend(), ray.remote(lambda: "amorsize_ray.session" in sys.modules)
before, deadline = ray.get(loaded.remote()), time.monotonic() + 30
backend.prepare()
while not (after := ray.get(loaded.remote())) and time.monotonic() < deadline:
    pass
print(before, after)
ray.shutdown()
backend.prepare()
print(ray.is_initialized())
"""


def test_workers_load_what_runs_chunks_before_there_is_one() -> None:
    """And no session is started for that."""
    done = subprocess.run([sys.executable, "-c", PREPARED], capture_output=True, text=True)
    assert done.stdout == "False True\nFalse\n", done.stderr
