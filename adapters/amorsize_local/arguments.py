"""A plan in the words of ``multiprocessing``."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class PoolArguments(Mapping[str, Any]):
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

    def map(self) -> dict[str, int]:
        """Keyword arguments of ``Pool.map(fn, data, ...)``; also what ``**arguments`` gives."""
        return {"chunksize": self.chunksize}

    def executor(self) -> dict[str, Any]:
        """Keyword arguments of ``ProcessPoolExecutor(...)``."""
        return {"max_workers": self.processes, "mp_context": self.context()}

    def __getitem__(self, key: str) -> Any:
        return self.map()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.map())

    def __len__(self) -> int:
        return len(self.map())
