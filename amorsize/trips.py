"""Round trips of chunks, as a run sees them: how many have to be on their way depends on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from amorsize.worker import ChunkTimes

_IDLE_SHARE = 0.05
"""Part of a chunk for which its worker may have had nothing to do before: beyond that it waited."""
_NEWS = 0.25
"""Weight of the latest round trip."""


class Trips:
    """What a worker waits that has run out of chunks, in ``seconds``.

    Only chunks whose worker had waited for them tell: others have lain there, and their trips say
    how many were on their way, not how many had to be. Results may have lain here while the
    consumer was busy: a slow one must not have more on its way for that. Workers' clocks are
    compared with themselves only.

    Args:
        assumed_s: a round trip by the costs of the engine, until one is seen.
    """

    def __init__(self, assumed_s: float = 0.0) -> None:
        self.seconds = assumed_s
        self._ended: dict[str, float] = {}

    def observe(self, flown_s: float, times: ChunkTimes, away_s: float = 0.0) -> None:
        """A chunk that took ``flown_s`` seconds from its submission to its results, during
        ``away_s`` of which nobody looked for them.
        """
        before = self._ended.get(times.worker)
        self._ended[times.worker] = times.started_s + times.lasted_s
        if before is None:
            return
        idle_s = times.started_s - before - times.pack_s
        if idle_s > _IDLE_SHARE * times.wall_s:
            most_s = max(0.0, flown_s - times.wall_s - times.pack_s)
            trip_s = min(max(self.seconds, most_s - away_s), most_s)
            self.seconds += _NEWS * (trip_s - self.seconds)
