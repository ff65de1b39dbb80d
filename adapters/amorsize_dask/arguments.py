"""A plan in the words of Dask."""

from __future__ import annotations

from dataclasses import dataclass

from amorsize.backend import Keywords


@dataclass(frozen=True)
class DaskArguments(Keywords):
    """Numbers for your own Dask code::

    arguments = plan.arguments("dask")
    results = dask.bag.from_sequence(data, **arguments).map(fn).compute()
    futures = client.map(run_batch, list(arguments.batches(data)))
    """

    npartitions: int
    """Number of partitions, each one task."""
    partition_size: int
    """Items in a partition."""
    workers: int
    """Worker threads the numbers are planned for."""

    @property
    def batch_size(self) -> int:  # type: ignore[override]
        """Items that one task should hold."""
        return self.partition_size

    def keywords(self) -> dict[str, int]:
        """Keyword arguments of ``dask.bag.from_sequence``; also what ``**arguments`` gives.
        Only one of the two numbers may be passed: the size, which holds for any length.
        """
        return {"partition_size": self.partition_size}

    def client_map(self) -> dict[str, int]:
        """Keyword arguments of ``Client.map`` over single items: how many tasks are submitted
        at a time. Each item remains a task of its own; prefer :meth:`batches`.
        """
        return {"batch_size": max(1, self.npartitions)}

    bag = keywords
