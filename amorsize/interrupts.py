"""What a run must leave as it found it: Ctrl-C and SIGTERM end it with nothing left behind, however
impatient; the environment stays the caller's.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from amorsize.meanwhile import Meanwhile


class Terminated(SystemExit):
    """SIGTERM arrived while a run had workers: unwinds the stack so that they are ended."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)


_terminated = False
"""Whether SIGTERM has arrived during a run."""
_interrupted = False
"""Whether Ctrl-C has arrived while an engine starts."""
_runs, _home = 0, 0
"""Runs that SIGTERM would unwind, and the process that has them."""


_last_acts: set[Callable[[], object]] = set()


def before_termination(act: Callable[[], object]) -> None:
    """Have ``act`` called before a SIGTERM during a run ends this process: for what is otherwise
    done at the interpreter's exit, which such a process does not reach.
    """
    _last_acts.add(act)


@contextmanager
def shielded() -> Iterator[None]:
    """Hold Ctrl-C and SIGTERM back until the end of the block, which must be short: a second
    Ctrl-C must not interrupt the clean-up that the first one started.
    """
    if not _in_main_thread():
        yield
        return
    arrived: list[int] = []
    kinds, holder = (signal.SIGINT, signal.SIGTERM), threading.get_ident()
    before: dict[int, Any] = {}

    def hold(number: int, _: object) -> None:
        if threading.get_ident() == holder:
            arrived.append(number)
        else:  # another thread has forked this process: nobody would ever let go of it here
            signal.signal(number, before.get(number) or signal.SIG_DFL)
            os.kill(os.getpid(), number)

    try:
        for kind in kinds:
            before[kind] = signal.signal(kind, hold)
        yield
    finally:
        _put_back(before)
        for number in dict.fromkeys(arrived):
            os.kill(os.getpid(), number)


def _put_back(handlers: dict[int, Any]) -> None:
    """Each of them, although one that is back may raise at once."""
    try:
        if handlers:
            kind, handler = handlers.popitem()
            signal.signal(kind, handler or signal.SIG_DFL)
    finally:
        if handlers:
            _put_back(handlers)


@contextmanager
def terminating() -> Iterator[None]:
    """Let SIGTERM unwind the stack where it would end this process on the spot; the process then
    still dies of it. Handlers of the caller's own are left alone. Several may be open at once, and
    end in any order and thread: streams do.
    """
    own = signal.getsignal(signal.SIGTERM) in (signal.SIG_DFL, _unwind)
    if not own or not _in_main_thread():
        yield
        return

    global _terminated, _runs, _home
    if not _runs or _home != os.getpid():
        _terminated, _runs, _home = False, 0, os.getpid()
        signal.signal(signal.SIGTERM, _unwind)
    _runs += 1
    try:
        yield
    except Terminated:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for act in _last_acts:
            with suppress(Exception):  # nothing may keep this process from ending
                act()
        os.kill(os.getpid(), signal.SIGTERM)
        raise
    finally:
        _runs = max(0, _runs - 1)
        if not _runs:
            _terminated = False
            # Else nobody but the main thread can; the handler then does what the default does.
            if _in_main_thread() and signal.getsignal(signal.SIGTERM) is _unwind:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _unwind(*_: Any) -> None:
    global _terminated
    if not _runs or os.getpid() != _home:  # or a worker that an executor has just forked
        # Python drops what is raised while it still cleans up after the fork, and the worker
        # would live on: its executor would wait for it for ever.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
        return
    _terminated = True
    raise Terminated


@contextmanager
def deadly_sigterm(engine: str) -> Iterator[None]:
    """In a worker: let SIGTERM end this process on the spot, where a handler of the engine's would
    raise something in the item that runs. One of the user's own is left alone.

    Args:
        engine: how the names of the engine's modules begin.
    """
    before = signal.getsignal(signal.SIGTERM)
    if not _in_main_thread() or not getattr(before, "__module__", "").startswith(engine):
        yield
        return
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, before)


@contextmanager
def heeded() -> Iterator[None]:
    """See to it that Ctrl-C ends the block, which is the start of an engine, although what it
    raises may be dropped there; at its end if :func:`raise_if_terminated` is not called before.
    Handlers of the caller's own are left alone.
    """
    global _interrupted
    if not _in_main_thread() or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return

    def note(*_: Any) -> None:
        global _interrupted
        _interrupted = True
        raise KeyboardInterrupt

    _interrupted = False
    signal.signal(signal.SIGINT, note)
    try:
        yield
        raise_if_terminated()
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _interrupted = False


def raise_if_terminated() -> None:
    """End the run if a SIGTERM has come, or Ctrl-C while its engine starts, and what it raised was
    dropped: an engine's callbacks and destructors cannot raise, and one of them, or an import in C,
    may have been running just then.
    """
    if (_terminated or _interrupted) and _in_main_thread():
        raise Terminated if _terminated else KeyboardInterrupt


def _environment_noted() -> Callable[[], None]:
    before = dict(os.environ)

    def put_back() -> None:
        for name in set(os.environ) - set(before):
            del os.environ[name]
        os.environ.update(before)

    return put_back


_unchanged_environment = Meanwhile(_environment_noted)


def unchanged_environment() -> Meanwhile:
    """Put ``os.environ`` back at the end of the block, where several threads are in one that of the
    last: engines leave the settings of their workers in it.
    """
    return _unchanged_environment


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
