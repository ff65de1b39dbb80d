"""Dask without a client: a cluster of amorsize's own, and a client that is gone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

import amorsize

pytest.importorskip("distributed", reason="Dask is not installed")


def work(x: int) -> int:
    return sum(range(5_000)) * 0 + x * x


EXPECTED = [work(x) for x in range(300)]


def test_own_cluster_pays_its_start_and_leaves_nothing() -> None:
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    plan = amorsize.plan(work, range(300), backend="dask")
    assert plan.predicted is not None
    assert plan.predicted > 0.1
    assert plan.run() == EXPECTED
    after = psutil.Process().children(recursive=True)
    left = [c.cmdline() for c in after if c.pid not in before]
    assert not [line for line in left if "resource_tracker" not in " ".join(line)]


def test_a_closed_client_is_refused_with_the_remedy() -> None:
    import distributed

    with (
        distributed.LocalCluster(
            n_workers=1, processes=False, dashboard_address=":0", silence_logs=50
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as closed,
    ):
        pass
    with pytest.raises(amorsize.BackendUnavailable, match="connect a new Client"):
        amorsize.map(work, range(10), backend=closed)


INTERRUPTED = """
import os, signal, threading, amorsize, distributed, psutil

signal.signal(signal.SIGINT, signal.default_int_handler)
AT = [distributed.Scheduler, distributed.Client, distributed.nanny.WorkerProcess]
STARTS = ["start_unsafe", "_start", "start"]

def interrupting(start):
    async def started(*what, **how):
        os.kill(os.getpid(), signal.SIGINT)
        return await start(*what, **how)
    return started

def run():
    return amorsize.map(abs, range(100), backend="dask", workers=2)

def starting():
    try:
        run()
    except KeyboardInterrupt:
        children = [" ".join(child.cmdline()) for child in psutil.Process().children()]
        threads = [thread.name for thread in threading.enumerate()]
        left = [child for child in children if "resource_tracker" not in child]
        print("interrupted", left, "IO loop" in threads)

if __name__ == "__main__":
    for owner, name in zip(AT, STARTS):
        own = getattr(owner, name)
        setattr(owner, name, interrupting(own))
        starting()
        setattr(owner, name, own)
    print(run() == list(range(100)))
"""


def test_an_interrupted_start_leaves_nothing_and_can_be_repeated(tmp_path: Path) -> None:
    """While the scheduler starts, the client connects, and the workers start."""
    script = tmp_path / "script.py"
    script.write_text(INTERRUPTED)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert done.stdout == "interrupted [] False\n" * 3 + "True\n", done.stderr


ASYNCHRONOUS = """
import asyncio, distributed, faulthandler, amorsize
faulthandler.dump_traceback_later(60, exit=True)
async def main():
    how = dict(processes=False, asynchronous=True, n_workers=1, dashboard_address=None)
    async with distributed.Client(**how):
        return amorsize.map(lambda item: sum(range(200_000)) * 0 + item, range(200))
if __name__ == "__main__":
    print(asyncio.run(main()) == list(range(200)))
"""


def test_an_asynchronous_client_that_nobody_asked_for_is_not_waited_for() -> None:
    done = subprocess.run([sys.executable, "-c", ASYNCHRONOUS], capture_output=True, text=True)
    assert done.stdout == "True\n", done.stderr[-2000:]


ADAPTIVE = """
import distributed, amorsize
if __name__ == "__main__":
    how = dict(n_workers=0, threads_per_worker=1, processes=False, dashboard_address=None)
    with distributed.LocalCluster(**how) as cluster, distributed.Client(cluster) as client:
        cluster.adapt(minimum=0, maximum=1)
        print(amorsize.map(abs, range(-9, 9), backend=client) == list(map(abs, range(-9, 9))))
"""


def test_a_cluster_that_has_adapted_itself_to_nothing_is_woken() -> None:
    done = subprocess.run([sys.executable, "-c", ADAPTIVE], capture_output=True, text=True)
    assert done.stdout == "True\n", done.stderr[-2000:]


TWO_AT_ONCE = """
import logging, os, amorsize, dask, distributed
from itertools import islice

def settings():
    patience = dask.config.get("distributed.deploy.lost-worker-timeout")
    levels = [handler.level for handler in logging.getLogger("distributed").handlers]
    return dask.config.get("temporary-directory", None), patience, levels, dict(os.environ)

if __name__ == "__main__":
    before, numbers = settings(), range(1000)
    streams = [amorsize.imap(abs, numbers, backend="dask", workers=1) for _ in range(2)]
    found = [list(islice(stream, 900)) for stream in streams]
    found = [results + list(stream) for results, stream in zip(found, streams)]
    print(found == 2 * [list(numbers)], settings() == before)
"""


def test_two_clusters_at_once_leave_the_process_as_it_was() -> None:
    """The one that is up first ends first, as those of two threads may."""
    done = subprocess.run([sys.executable, "-c", TWO_AT_ONCE], capture_output=True, text=True)
    assert done.stdout == "True True\n", done.stderr[-2000:]
    assert not done.stderr


COROUTINE = """
import distributed, faulthandler, time, amorsize
faulthandler.dump_traceback_later(60, exit=True)

def plain(count):
    return amorsize.dask_map(abs, range(count)) == list(range(count))

async def coroutine(count):
    wait = lambda item: time.sleep(0.01) or item
    return amorsize.map(wait, range(count)) == list(range(count))

if __name__ == "__main__":
    how = dict(n_workers=1, threads_per_worker=1, dashboard_address=None)
    with distributed.LocalCluster(processes=False, **how) as cluster:
        with distributed.Client(cluster) as client:
            print([client.submit(task, 20).result() for task in (plain, coroutine)])
"""


def test_a_task_that_is_a_coroutine_does_not_wait_for_its_own_loop() -> None:
    done = subprocess.run([sys.executable, "-c", COROUTINE], capture_output=True, text=True)
    assert done.stdout == "[True, True]\n", done.stderr[-2000:]
