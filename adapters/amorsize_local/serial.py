"""The plain loop as a backend. The core runs it without a session; the session here serves
those who drive the contract by hand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from amorsize.backend import (
    Availability,
    Backend,
    BackendCosts,
    Capacity,
    Chunk,
    OpenRequest,
    Session,
    Traits,
    declared,
)
from amorsize.probes import Limits

if TYPE_CHECKING:
    from concurrent.futures import Future


class SerialSession(Session):
    """Runs each chunk when it is submitted."""

    def __init__(self, request: OpenRequest) -> None:
        self._request = request
        self.workers = 1

    def submit(self, chunk: Chunk) -> Future[Any]:
        """Run the chunk and return its finished future."""
        from concurrent.futures import Future

        future: Future[Any] = Future()
        future.set_result(self._request.run(chunk))
        return future

    def close(self, *, cancel: bool) -> None:
        """Nothing was started."""


class SerialBackend(Backend):
    """The caller itself."""

    name = "serial"
    traits = Traits(shares_memory=True, shares_gil=True, inline=True, rank=0)

    def availability(self) -> Availability:
        """Always usable, always up."""
        return Availability(True, running=True)

    def capacity(self, limits: Limits) -> Capacity:
        """One worker: the caller."""
        return Capacity(1, limits.cores)

    def open(self, request: OpenRequest) -> Session:
        """A session that runs chunks in the caller."""
        return SerialSession(request)

    def fallback_costs(self) -> BackendCosts:
        """A loop costs nothing beyond its items."""
        none = declared(0.0, "the plain loop")
        return BackendCosts(none, none, none, none, none, none, none, none, declared(1.0))
