"""The start of an engine: what its own code does to this process is undone, and parts of it may be
mended. Public through :mod:`amorsize.backend`.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
import warnings
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager, suppress
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from amorsize.errors import AmorsizeError, BackendUnavailable
from amorsize.interrupts import raise_if_terminated, shielded, unchanged_environment

if TYPE_CHECKING:
    from amorsize.backend import Backend, OpenRequest, Session
    from amorsize.meanwhile import Meanwhile

_PAUSE_S = 0.01


def open_session(backend: Backend, request: OpenRequest) -> Session | BackendUnavailable:
    """A session of a backend, or why there is none.

    Raises:
        AmorsizeError: if the function cannot travel.
    """
    try:
        return backend.open(request)
    except BackendUnavailable as error:
        return error
    except AmorsizeError:
        raise
    except Exception as error:  # an engine may fail in any way
        unavailable = BackendUnavailable(backend.name, f"it did not start: {error}")
        unavailable.__cause__ = error
        return unavailable


@contextmanager
def own_engine(
    prefix: str, home: str | None, *changes: Meanwhile
) -> Iterator[tuple[ExitStack, str]]:
    """Around an engine that is started for one run: a stack for what ends it, which a second
    Ctrl-C does not interrupt, and a folder. The folder goes last, and the environment is put back.
    Errors of the end are dropped: they would hide the run's own.

    Args:
        prefix: of the folder's name.
        home: where the folder is made, ``None`` for where temporary files are.
        changes: what engines of this kind change in the process.
    """
    stack = ExitStack()
    try:
        folder = stack.enter_context(TemporaryDirectory("", prefix, home, True))
        for change in (unchanged_environment(), *changes):
            stack.enter_context(change)
        yield stack, folder
    finally:
        with shielded(), suppress(Exception):
            stack.close()


@contextmanager
def needed(engine: str, failed: str, remedy: str) -> Iterator[None]:
    """What an engine cannot do without: an exception in the block becomes
    :class:`~amorsize.BackendUnavailable`.

    Args:
        engine: its name.
        failed: what is wrong if the block fails.
        remedy: what the user may do then.
    """
    try:
        yield
    except Exception as error:
        raise BackendUnavailable(engine, f"{failed}: {error}", remedy) from error


@contextmanager
def starting_quietly(name: str) -> Iterator[None]:
    """While an engine starts: nothing of its warnings and of what it logs is told, and a handler
    of SIGTERM that it sets goes again.

    Args:
        name: of the engine's logger.
    """
    logger, handler = logging.getLogger(name), signal.getsignal(signal.SIGTERM)
    level = logger.level
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            logger.setLevel(logging.CRITICAL)
            yield
    finally:
        logger.setLevel(level)
        # Elsewhere none can be set.
        if handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


@contextmanager
def mended(owner: Any, name: str, mend: Callable[[Any], Any]) -> Iterator[None]:
    """Have an engine's own ``owner.name`` be ``mend(owner.name)`` for the block. A version of the
    engine that has none is left as it is.
    """
    own = getattr(owner, name, None)
    if own is None:
        yield
        return
    setattr(owner, name, mend(own))
    try:
        yield
    finally:
        setattr(owner, name, own)


def looks(most_s: float = 30.0) -> Iterator[None]:
    """A turn now and each 10 ms, for so many seconds: for waits that Ctrl-C must interrupt."""
    until = time.monotonic() + most_s
    yield
    while time.monotonic() < until:
        raise_if_terminated()
        time.sleep(_PAUSE_S)
        yield


def awaited(start: Coroutine[Any, Any, Any], loop: Any) -> Any:
    """The result of what starts on an event loop of another thread. Ctrl-C ends the wait, not the
    start.
    """
    import asyncio

    future = asyncio.run_coroutine_threadsafe(start, loop)
    for _ in looks():
        if future.done():
            break
    return future.result()
