"""A plan in the words of Ray."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class RayArguments(Mapping[str, Any]):
    """Numbers for your own Ray code::

    arguments = plan.arguments("ray")
    run_batch = ray.remote(**arguments)(lambda batch: [fn(x) for x in batch])
    pending = [run_batch.remote(batch) for batch in arguments.batches(data)]
    """

    batch_size: int
    """Items that one task should hold."""
    n_batches: int
    """Number of tasks."""
    num_cpus: float
    """Logical CPUs that each task reserves."""
    max_in_flight: int
    """Tasks to have submitted at a time, for ``ray.wait`` before the next one."""
    processes: int
    """Tasks that run at once."""

    def remote(self) -> dict[str, Any]:
        """Keyword arguments of ``ray.remote``; also what ``**arguments`` gives."""
        return {"num_cpus": self.num_cpus}

    def pool(self) -> dict[str, int]:
        """Keyword arguments of ``ray.util.multiprocessing.Pool``."""
        return {"processes": self.processes}

    def pool_map(self) -> dict[str, int]:
        """Keyword arguments of that pool's ``map``."""
        return {"chunksize": self.batch_size}

    def batches(self, data: Sequence[Any]) -> Iterator[Sequence[Any]]:
        """Cut a sequence into the batches that a task should hold."""
        for start in range(0, len(data), self.batch_size):
            yield data[start : start + self.batch_size]

    def __getitem__(self, key: str) -> Any:
        return self.remote()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.remote())

    def __len__(self) -> int:
        return len(self.remote())
