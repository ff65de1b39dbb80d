"""What Ray is to amorsize: found without importing it, asked for its size when it is up."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from amorsize.backend import (
    Availability,
    Backend,
    BackendCosts,
    Capacity,
    OpenRequest,
    Session,
    Traits,
    fallback,
    installed_version,
    is_installed,
)
from amorsize.errors import InvalidArgument
from amorsize.probes import Limits

if TYPE_CHECKING:
    from amorsize_ray.arguments import RayArguments

REMEDY = 'pip install "amorsize[ray]"'


class RayBackend(Backend):
    """Ray on the session that is up, or on a local one that ends with the run.

    Args:
        num_cpus: logical CPUs that each chunk reserves.
    """

    name = "ray"
    traits = Traits(remote=True, survives_worker_death=True, stores_inputs=True, rank=4)
    options: Mapping[str, str] = {  # type: ignore[misc]
        "num_cpus": "logical CPUs that each chunk reserves (default 1)"
    }

    def __init__(self, num_cpus: float = 1.0) -> None:
        self.num_cpus = num_cpus

    def bind(self, options: Mapping[str, Any]) -> Backend:
        """Fix the reservation of each chunk."""
        super().bind(options)
        number = options.get("num_cpus", self.num_cpus)
        if not isinstance(number, (int, float)) or not number > 0:
            raise InvalidArgument(f"num_cpus must be a number above 0, not {number!r}")
        return RayBackend(float(number))

    def session_is_up(self) -> bool:
        """Whether ``ray.init`` has been called in this process."""
        ray = sys.modules.get("ray")
        return ray is not None and hasattr(ray, "is_initialized") and bool(ray.is_initialized())

    def availability(self) -> Availability:
        """Installed, and whether a session is up."""
        if not is_installed("ray"):
            return Availability(False, "Ray is not installed", REMEDY)
        if self.session_is_up():
            return Availability(True, "the session that is up", running=True)
        return Availability(True, "no session: a local one is started for each run")

    def capacity(self, limits: Limits) -> Capacity:
        """The cluster's logical CPUs over a chunk's; this host's cores if none is up."""
        if not self.session_is_up():
            return Capacity(limits.workers, limits.cores)
        cores = float(sys.modules["ray"].cluster_resources().get("CPU", 1.0))
        return Capacity(max(1, int(cores / self.num_cpus)), max(1.0, cores))

    def configuration(self) -> str:
        """Costs depend on Ray's version, and on the cluster if one is up."""
        release = installed_version("ray")
        if not self.session_is_up():
            return f"{release}-own"
        ray = sys.modules["ray"]
        cores = ray.cluster_resources().get("CPU", 1.0)
        return f"{release}-{ray.get_runtime_context().gcs_address}-{cores:g}"

    def open(self, request: OpenRequest) -> Session:
        """Attach to the session, or start a local one that ends with the run."""
        from amorsize_ray.session import RaySession

        return RaySession(request, self.num_cpus, attach=self.session_is_up())

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
