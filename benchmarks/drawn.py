"""Workloads drawn by chance: ``python -m benchmarks --suite drawn --seed 1 --count 20``.

The workloads of the other suites are known to those who tune the planner. Of these nobody knows
anything before the seed is given: what an item does and how long, how items differ, how many there
are, what goes in and comes out, how data and function are written. A name says the seed and the
number of the draw, and each process draws the same again.
"""

from __future__ import annotations

import functools
import hashlib
import math
import random
import re
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.functions import ITERATIONS_PER_MS, burn
from benchmarks.workload import Job, Workload

LOOP_S = (0.003, 2.5)
"""Shortest and longest time of the plain loop, about."""
ITEM_S, WAIT_S = (5e-7, 0.1), (2e-4, 0.2)
MOST_ITEMS, FEWEST_ITEMS = 300_000, 3
MOST_BYTES = 150_000_000
"""Of all items together, and of all results."""
_NAME = re.compile(r"drawn_(\d+)_(\d+)")
_HASHED_PER_S = 4e8
"""Bytes hashed in a second of a server core, about."""

Item = tuple[float, int, bytes]
"""Seconds of work, seed, payload."""


# -- what an item does: so many seconds of it, about -----------------------------------------


def _compute(seconds: float, seed: int) -> int:
    return burn(int(seconds * 1000 * ITERATIONS_PER_MS), seed)


def _wait(seconds: float, seed: int) -> int:
    time.sleep(seconds)
    return seed


def _wait_and_compute(share: float, seconds: float, seed: int) -> int:
    """Wait for a share of the time first."""
    time.sleep(share * seconds)
    return _compute((1 - share) * seconds, seed)


_BLOCK = bytes(range(256)) * 400


def _hash(seconds: float, seed: int) -> int:
    """In C, without the interpreter's lock while a block is longer than 2 kB."""
    digest, left = hashlib.sha256(), int(seconds * _HASHED_PER_S) + 1
    while left > 0:
        digest.update(_BLOCK[:left])
        left -= len(_BLOCK)
    return digest.digest()[0] + seed


def _objects(seconds: float, seed: int) -> int:
    """Dictionaries and texts, made and thrown away."""
    count = int(seconds * 3e6) + 1
    table = {f"{seed}-{n}": (n, str(n)) for n in range(min(count, 20_000))}
    for _ in range(count // 20_000):
        table = {key: (len(text), text) for key, (_, text) in table.items()}
    return len(table)


WORK: dict[str, Callable[[float, int], int]] = {
    "computes": _compute,
    "waits": _wait,
    "waits and computes": functools.partial(_wait_and_compute, 0.5),
    "mostly waits": functools.partial(_wait_and_compute, 0.9),
    "hashes": _hash,
    "makes objects": _objects,
}
_ODDS = (8, 2, 2, 1, 4, 3)

_BUILT: dict[str, int] = {}


@dataclass(frozen=True)
class Function:
    """A function of one item, as drawn."""

    work: str
    out_bytes: int
    built_s: float
    """Seconds of state that the first call in a process builds."""

    def __call__(self, item: Item) -> Any:
        """Work off an item."""
        if self.built_s and "state" not in _BUILT:
            _BUILT["state"] = _compute(self.built_s, 1)
        seconds, seed, payload = item
        found = WORK[self.work](seconds, seed)
        if payload:
            found += zlib.crc32(payload[:1000])
        return found if not self.out_bytes else bytes([found % 256]) * self.out_bytes


def _called(function: Function, item: Item) -> Any:
    return function(item)


# -- how items differ ------------------------------------------------------------------------

SHAPES: dict[str, Callable[[random.Random, float], float]] = {
    "even": lambda draw, place: 1.0,
    "a little uneven": lambda draw, place: max(0.1, draw.gauss(1.0, 0.2)),
    "exponential": lambda draw, place: draw.expovariate(1.0),
    "heavy-tailed": lambda draw, place: min(30.0, draw.lognormvariate(-0.7, 1.2)),
    "rising": lambda draw, place: 0.1 + 1.8 * place,
    "falling": lambda draw, place: 1.9 - 1.8 * place,
    "one of twenty is ten times as long": lambda draw, place: 7.0 if draw.random() < 0.05 else 0.7,
    "in waves": lambda draw, place: 1.0 + 0.9 * math.sin(25 * place),
}
WRITTEN = ("list", "list", "list", "tuple", "generator", "iterator of a list")
MEANS = ("a callable object", "a callable object", "partial", "lambda")


@dataclass(frozen=True)
class Drawn:
    """One draw."""

    function: Function
    item_s: float
    items: int
    shape: str
    in_bytes: int
    written: str
    means: str

    def __str__(self) -> str:
        told = [
            f"{self.items:,} items of {self.item_s * 1e6:,.0f} us, {self.shape}",
            self.function.work,
        ]
        for label, nbytes in (("in", self.in_bytes), ("out", self.function.out_bytes)):
            told += [f"{nbytes:,} bytes {label}"] if nbytes else []
        told += [f"{self.function.built_s:.2g} s of state"] if self.function.built_s else []
        return "; ".join([*told, self.written, self.means])

    def build(self, seed: str, count: int) -> Job:
        """Function and data of so many items."""
        draw = random.Random(f"{seed}: items")
        payload = draw.randbytes(self.in_bytes)
        shape, own = SHAPES[self.shape], min(1, self.in_bytes)
        items: list[Item] = [
            # A payload of its own for each, as files and arrays are.
            (self.item_s * shape(draw, (n + 0.5) / count), n, payload[:-1] + bytes([n % 256])[:own])
            for n in range(count)
        ]
        return Job(self._callable(), functools.partial(_as_written, self.written, items))

    def _callable(self) -> Callable[[Item], Any]:
        function = self.function
        if self.means == "partial":
            return functools.partial(_called, function)
        return (lambda item: function(item)) if self.means == "lambda" else function


def _as_written(written: str, items: list[Item]) -> Any:
    if written == "tuple":
        return tuple(items)
    if written == "generator":
        return _generate(items)
    return iter(items) if written == "iterator of a list" else items


def _generate(items: list[Item]) -> Iterator[Item]:
    yield from items


def _between(draw: random.Random, least: float, most: float) -> float:
    """Evenly by the logarithm."""
    return math.exp(draw.uniform(math.log(least), math.log(most)))


def _bytes(draw: random.Random, items: int) -> int:
    if draw.random() < 0.65:
        return 0
    return int(min(_between(draw, 100, 4e6), MOST_BYTES / items))


def drawn(seed: int, number: int) -> Drawn:
    """The draw of that seed and number."""
    draw = random.Random(f"{seed}: {number}")
    (work,) = draw.choices(list(WORK), _ODDS)
    loop_s, item_s = (
        _between(draw, *LOOP_S),
        _between(draw, *(WAIT_S if "wait" in work else ITEM_S)),
    )
    items = int(min(MOST_ITEMS, max(FEWEST_ITEMS, loop_s / item_s)))
    built_s = _between(draw, 0.005, 0.2) if draw.random() < 0.12 else 0.0
    return Drawn(
        Function(work, _bytes(draw, items), built_s),
        item_s,
        items,
        draw.choice(list(SHAPES)),
        _bytes(draw, items),
        draw.choice(WRITTEN),
        draw.choice(MEANS),
    )


def workload(name: str) -> Workload | None:
    """The workload of that name, if it is one of these."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    draw = drawn(int(found[1]), int(found[2]))
    return Workload(
        name,
        str(draw),
        functools.partial(draw.build, name),
        draw.items,
        min(draw.items, 4),
        waits="wait" in draw.function.work,
        suite="drawn",
        memory_bytes=2 * MOST_BYTES + 100_000_000,
    )


def names(seed: int, count: int) -> list[str]:
    """Names of the first draws of a seed."""
    return [f"drawn_{seed}_{number}" for number in range(count)]
