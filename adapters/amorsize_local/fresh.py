"""Starting workers that are not forked: a fork server, and the main script that must not run."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing import current_process, parent_process
from types import ModuleType
from typing import TYPE_CHECKING, Any

from amorsize.backend import Meanwhile, before_termination
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


def _be_no_daemon() -> Callable[[], None]:
    config: dict[str, Any] = getattr(current_process(), "_config", {})
    if not config.get("daemon"):
        return lambda: None
    config["daemon"] = False
    return lambda: config.update(daemon=True)


def _hide_main() -> Callable[[], None]:
    main = sys.modules["__main__"]
    stand_in = sys.modules["__main__"] = _without_script(main)

    def take_back() -> None:
        if sys.modules.get("__main__") is stand_in:
            sys.modules["__main__"] = main

    return take_back


def _without_script(main: ModuleType) -> ModuleType:
    """The main module, except that it does not tell where it was loaded from: other threads may
    need what it holds meanwhile, to pickle their own objects.
    """

    class Main(ModuleType):
        __dict__ = property(lambda self: vars(main))

        def __getattr__(self, name: str) -> Any:
            if name == "__file__":
                raise AttributeError(name)
            return getattr(main, name)

        def __setattr__(self, name: str, value: object) -> None:
            setattr(main, name, value)

        def __delattr__(self, name: str) -> None:
            delattr(main, name)

        def __dir__(self) -> list[str]:
            return dir(main)

    return Main("__main__")  # its __spec__ is None


undaemonic = Meanwhile(_be_no_daemon)
"""Lets a process that is daemonic, as workers of Dask are, start workers: multiprocessing forbids
it, for they might outlive it; ours do not."""
hidden_main = Meanwhile(_hide_main)
"""Keeps a fresh interpreter from running the user's main script again: functions of ``__main__``
travel by value, and scripts without an ``if __name__`` guard must work."""


@contextmanager
def _hearing_of_children() -> Iterator[None]:
    """With SIGCHLD let through, where the caller blocks it: a fork server that inherits this tells
    nobody of its workers' ends. A signal that was due meanwhile is sent again.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
    try:
        yield
    finally:
        if signal.SIGCHLD in before:
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
            os.kill(os.getpid(), signal.SIGCHLD)


@contextmanager
def starting(*, fresh: bool) -> Iterator[None]:
    """What a worker of multiprocessing has to be started in; a fresh interpreter or a fork."""
    with ExitStack() as stack:
        stack.enter_context(undaemonic)
        if fresh:
            stack.enter_context(hidden_main)
            stack.enter_context(_hearing_of_children())
        yield
