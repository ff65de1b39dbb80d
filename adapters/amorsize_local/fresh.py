"""Starting workers that are not forked: a fork server, and the main script that must not run."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import parent_process
from types import ModuleType

from amorsize.backend import before_termination
from amorsize_local.server import serve

_PRELOADED = (serve.__module__, "cloudpickle")
"""Modules that a worker needs: for its loop, and for functions that travel by value."""


def prepare_server() -> None:
    """Have a fork server that is still to be started load what every worker needs, once for all
    of them, besides what its user has it load; and its folder removed with this process.
    """
    from multiprocessing import forkserver

    if parent_process() is None:  # else the folder is that of the process which started this one
        before_termination(_remove_folder)
    server = getattr(forkserver, "_forkserver", None)
    modules = getattr(server, "_preload_modules", None)
    if server is not None and modules is not None and serve.__module__ not in modules:
        server.set_forkserver_preload([*modules, *_PRELOADED])


def _remove_folder() -> None:
    """Remove the folder of multiprocessing, where the fork server's socket is."""
    from multiprocessing.util import get_temp_dir

    shutil.rmtree(get_temp_dir(), ignore_errors=True)


@contextmanager
def hidden_main(*, hide: bool) -> Iterator[None]:
    """Keep a fresh interpreter from running the user's main script again: functions of
    ``__main__`` travel by value, and scripts without an ``if __name__`` guard must work.
    """
    if not hide:
        yield
        return
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
