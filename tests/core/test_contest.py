"""Only costs that could change the decision are worth measuring."""

from __future__ import annotations

from amorsize.backend import Capacity, Traits, process_pool_fallback
from amorsize.contest import contested
from amorsize.costs import declared, fallback
from amorsize.planner import SERIAL, Offer, Wish
from amorsize.profile import Profile
from tests.core.test_simulate import FREE, profile


def offers(guessed: bool = True, start_s: float = 0.01) -> list[Offer]:
    pool = process_pool_fallback()._replace(startup_s=fallback(start_s))
    if not guessed:
        pool = pool.with_origin("measured")._replace(dispatch_s=declared(50e-6))
    return [
        Offer(SERIAL, Traits(inline=True), Capacity(1, 1.0), FREE),
        Offer("pool", Traits(inherits_memory=True), Capacity(2, 2.0), pool),
    ]


def work(items: int, item_s: float) -> Profile:
    return profile(items, (item_s,) * 5)._replace(item_cpu_s=item_s, gil_share=1.0)


def test_a_clear_winner_is_not_measured() -> None:
    assert contested(work(10_000, 0.01), offers(), Wish()) == set()


def test_a_clear_loser_is_not_measured() -> None:
    assert contested(work(10, 1e-4), offers(), Wish()) == set()


def test_what_could_win_or_lose_is_measured() -> None:
    assert contested(work(100, 5e-4), offers(), Wish()) == {"pool"}


def test_what_is_known_is_not_measured_again() -> None:
    assert contested(work(100, 5e-4), offers(guessed=False), Wish()) == set()


def test_what_must_not_be_started_is_not_measured() -> None:
    known, pool = offers()
    cold = pool._replace(cold_cluster=True)
    assert contested(work(100, 5e-4), [known, cold], Wish()) == set()
