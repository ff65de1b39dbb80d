"""A plan in the words of ``multiprocessing``."""

from __future__ import annotations

import multiprocessing
from dataclasses import dataclass
from typing import Any

from amorsize.backend import Keywords


@dataclass(frozen=True)
class PoolArguments(Keywords):
    """Numbers for your own pool::

    arguments = plan.arguments("multiprocessing")
    with arguments.context().Pool(**arguments.pool()) as pool:
        results = pool.map(fn, data, **arguments)
    """

    processes: int
    """Number of worker processes."""
    chunksize: int
    """Items per task of ``Pool.map``, ``imap`` or ``imap_unordered``."""
    maxtasksperchild: int | None = None
    """Tasks after which a worker is replaced; ``None``: never."""
    start_method: str = "fork"
    """Start method the numbers are planned for."""

    def context(self) -> Any:
        """The multiprocessing context of the start method."""
        return multiprocessing.get_context(self.start_method)

    def pool(self) -> dict[str, Any]:
        """Keyword arguments of ``Pool(...)``."""
        return {"processes": self.processes, "maxtasksperchild": self.maxtasksperchild}

    @property
    def batch_size(self) -> int:  # type: ignore[override]
        """Items that one task should hold."""
        return self.chunksize

    def keywords(self) -> dict[str, int]:
        """Keyword arguments of ``Pool.map(fn, data, ...)``; also what ``**arguments`` gives."""
        return {"chunksize": self.chunksize}

    map = keywords

    def executor(self) -> dict[str, Any]:
        """Keyword arguments of ``ProcessPoolExecutor(...)``."""
        return {"max_workers": self.processes, "mp_context": self.context()}
