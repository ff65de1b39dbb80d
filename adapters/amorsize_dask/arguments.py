"""A plan in the words of Dask."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class DaskArguments:
    """Numbers for your own Dask code::

    arguments = plan.arguments("dask")
    results = dask.bag.from_sequence(data, **arguments).map(fn).compute()
    futures = client.map(run_batch, arguments.batches(data))
    """

    npartitions: int
    """Number of partitions, each one task."""
    partition_size: int
    """Items in a partition."""
    workers: int
    """Worker threads the numbers are planned for."""

    @property
    def batch_size(self) -> int:
        """Items that one task should hold."""
        return self.partition_size

    def bag(self) -> dict[str, int]:
        """Keyword arguments of ``dask.bag.from_sequence``; also what ``**arguments`` gives.
        Only one of the two numbers may be passed: the size, which holds for any length.
        """
        return {"partition_size": self.partition_size}

    def client_map(self) -> dict[str, int]:
        """Keyword arguments of ``Client.map`` over single items: how many tasks are submitted
        at a time. Each item remains a task of its own; prefer :meth:`batches`.
        """
        return {"batch_size": max(1, self.npartitions)}

    def batches(self, data: Sequence[Any]) -> Iterator[Sequence[Any]]:
        """Cut a sequence into the batches that a task should hold."""
        for start in range(0, len(data), self.partition_size):
            yield data[start : start + self.partition_size]

    def __getitem__(self, key: str) -> int:
        return self.bag()[key]

    def keys(self) -> Iterable[str]:
        """Names of what ``**arguments`` gives."""
        return self.bag()
