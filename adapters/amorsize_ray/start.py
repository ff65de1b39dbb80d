"""A Ray of this host's own: how it starts and ends, also where Ctrl-C comes in between."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray._private import state, utils, worker

from amorsize import backend as contract

_QUIET = {"include_dashboard": False, "log_to_driver": False, "configure_logging": False}

hurry = threading.Event()
"""Set where processes of a session that ends get no time to end by themselves."""


@contract.Shared
@contextmanager
def local_session(cpus: int) -> Iterator[None]:
    """A Ray of this host's own that ends with the block and leaves the process as it was: its
    environment, its handler of SIGTERM, its levels of logging, and no files.

    Ctrl-C ends the start at once where that can be, and not where it must not. Ray waits for its
    node in native code, which no signal interrupts, and looks each second. And an interrupt while
    the process connects, a quarter of a second, would leave it half connected: the next
    ``ray.init`` aborts such a process.
    """
    # Not below a long TMPDIR: paths of sockets are limited to about 100 bytes.
    home = "/tmp" if os.path.isdir("/tmp") else None
    remedy = "call ray.init(...) yourself to see why, or use another backend"
    with contract.own_engine("amorsize-", home) as (stack, folder):
        stack.callback(_shutdown, folder)
        look = contract.mended(state.GlobalState, "get_node", _looking_often)
        whole = contract.mended(worker, "connect", contract.shielded())
        ours = contract.mended(utils, "set_sigterm_handler", lambda _: lambda handler: None)
        hurry.set()  # unless it starts
        start = contract.needed("ray", "no start", remedy)
        with start, contract.starting_quietly("ray"), look, whole, ours:
            # "local": never another one that happens to run on this host.
            ray.init("local", num_cpus=cpus, _temp_dir=folder, **_QUIET)
        hurry.clear()
        yield


def _shutdown(folder: str) -> None:
    """End the session that keeps its files in ``folder``. Ray gives each of its processes a second
    to end by itself, one after another, and forgets those of a start that was interrupted.
    """
    with contract.ending_processes(folder, lambda: not ray.is_initialized(), hurry=hurry.is_set()):
        ray.shutdown()


def _looking_often(own: Callable[..., Any]) -> Callable[..., Any]:
    """``GlobalState.get_node`` that is called only once the node is there."""

    def get_node(table: Any, node_id: str) -> Any:
        for _ in contract.looks():
            if any(node["NodeID"] == node_id for node in table.node_table()):
                break
        return own(table, node_id)

    return get_node
