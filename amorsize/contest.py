"""Whose guessed costs matter: nothing is measured that cannot change the decision. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from amorsize.costs import COUNTS
from amorsize.errors import PlanInfeasible
from amorsize.planner import Offer, Wish, decide
from amorsize.profile import Profile

DOUBT = 3.0
"""Factor by which documented defaults may be off, up or down."""


def contested(profile: Profile, offers: Sequence[Offer], wish: Wish) -> set[str]:
    """Names of those offers whose costs are guesses that could change what is chosen: the
    fastest ones, if some are taken for better and others for worse than guessed. Engines that
    must not be started are none of them.
    """
    guessed = {offer.name for offer in offers if offer.costs.is_guess and not offer.cold_cluster}
    if not guessed:
        return set()
    at_best: dict[str, float] = {}
    at_worst: dict[str, float] = {}
    for offer in offers:
        doubt = DOUBT if offer.name in guessed else 1.0
        at_best[offer.name] = _seconds(profile, _scaled(offer, 1 / doubt), wish)
        at_worst[offer.name] = _seconds(profile, _scaled(offer, doubt), wish)
    surely_s = min(at_worst.values())
    contenders = {name for name, seconds in at_best.items() if seconds <= surely_s}
    return contenders & guessed if len(contenders) > 1 else set()


def _scaled(offer: Offer, factor: float) -> Offer:
    guesses = {
        name: figure._replace(value=figure.value * factor)
        for name, figure in offer.costs.figures().items()
        if figure.origin == "fallback" and name not in COUNTS
    }
    return offer._replace(costs=offer.costs._replace(**guesses)) if factor != 1.0 else offer


def _seconds(profile: Profile, offer: Offer, wish: Wish) -> float:
    try:
        return decide(profile, [offer], wish).chosen.prediction.seconds
    except PlanInfeasible:
        return float("inf")
