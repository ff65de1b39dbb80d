"""A forked child without multiprocessing, which takes more time to load than two workers to start.
Where a program has it loaded, its own processes are used: what else it keeps of forks needs them.
"""

from __future__ import annotations

import atexit
import functools
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn, TextIO


@functools.cache
def _can_watch() -> bool:
    """Whether this system tells the end of a process by a file descriptor."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return True


def preferred() -> bool:
    """Whether to fork without multiprocessing."""
    return "multiprocessing" not in sys.modules and _can_watch()


class ForkedProcess:
    """A child that runs ``target(*args)`` and ends. What a session uses of
    ``multiprocessing.Process``, under the same names.
    """

    def __init__(self, target: Callable[..., object], args: tuple[Any, ...]) -> None:
        self._target, self._args = target, args
        with suppress(OSError):  # the child tries again
            _nothing()  # not between two forks, which follow each other directly
        self.pid: int | None = None
        self.exitcode: int | None = None
        """The code of the exit, a signal negated; ``None`` before :meth:`join`, and for ever if
        somebody else has waited for this child."""
        self.sentinel = -1
        """A file descriptor that becomes readable when the child ends."""
        self._ended = False

    def start(self) -> None:
        """Fork.

        Raises:
            OSError: if the system allows no more processes.
        """
        _flush()
        pid = os.fork()
        if pid == 0:
            self._run()
        self.pid = pid
        try:
            self.sentinel = os.pidfd_open(pid)
        except OSError:  # no more files may be open
            os.kill(pid, signal.SIGKILL)
            self.join()
            raise
        del self._target, self._args  # the caller may hold them for no longer than it wants

    def _run(self) -> NoReturn:
        """In the child: never return into the caller's frames."""
        code = 1
        try:
            _leave_stdin()
            self._target(*self._args)
            code = 0
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
        except BaseException:
            traceback.print_exc()
        finally:
            with suppress(BaseException):
                _end_others()
            with suppress(BaseException):
                _flush()
            os._exit(code)

    def kill(self) -> None:
        """End the child at once."""
        self._signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Ask the child to end."""
        self._signal(signal.SIGTERM)

    def _signal(self, number: int) -> None:
        if not self._ended and self.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def join(self) -> None:
        """Wait for the end of the child."""
        if self._ended or self.pid is None:
            return
        with suppress(ChildProcessError):
            _, status = os.waitpid(self.pid, 0)
            self.exitcode = os.waitstatus_to_exitcode(status)
        self._ended = True

    def close(self) -> None:
        """Close the sentinel."""
        sentinel, self.sentinel = self.sentinel, -1
        if sentinel >= 0:
            os.close(sentinel)


@functools.cache
def _nothing() -> TextIO:
    """What children have for standard input: opened once, by their parent."""
    opened = open(os.devnull, encoding="utf-8")  # noqa: SIM115
    atexit.register(opened.close)
    return opened


def _leave_stdin() -> None:
    """The terminal is the caller's."""
    number = -1
    with suppress(OSError, ValueError, AttributeError):  # there may be none
        number = sys.stdin.fileno()
    with suppress(OSError, ValueError, AttributeError):
        sys.stdin.close()
    with suppress(OSError, ValueError):
        sys.stdin = _nothing()
        if number >= 0:  # another file that got it would be the input of programs
            os.dup2(sys.stdin.fileno(), number)


def _end_others() -> None:
    """End processes that the user's function has started with multiprocessing, and wait for its
    threads: as multiprocessing's own children do, and by the same means.
    """
    if (util := sys.modules.get("multiprocessing.util")) is not None:
        util._exit_function()
    threading._shutdown()  # type: ignore[attr-defined]


def _flush() -> None:
    """Text that waits in both processes would be written twice."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError, OSError):
            stream.flush()
