"""Whether items take longer towards one end of the data: sorted inputs do. Pure.

The slope is that of Theil and Sen, the median over all pairs, which a single giant item does not
move; whether there is one at all is asked of Kendall's tau, which knows no distribution.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

_LEAST, _MOST = 6, 40
"""Points below which there is nothing to tell, and beyond which some are left out."""
_SIGNIFICANT = 2.3
"""Standard errors of tau that chance does not explain: one sample in fifty."""


def trend_of(positions: Sequence[float], times: Sequence[float]) -> float:
    """Seconds by which times rise from position 0 to position 1; 0 if chance may have done it."""
    step = math.ceil(len(times) / _MOST)
    points = list(zip(positions, times, strict=True))[::step]
    count = len(points)
    if count < _LEAST:
        return 0.0
    slopes, concordant = [], 0
    for (here, early), (there, late) in combinations(points, 2):
        if here == there:
            continue
        slope = (late - early) / (there - here)
        slopes.append(slope)
        concordant += (slope > 0) - (slope < 0)
    tau = 2 * concordant / (count * (count - 1))
    error = math.sqrt(2 * (2 * count + 5) / (9 * count * (count - 1)))
    if not slopes or abs(tau) < _SIGNIFICANT * error:
        return 0.0
    slopes.sort()
    return slopes[len(slopes) // 2]
