"""Why a run leaves its workers with items left, and what is known of these items by then."""

from __future__ import annotations

from typing import Any, NamedTuple

from amorsize.errors import ItemNotLoaded, UnpicklableItem
from amorsize.profile import Packing, Profile


class Leaving(NamedTuple):
    """A reason to go on elsewhere."""

    why: str
    """The reason, as the report tells it."""
    item_s: float | None = None
    """Seconds that an item takes; ``None``: as planned."""
    facts: dict[str, Any] | None = None
    """What else the profile of the items has to say, for planning anew; ``None`` if there is
    nothing to plan, as the loop is known to be best."""

    def learned(self, profile: Profile) -> Profile:
        """The profile with these facts."""
        return profile._replace(**(self.facts or {}))


COMPUTING = 0.9
"""Share of their time on a processor from which on items alone do not wait."""

GAINS_NOTHING = Leaving("workers lost more time than they saved")
ONE_AT_A_TIME = Leaving("threads wait for each other, one item at a time, as the loop does")


def computing(item_s: float) -> Leaving:
    """Items compute for so long, which seemed to wait."""
    facts = {
        "item_cpu_s": item_s,
        "item_alone_s": 0.0,
        "item_sd_s": 0.0,
        "longest_s": item_s,
        "durations": (),
        "gil_share": 1.0,
        "gil_measured": False,
        "waiting_share": 0.0,
    }
    why = f"items compute for {item_s:.3g} s, and do not wait as sampled"
    return Leaving(why, item_s, facts)


def mixed(item_s: float, item_cpu_s: float) -> Leaving:
    """Items alone take ``item_s`` seconds, of which they compute for some: if that is not nearly
    all, some of them wait, or all of them do at times.
    """
    share = item_cpu_s / max(item_s, 1e-9)
    if share >= COMPUTING:
        return computing(item_s)
    told = computing(item_cpu_s)
    assert told.facts is not None
    facts = {**told.facts, "longest_s": item_s, "gil_share": share, "waiting_share": 1.0 - share}
    why = f"items compute for {item_cpu_s:.3g} s of {item_s:.3g} s, and do not only wait as sampled"
    return Leaving(why, item_s, facts)


def taking_turns(waiting_share: float) -> Leaving:
    """Threads seem to wait for each other, apart from this share of the time that items wait for
    other things.
    """
    facts = {"gil_share": 1.0 - waiting_share, "gil_measured": True}
    return Leaving("threads seem to wait for each other: items hold the GIL after all", facts=facts)


def unsendable(error: UnpicklableItem | ItemNotLoaded) -> Leaving:
    """An item cannot be sent, which the sampled ones could be."""
    cause = str(error.__cause__ or error)
    why = f"an item cannot be sent to a worker: {cause}"
    return Leaving(why, facts={"inputs": Packing(error=cause, measured=True)})
