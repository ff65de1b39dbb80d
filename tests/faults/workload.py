"""Functions that the campaign maps, and what is known of their calls. Importable in workers."""

from __future__ import annotations

import os
import time
from pathlib import Path

from amorsize.testing.tasks import append_line, lines_of, spin


class Recorded:
    """Squares the item after some seconds, computing or waiting; tells which process it ran in."""

    def __init__(self, folder: Path, item_s: float, *, waits: bool = False) -> None:
        self.folder, self.item_s, self.waits = str(folder), item_s, waits

    def __call__(self, item: int) -> int:
        """Record the call, take the time, and answer."""
        append_line(f"{self.folder}/calls", item)
        append_line(f"{self.folder}/pids", os.getpid())
        (time.sleep if self.waits else spin)(self.item_s * (0.5 + item % 7 / 6))
        return item * item

    @property
    def calls(self) -> list[int]:
        """The items of all calls so far."""
        return [int(line) for line in lines_of(f"{self.folder}/calls")]


class Poison:
    """Ends its process at some items, except the process ``home``."""

    def __init__(self, deadly: frozenset[int], home: int) -> None:
        self.deadly, self.home = deadly, home

    def __call__(self, item: int) -> int:
        """Die or answer."""
        if item in self.deadly and os.getpid() != self.home:
            os._exit(11)
        return -item
