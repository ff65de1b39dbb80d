"""For how long a thread has waited for a processor that other programs had. Linux tells it."""

from __future__ import annotations

import os
from types import TracebackType

_PATH = "/proc/thread-self/schedstat"


class RunQueue:
    """Tells it of the thread that made this object, cheaply: the file stays open until the end of
    the block.
    """

    def __init__(self) -> None:
        try:
            self._file: int | None = os.open(_PATH, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # not told by this system
            self._file = None

    def __enter__(self) -> RunQueue:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def waited_s(self) -> float:
        """Seconds so far; 0 where the system does not tell."""
        if self._file is None:
            return 0.0
        try:
            return int(os.pread(self._file, 80, 0).split()[1]) / 1e9
        except (OSError, ValueError, IndexError):
            return 0.0
