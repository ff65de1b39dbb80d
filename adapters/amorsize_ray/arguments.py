"""A plan in the words of Ray."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from amorsize.backend import Keywords


@dataclass(frozen=True)
class RayArguments(Keywords):
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

    def keywords(self) -> dict[str, Any]:
        """Keyword arguments of ``ray.remote``; also what ``**arguments`` gives."""
        return {"num_cpus": self.num_cpus}

    def pool(self) -> dict[str, int]:
        """Keyword arguments of ``ray.util.multiprocessing.Pool``."""
        return {"processes": self.processes}

    def pool_map(self) -> dict[str, int]:
        """Keyword arguments of that pool's ``map``."""
        return {"chunksize": self.batch_size}

    remote = keywords
