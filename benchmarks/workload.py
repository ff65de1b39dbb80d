"""What a workload is: a function, its data, and how to tell that results are right."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

SIZES = ("full", "smoke", "cluster")


@dataclass(frozen=True)
class Job:
    """What a contestant gets."""

    fn: Callable[[Any], Any]
    """Function of one item."""
    data: Callable[[], Iterable[Any]]
    """The data; called again for each run, because an iterator is used up."""


@dataclass(frozen=True)
class Workload:
    """A function over data, in two sizes."""

    name: str
    """Short name, as in tables."""
    about: str
    """What it stands for."""
    build: Callable[[int], Job]
    """Makes function and data for a number of items."""
    full: int
    """Items in a measurement."""
    smoke: int
    """Items in a test."""
    waits: bool = False
    """Whether it waits: the oracle then also tries more workers than cores."""
    quick: bool = True
    """Whether a quick run of the suite includes it."""
    cluster: int = 0
    """Items in a measurement on a cluster, where naive uses take milliseconds an item; 0 for
    no measurement there."""
    suite: str = "local"
    """The suite that includes it; empty if only that of the clusters does."""
    memory_bytes: int = 200_000_000
    """New memory that a run takes at most, in all its processes: the machine has it ready when the
    clock starts."""

    def items(self, size: str) -> int:
        """Number of items of a size."""
        return {"full": self.full, "smoke": self.smoke, "cluster": self.cluster}[size]

    def make(self, size: str = "full") -> Job:
        """Function and data of a size."""
        return self.build(self.items(size))

    def check(self, results: Iterable[Any]) -> str:
        """Fingerprint of the results: equal exactly if the results are."""
        return fingerprint(results)


def fingerprint(results: Iterable[Any]) -> str:
    """Fingerprint of results in order, arrays by type, shape and bytes."""
    digest, count = hashlib.blake2b(digest_size=16), 0
    for result in results:
        _feed(digest, result)
        count += 1
    return f"{count}:{digest.hexdigest()}"


def _feed(digest: Any, value: Any) -> None:
    if hasattr(value, "dtype") and hasattr(value, "tobytes"):
        digest.update(f"{value.dtype}{value.shape}".encode())
        digest.update(memoryview(value).cast("B") if value.size else b"")
    else:
        digest.update(repr(value).encode())
    digest.update(b"\0")


def over(
    fn: Callable[[Any], Any], items: Callable[[int], Iterable[Any]], *modules: str
) -> Callable[[int], Job]:
    """A workload whose data is a list or range made once, by a script that has imported the
    modules its function needs.
    """

    def build(count: int) -> Job:
        for module in modules:
            importlib.import_module(module)
        data = items(count)
        return Job(fn, lambda: data)

    return build
