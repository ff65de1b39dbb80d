"""Functions with a cache of their own compute an item once, and are planned so."""

from __future__ import annotations

import functools
import time
from typing import Any

import pytest

import amorsize


def burn(x: Any) -> Any:
    end = time.thread_time() + 0.003
    while time.thread_time() < end:
        pass
    return x


def predicted_loop_s(plan: amorsize.Plan[object]) -> float:
    return plan.profile.serial_s or 0.0


def test_items_that_come_again_take_nothing() -> None:
    data = [number % 6 for number in range(800)]
    plan = amorsize.plan(functools.lru_cache(burn), data)
    assert predicted_loop_s(plan) < 0.1  # of 2.4 s
    assert plan.profile.remembered_share > 0.9
    assert "in the function's cache" in plan.explain()
    assert plan.backend == "serial"
    assert plan.run() == data
    assert amorsize.map(functools.cache(burn), data * 4) == data * 4


@pytest.mark.parametrize("make", [functools.lru_cache(maxsize=4), functools.lru_cache(maxsize=0)])
def test_a_cache_that_is_too_small_for_them_saves_nothing(make: Any) -> None:
    plan = amorsize.plan(make(burn), [number % 6 for number in range(800)])
    assert plan.profile.remembered_share == 0


def test_items_that_differ_are_all_computed() -> None:
    plan = amorsize.plan(functools.cache(burn), list(range(800)))
    assert plan.profile.remembered_share == 0
    assert predicted_loop_s(plan) > 1.0


def test_a_part_of_a_long_list_that_repeats_itself() -> None:
    data = [number // 2 for number in range(800)]
    plan = amorsize.plan(functools.cache(burn), data)
    assert 0.3 < plan.profile.remembered_share < 0.7
    assert 0.3 < predicted_loop_s(plan) / (800 * 0.003) < 3.0
    assert plan.run() == data


class Odd:
    """What only seems to have a cache."""

    def __init__(self, told: Any) -> None:
        self.told = told

    def __call__(self, x: int) -> int:
        return burn(x)  # type: ignore[no-any-return]

    def cache_info(self) -> Any:
        if isinstance(self.told, Exception):
            raise self.told
        return self.told


@pytest.mark.parametrize("told", [None, (1, 2), ValueError("no")])
def test_caches_of_another_kind_are_left_alone(told: Any) -> None:
    plan = amorsize.plan(Odd(told), [number % 6 for number in range(100)])
    assert plan.profile.remembered_share == 0
    assert plan.run() == [number % 6 for number in range(100)]


class Slow:
    """An item whose hash takes longer than what is remembered of it."""

    hashed = 0

    def __init__(self, number: int) -> None:
        self.number = number

    def __hash__(self) -> int:
        Slow.hashed += 1
        burn(0)
        return self.number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Slow) and other.number == self.number


def test_hashes_that_take_long_are_asked_for_little() -> None:
    items = [Slow(number) for number in range(6)]
    Slow.hashed = 0
    plan = amorsize.plan(functools.cache(burn), [items[number % 6] for number in range(600)])
    assert Slow.hashed <= plan.sampled + 16


def test_what_has_been_seen_in_full_is_not_expected_again() -> None:
    data = [number % 6 for number in range(50_000)]
    plan = amorsize.plan(functools.cache(burn), data)
    assert plan.profile.remembered_share > 0.99
    assert predicted_loop_s(plan) < 0.05


def test_all_that_tells_of_times_is_of_one_scale() -> None:
    plan = amorsize.plan(functools.cache(burn), [number % 6 for number in range(800)])
    profile = plan.profile
    assert profile.item_sd_s <= 30 * profile.item_s
    assert profile.longest_s < 0.001


class Proxy:
    """A function of another host: each attribute is one of its functions, too."""

    def __init__(self, name: str, called: list[str]) -> None:
        self._name, self._called = name, called

    def __getattr__(self, name: str) -> Proxy:
        if name.startswith("__"):
            raise AttributeError(name)
        return Proxy(f"{self._name}.{name}", self._called)

    def __call__(self, *arguments: Any) -> Any:
        self._called.append(self._name)
        return arguments


def test_a_proxy_is_called_with_items_alone() -> None:
    called: list[str] = []
    results = amorsize.map(Proxy("echo", called), list(range(50)), workers=2)
    assert results == [(item,) for item in range(50)]
    assert called == ["echo"] * 50
