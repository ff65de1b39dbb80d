"""Facts about what an engine costs, each with where it came from. All times in seconds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

Origin = Literal["measured", "cached", "observed", "declared", "fallback"]
"""``measured`` now through the backend's own ``open`` and ``submit``; ``cached`` from an earlier
measurement on this host; ``observed`` in a run of this process; ``declared`` true by
construction (a thread ships no bytes); ``fallback`` a documented default, used when nothing
was measured."""


class Figure(NamedTuple):
    """One number and its provenance."""

    value: float
    """Seconds, or seconds per byte; see the field that holds it."""
    origin: Origin
    """Where the number comes from."""
    spread: float = 0.0
    """Relative spread (median absolute deviation over median) of the repeats; 0 if unknown."""
    note: str = ""
    """A remark for the reader: a failed check, the reason for a fallback."""

    def to_dict(self) -> dict[str, Any]:
        """The figure as plain data."""
        data: dict[str, Any] = {"value": self.value, "origin": self.origin}
        if self.spread:
            data["spread"] = self.spread
        if self.note:
            data["note"] = self.note
        return data


def declared(value: float = 0.0, note: str = "") -> Figure:
    """A figure that is true by construction."""
    return Figure(value, "declared", note=note)


def fallback(value: float, note: str = "") -> Figure:
    """A documented default."""
    return Figure(value, "fallback", note=note)


class BackendCosts(NamedTuple):
    """What one backend costs on this machine (MODEL: h, rho, l, a, b, d, beta)."""

    startup_s: Figure
    """Fixed part of starting the backend, in seconds; 0 when it is already up."""
    startup_worker_s: Figure
    """Start-up of each further worker, in seconds."""
    shutdown_s: Figure
    """Stopping it again, in seconds."""
    dispatch_s: Figure
    """Seconds the caller is busy per chunk: the ceiling of its throughput is one over this."""
    latency_s: Figure
    """Seconds from submitting a chunk of nothing to holding its outcome, when idle."""
    slot_s: Figure
    """Least seconds between two chunks on one worker, whatever they hold."""
    byte_in_s: Figure
    """Seconds per byte of packed input, on the way to a worker."""
    byte_out_s: Figure
    """Seconds per byte of packed results, on the way back."""
    slowdown: Figure
    """Factor (>= 1) by which user code runs slower in one of its workers than alone."""

    def figures(self) -> dict[str, Figure]:
        """All figures by name."""
        return self._asdict()

    def running(self) -> BackendCosts:
        """The same costs with the engine already up: nothing to start, nothing to stop."""
        up = declared(0.0, "already running")
        return self._replace(startup_s=up, startup_worker_s=up, shutdown_s=up)

    def with_origin(self, origin: Origin) -> BackendCosts:
        """The same values under another origin, except what is declared or a fallback."""
        changed = {
            name: figure._replace(origin=origin)
            for name, figure in self.figures().items()
            if figure.origin not in ("declared", "fallback")
        }
        return self._replace(**changed)

    def to_dict(self) -> dict[str, Any]:
        """The costs as plain data."""
        return {name: figure.to_dict() for name, figure in self.figures().items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> BackendCosts:
        """The inverse of :meth:`to_dict`.

        Raises:
            ValueError: if a figure is missing, not a finite number >= 0, or of no known origin.
        """
        return cls(**{name: _figure(name, data) for name in cls._fields})


def _figure(name: str, data: Mapping[str, Any]) -> Figure:
    try:
        raw = data[name]
        value, origin = float(raw["value"]), raw["origin"]
        spread, note = float(raw.get("spread", 0.0)), str(raw.get("note", ""))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no valid figure {name!r}") from error
    if not 0.0 <= value < 1e6 or origin not in (
        "measured",
        "cached",
        "observed",
        "declared",
        "fallback",
    ):
        raise ValueError(f"figure {name!r} is out of range: {raw}")
    return Figure(value, origin, spread, note)
