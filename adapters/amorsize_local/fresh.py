"""Starting workers that are not forked: a fork server, and the main script that must not run."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing import current_process, parent_process
from types import ModuleType
from typing import TYPE_CHECKING, Any

from amorsize.backend import before_termination
from amorsize_local.server import serve

if TYPE_CHECKING:
    from multiprocessing.context import BaseContext

_PRELOADED = (serve.__module__, "cloudpickle")
"""Modules that a worker needs: for its loop, and for functions that travel by value."""


def prepare_server(context: BaseContext | None) -> None:
    """Have a fork server that is still to be started load what every worker needs, once for all
    of them, besides what its user has it load; and its folder removed with this process.
    """
    if context is None or context.get_start_method() != "forkserver":
        return
    from multiprocessing import forkserver

    if parent_process() is None:  # else the folder is that of the process which started this one
        before_termination(_remove_folder)
    server = getattr(forkserver, "_forkserver", None)
    _leave_to_parent(server)
    modules = getattr(server, "_preload_modules", None)
    if server is not None and modules is not None and serve.__module__ not in modules:
        server.set_forkserver_preload([*modules, *_PRELOADED])


def _leave_to_parent(server: Any) -> None:
    """In a forked child: the server is its parent's, and multiprocessing, which does not notice,
    could not wait for it. It is to start another one.
    """
    try:
        os.waitid(os.P_PID, server._forkserver_pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        os.close(server._forkserver_alive_fd)
        server._forkserver_pid = server._forkserver_alive_fd = server._forkserver_address = None
    except (AttributeError, TypeError, OSError):  # there is none
        pass


def _remove_folder() -> None:
    """Remove the folder of multiprocessing, where the fork server's socket is."""
    import shutil
    from multiprocessing.util import get_temp_dir

    shutil.rmtree(get_temp_dir(), ignore_errors=True)


@contextmanager
def starting(*, fresh: bool) -> Iterator[None]:
    """What a worker of multiprocessing has to be started in; a fresh interpreter or a fork."""
    with ExitStack() as stack:
        stack.enter_context(undaemonic())
        if fresh:
            stack.enter_context(hidden_main())
        yield


@contextmanager
def undaemonic() -> Iterator[None]:
    """Let a process that is daemonic, as workers of Dask are, start workers: multiprocessing
    forbids it, for they might outlive it; ours do not.
    """
    config: dict[str, Any] = getattr(current_process(), "_config", {})
    if not config.get("daemon"):
        yield
        return
    config["daemon"] = False
    try:
        yield
    finally:
        config["daemon"] = True


@contextmanager
def hidden_main() -> Iterator[None]:
    """Keep a fresh interpreter from running the user's main script again: functions of
    ``__main__`` travel by value, and scripts without an ``if __name__`` guard must work.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
