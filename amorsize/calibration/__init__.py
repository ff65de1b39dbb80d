"""Measures what a backend costs, through its own ``open`` and ``submit`` and amorsize's runner.

The same few modules price every engine, a stranger's plugin included: ``probe`` opens it and
pushes chunks of nothing through, ``start``, ``terms`` and ``transfer`` turn their times into
costs, ``repeats`` decides how often, ``quality`` what to believe, ``bounded`` how long it may take.
"""

from __future__ import annotations

from amorsize.calibration.bounded import CalibrationFailed
from amorsize.calibration.measure import calibrate

__all__ = ["CalibrationFailed", "calibrate"]
