"""The interpreter's switch interval, shortened for a while: the caller's own comes back once nobody
wants it short any more, however many do at once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from amorsize.meanwhile import Meanwhile


class Switching(Meanwhile):
    """The switch interval of this process."""

    _usual_s: float | None = None
    """The caller's own, while somebody wants it short."""

    def __init__(self) -> None:
        super().__init__(self._keep)

    def usual_s(self) -> float:
        """The caller's own interval in seconds, also while it is shortened."""
        with self._lock:
            return sys.getswitchinterval() if self._usual_s is None else self._usual_s

    @contextmanager
    def shortened(self, most_s: float) -> Iterator[None]:
        """No longer than so many seconds until the end of the block."""
        with self:
            sys.setswitchinterval(min(sys.getswitchinterval(), most_s))
            yield

    def _keep(self) -> Callable[[], None]:
        self._usual_s = sys.getswitchinterval()
        return partial(self._restore, self._usual_s)

    def _restore(self, usual_s: float) -> None:
        self._usual_s = None
        sys.setswitchinterval(usual_s)


switching = Switching()
"""That of this process."""
