"""A Ray of this host's own: how it starts and ends, also where Ctrl-C comes in between."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import ray
from ray._private import state, worker

from amorsize import backend as contract

_MOST_S, _LOOK_S = 30.0, 0.01
"""Most seconds to look whether a node is up, as Ray does, and seconds between two looks."""


@contextmanager
def local_session(cpus: int, hurry: threading.Event) -> Iterator[None]:
    """A Ray of this host's own that ends with the block and leaves the process as it was: its
    environment, its handler of SIGTERM, its levels of logging, and no files. With ``hurry`` set
    its processes get no time to end by themselves.
    """
    # Not below a long TMPDIR: paths of sockets are limited to about 100 bytes.
    folder = tempfile.mkdtemp(prefix="amorsize-", dir="/tmp" if os.path.isdir("/tmp") else None)
    handler, logger = signal.getsignal(signal.SIGTERM), logging.getLogger("ray")
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        stack.enter_context(contract.unchanged_environment())
        stack.callback(_put_back, handler)
        stack.callback(_shutdown, folder, hurry)
        # "local": never another one that happens to run on this host.
        options = {"address": "local", "num_cpus": cpus, "_temp_dir": folder}
        quiet = {"include_dashboard": False, "log_to_driver": False, "configure_logging": False}
        try:
            with warnings.catch_warnings(), _interruptible(), ExitStack() as loud:
                loud.callback(logger.setLevel, logger.level)
                warnings.simplefilter("ignore")
                logger.setLevel(logging.CRITICAL)
                ray.init(**options, **quiet)
        except (KeyboardInterrupt, SystemExit):
            hurry.set()
            raise
        except Exception as error:
            remedy = "call ray.init(...) yourself to see why, or use another backend"
            raise contract.BackendUnavailable("ray", f"no start: {error}", remedy) from error
        yield


def _shutdown(folder: str, hurry: threading.Event) -> None:
    """End the session that keeps its files in ``folder``. Ray gives each of its processes a second
    to end by itself, one after another, and forgets those of a start that was interrupted.
    """
    with contract.ending_processes(folder, lambda: not ray.is_initialized(), hurry=hurry.is_set()):
        ray.shutdown()


def _put_back(handler: Any) -> None:
    """Ray's handler of SIGTERM goes, where this thread is the one that can do it."""
    if handler is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C end ``ray.init`` at once where that can be, and not where it must not.

    Ray waits for its node in native code, which no signal interrupts, and looks each second. And
    an interrupt while the process connects leaves it half connected: the next ``ray.init`` aborts
    it. A version of Ray without these parts does as it always does.
    """
    with ExitStack() as stack:
        for owner, name, around in (
            (state.GlobalState, "get_node", _looking_often),
            (worker, "connect", _whole),
        ):
            if (own := getattr(owner, name, None)) is not None:
                stack.callback(setattr, owner, name, own)
                setattr(owner, name, around(own))
        yield


def _looking_often(own: Callable[..., Any]) -> Callable[..., Any]:
    """``GlobalState.get_node`` that is called only once the node is there."""

    def get_node(table: Any, node_id: str) -> Any:
        until = time.monotonic() + _MOST_S
        while time.monotonic() < until:
            if any(node["NodeID"] == node_id for node in table.node_table()):
                break
            time.sleep(_LOOK_S)
        return own(table, node_id)

    return get_node


def _whole(own: Callable[..., Any]) -> Callable[..., Any]:
    """``connect``, a quarter of a second, after which, not within which, Ctrl-C is heard."""

    def connect(*args: Any, **settings: Any) -> Any:
        with contract.shielded():
            return own(*args, **settings)

    return connect
