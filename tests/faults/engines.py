"""Engines that a campaign runs on, and what must not stay behind."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

LOCAL = ("fork", "forkserver", "spawn")
ALL = (*LOCAL, "dask", "ray")
TOKEN = "AMORSIZE_FAULTS"


@contextlib.contextmanager
def engine(name: str, workers: int) -> Iterator[dict[str, Any]]:
    """Arguments of ``amorsize.plan`` for an engine, which stays up for the block."""
    if name in LOCAL:
        yield {"backend": "multiprocessing", "options": {"start_method": name}}
    elif name == "dask":
        import dask
        import distributed

        # Else the cluster drops a worker that is just starting again 15 s after a death.
        dask.config.set({"distributed.deploy.lost-worker-timeout": "1 day"})
        cluster = distributed.LocalCluster(
            n_workers=workers, threads_per_worker=1, dashboard_address=":0", silence_logs=50
        )
        with cluster, distributed.Client(cluster) as client:
            yield {"backend": client}
    else:
        import ray

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)
        try:
            yield {"backend": "ray"}
        finally:
            ray.shutdown()


def marked(token: str) -> list[psutil.Process]:
    """Living processes whose environment says that they belong to a run."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            mine = process.pid != os.getpid() and process.environ().get(TOKEN) == token
            if mine and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def told(processes: list[psutil.Process]) -> list[str]:
    """Processes in words."""
    words = []
    for process in processes:
        with contextlib.suppress(psutil.Error):
            words.append(f"{process.pid} {process.name()} {' '.join(process.cmdline())[:100]}")
    return words


def unused(blocks: set[str]) -> set[str]:
    """Those of some blocks of shared memory that no living process has mapped: others on this
    host make some, too.
    """
    left = set(blocks)
    for maps in Path("/proc").glob("[0-9]*/maps") if left else ():
        with contextlib.suppress(OSError):
            text = maps.read_text()
            left -= {name for name in left if name in text}
    return left & shared_memory()  # some processes have ended meanwhile


def shared_memory() -> set[str]:
    """Names of the blocks of shared memory of this host."""
    folder = Path("/dev/shm")
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()
