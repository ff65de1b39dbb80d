"""The interpreter's switch interval, shortened for a while: the caller's own comes back once nobody
wants it short any more, however many do at once.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Switching:
    """The switch interval of this process."""

    def __init__(self) -> None:
        # Signals and finalizers may plan, too, in the thread that has it.
        self._lock = threading.RLock()
        self._wishes: set[object] = set()
        """One for each that wants it short now."""
        self._usual_s = 0.0
        """The caller's own, while there are wishes."""

    def usual_s(self) -> float:
        """The caller's own interval in seconds, also while it is shortened."""
        with self._lock:
            return self._usual_s if self._wishes else sys.getswitchinterval()

    @contextmanager
    def shortened(self, most_s: float) -> Iterator[None]:
        """No longer than so many seconds until the end of the block."""
        wish = object()
        with self._lock:
            if not self._wishes:
                self._usual_s = sys.getswitchinterval()
            self._wishes.add(wish)
            sys.setswitchinterval(min(sys.getswitchinterval(), most_s))
        try:
            yield
        finally:
            with self._lock:
                known = wish in self._wishes  # not in a child that was forked meanwhile
                self._wishes.discard(wish)
                if known and not self._wishes:
                    sys.setswitchinterval(self._usual_s)

    def forget(self) -> None:
        """In a forked child: threads that want it short, or hold the lock, are not here."""
        wished, self._lock = self._wishes, threading.RLock()
        self._wishes = set()
        if wished:
            sys.setswitchinterval(self._usual_s)


switching = Switching()
"""That of this process."""


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=switching.forget)
