"""The start of an engine: what its own code does to this process is undone, and parts of it may be
mended. Public through :mod:`amorsize.backend`.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from amorsize.interrupts import raise_if_terminated

_PAUSE_S = 0.01


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
