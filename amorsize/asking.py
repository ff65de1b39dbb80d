"""What calibrations have workers do. Apart from them, so that a worker loads nothing else: what it
loads is part of its start.
"""

from __future__ import annotations

import os
import pickle
import time
from typing import Any, NamedTuple

from amorsize.worker import host_name


class Block:
    """Bytes that are pickled out of band, as arrays of numpy are."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """Protocol 5's way; nobody else pickles it."""
        return Block, (pickle.PickleBuffer(self.data),)


class Ask(NamedTuple):
    """An item that asks for something."""

    result_bytes: int = 0
    """Size of the result."""
    out_of_band: bool = False
    """Whether the result is pickled out of band."""
    nap_s: float = 0.0
    """Seconds to wait."""
    spins: int = 0
    """Steps to compute; the result is then what they took, as :func:`spin` tells it."""
    caller: int = 0
    """The caller's process: the result is then the CPU seconds that the worker has used in its
    own, since it was started."""


NOTHING = None


def answer(item: Any) -> Any:
    """The function of the probes: nothing, unless the item asks for something."""
    if not isinstance(item, Ask):
        return None
    if item.caller:
        return 0.0 if item.caller == os.getpid() else time.process_time()
    if item.spins:
        return spin(item.spins)
    if item.nap_s:
        time.sleep(item.nap_s)
    if not item.result_bytes:
        return None
    return Block(bytearray(item.result_bytes)) if item.out_of_band else bytes(item.result_bytes)


class Spun(NamedTuple):
    """What some steps took."""

    wall_s: float
    """Seconds on the clock."""
    cpu_s: float
    """CPU seconds of the thread."""
    host: str
    """Where."""


def spin(steps: int) -> Spun:
    """Compute in the interpreter, with next to no memory: nothing but the interpreter's lock and
    the core can be missing.
    """
    cpu, wall = time.thread_time(), time.perf_counter()
    number = 0
    for step in range(steps):
        number = (number * 3 + step) & 0xFFFF
    return Spun(time.perf_counter() - wall, time.thread_time() - cpu, host_name())


class Weighted:
    """The function of the probes with something to carry."""

    def __init__(self, nbytes: int) -> None:
        self.load = bytes(nbytes)

    def __call__(self, item: Any) -> Any:
        """As without the load."""
        return answer(item)
