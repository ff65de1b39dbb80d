"""A lock that a fork does not leave locked."""

from __future__ import annotations

import os
import threading
from contextlib import suppress


class OwnLock:
    """For what the threads of this process share. A forked child has it anew: the thread that held
    it, perhaps for as long as a measurement takes, is not there to let go of it.
    """

    def __init__(self) -> None:
        self._renew()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        # Signals and finalizers may need it in the thread that has it.
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        with suppress(RuntimeError):  # it is new: the holder itself has forked, and goes on here
            self._lock.release()
