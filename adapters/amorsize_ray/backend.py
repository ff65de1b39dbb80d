"""What Ray is to amorsize: found without importing it, asked for its size when it is up."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from amorsize import backend as contract
from amorsize.backend import Availability, Backend, BackendCosts, Capacity, fallback
from amorsize.errors import InvalidArgument
from amorsize.probes import Limits

if TYPE_CHECKING:
    from amorsize_ray.arguments import RayArguments

REMEDY = 'pip install "amorsize[ray]"'
_FRESH_S = 0.1
"""Seconds for which a cluster keeps the size that it was last seen with: planning asks for it many
times, and each time Ray asks its head node."""


class RayBackend(Backend):
    """Ray on the session that is up, or on a local one that ends with the run.

    Args:
        num_cpus: logical CPUs that each chunk reserves.
    """

    name = "ray"
    traits = contract.Traits(remote=True, survives_worker_death=True, stores_inputs=True, rank=4)
    options: Mapping[str, str] = {  # type: ignore[misc]
        "num_cpus": "logical CPUs that each chunk reserves (default 1)"
    }

    def __init__(self, num_cpus: float = 1.0) -> None:
        self.num_cpus = num_cpus

    def bind(self, options: Mapping[str, Any]) -> Backend:
        """Fix the reservation of each chunk."""
        super().bind(options)
        number = options.get("num_cpus", self.num_cpus)
        if not isinstance(number, (int, float)) or not 0 < number < math.inf:
            raise InvalidArgument(f"num_cpus must be a number above 0, not {number!r}")
        return RayBackend(float(number))

    def session_is_up(self) -> bool:
        """Whether ``ray.init`` has been called in this process."""
        ray = sys.modules.get("ray")
        return ray is not None and hasattr(ray, "is_initialized") and bool(ray.is_initialized())

    def availability(self) -> Availability:
        """Installed, and whether a session is up, whose references can travel from then on."""
        if not contract.is_installed("ray"):
            return Availability(False, "Ray is not installed", REMEDY)
        if self.session_is_up():
            import amorsize_ray.session  # noqa: F401

            return Availability(True, "the session that is up", running=True)
        return Availability(True, "no session: a local one is started for each run")

    def capacity(self, limits: Limits) -> Capacity:
        """The cluster's logical CPUs over a chunk's; this host's cores if none is up."""
        if not self.session_is_up():
            return Capacity(limits.workers, limits.cores)
        cores = cpus_now()
        return Capacity(max(1, int(cores / self.num_cpus)), max(1.0, cores))

    def configuration(self) -> str:
        """Costs depend on Ray's version, and on the cluster if one is up."""
        release = contract.installed_version("ray")
        if not self.session_is_up():
            return f"{release}-own"
        return f"{release}-{_now()[0]}-{cpus_now():g}"

    def prepare(self) -> None:
        """Have workers import what runs chunks while the caller plans."""
        if self.session_is_up():
            from amorsize_ray.session import prepare

            prepare(_now()[0], self.num_cpus, int(cpus_now() / self.num_cpus))

    def open(self, request: contract.OpenRequest) -> contract.Session:
        """Attach to the session, or start a local one that ends with the run."""
        from amorsize_ray.session import RaySession

        return RaySession(request, self.num_cpus)

    def fallback_costs(self) -> BackendCosts:
        """Of the order seen for a local session (docs/costs.md): start-up, each worker's,
        shut-down; dispatch, latency, slot of a chunk; a byte in and out, in seconds; slowdown.
        """
        seconds = (3.0, 0.1, 1.3, 300e-6, 1.5e-3, 700e-6, 2e-9, 2e-9, 1.05)
        return BackendCosts(*map(fallback, seconds))

    def arguments(self, plan: Any) -> RayArguments:
        """The numbers for remote tasks over batches, and for Ray's pool."""
        from amorsize_ray.arguments import RayArguments

        size = max(1, plan.fixed_chunk_size)
        batches = plan.workers if plan.items is None else math.ceil(plan.items / size)
        return RayArguments(size, max(1, batches), self.num_cpus, 2 * plan.workers, plan.workers)


def cpus_now() -> float:
    """Logical CPUs of the cluster that is up, as they were a moment ago."""
    return _cpus(*_now())


def _now() -> tuple[str, int]:
    """Address of the cluster, and a number that stays the same for a moment."""
    address = sys.modules["ray"].get_runtime_context().gcs_address
    return str(address), int(time.monotonic() / _FRESH_S)


@lru_cache(maxsize=1)
def _cpus(_address: str, _moment: int) -> float:
    return float(sys.modules["ray"].cluster_resources().get("CPU", 0.0))
