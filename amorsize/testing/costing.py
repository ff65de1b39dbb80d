"""Costs: the core's calibration can measure the engine, and gets the same again."""

from __future__ import annotations

import math

from amorsize.backend import Backend, BackendCosts
from amorsize.calibration import calibrate
from amorsize.testing.driving import Settings

LOOSE = 20.0
"""Factor by which two measurements may differ: this finds nonsense, not noise."""
NOISE = {
    "startup_s": 0.02,
    "startup_worker_s": 0.02,
    "shutdown_s": 0.02,
    "dispatch_s": 1e-4,
    "latency_s": 1e-4,
    "slot_s": 1e-4,
    "byte_in_s": 2e-9,
    "byte_out_s": 2e-9,
    "slowdown": 1.0,
}
"""Smaller figures than these, in seconds or seconds per byte, count as these."""
ESSENTIAL = ("startup_s", "startup_worker_s", "shutdown_s", "dispatch_s", "latency_s", "slot_s")
"""Figures that must be measured; others may be lost in the noise."""
TRIES = 3


class Costs(Settings):
    """Costs"""

    def test_calibration(self, backend: Backend) -> None:
        """Costs are measured through open and submit: finite, not negative, repeatable"""
        self._usable(backend)
        workers = self._workers(backend)
        first, second = (self._believed(backend, workers) for _ in range(2))
        for name, least in NOISE.items():
            low, high = sorted(costs.figures()[name].value for costs in (first, second))
            assert max(high, least) <= LOOSE * max(low, least), (
                f"{name} was measured as {first.figures()[name].value:.3g} and then as "
                f"{second.figures()[name].value:.3g}"
            )

    def _believed(self, backend: Backend, workers: int) -> BackendCosts:
        """Costs that passed their checks; what the noise of a moment spoils is tried again."""
        for _ in range(TRIES):
            costs = calibrate(backend.bind(self.options), workers=workers, limit_s=self.patience_s)
            if all(costs.figures()[name].origin != "fallback" for name in ESSENTIAL):
                break
        _is_sane(costs)
        return costs


def _is_sane(costs: BackendCosts) -> None:
    for name, figure in costs.figures().items():
        assert math.isfinite(figure.value), f"{name} is {figure.value}"
        assert figure.value >= 0, f"{name} is negative: {figure.value}"
        known = figure.origin in ("measured", "declared") or name not in ESSENTIAL
        assert known, f"{name} was not measured: {figure.origin} ({figure.note})"
    assert costs.latency_s.value > 0, "a round trip took no time at all"
