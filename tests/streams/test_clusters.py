"""Streams, seeds, voices and journals on Dask and Ray: one start of each engine for all."""

from __future__ import annotations

import itertools
import logging
import random
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import amorsize

pytestmark = pytest.mark.measures

log = logging.getLogger("tests.clusters")
ENGINES = ["dask", "ray"]


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Any:
    """A live engine, as ``backend=`` takes it."""
    if request.param == "dask":
        return request.getfixturevalue("client")
    request.getfixturevalue("ray")
    return "ray"


def draw(x: int) -> tuple[int, float, float]:
    random.random()
    return x, float(np.random.random()), float(amorsize.rng().random())


def talk(x: int) -> int:
    print("out", x)
    print("err", x, file=sys.stderr)
    log.info("item %d", x)
    warnings.warn(f"warn {x}", stacklevel=1)
    return x


def square(x: int) -> int:
    return x * x


def test_at_most_the_window_is_read(engine: Any) -> None:
    read = 0

    def items() -> Iterator[int]:
        nonlocal read
        for item in range(200_000):
            read += 1
            yield item

    plan = amorsize.plan(square, items(), backend=engine, workers=2, chunk_size=10)
    sampled = read
    stream: Any = plan.stream()
    assert next(stream) == 0
    assert read == sampled <= 1000  # one result, then a pause: nothing more has been read
    for number in range(1, sampled + 200):
        assert next(stream) == number**2
        assert read <= max(number, sampled) + 2 * 2 * 17 * 10
    stream.close()


def test_a_slow_consumer_has_little_ahead_of_it(engine: Any) -> None:
    """However long the trip to a worker is; the whole window is for one that has to wait."""
    read = 0

    def items() -> Iterator[int]:
        nonlocal read
        while True:
            yield read
            read += 1

    plan = amorsize.plan(square, items(), backend=engine, workers=2, chunk_size=1)
    with plan.stream() as stream:
        for number in range(plan.sampled + 2000):
            assert next(stream) == number**2
        assert read - number > 8
        for number in range(number + 1, number + 101):  # noqa: B020
            time.sleep(0.01)
            assert next(stream) == number**2
        assert read - number <= 8


def test_seeds(engine: Any) -> None:
    expected = amorsize.map(draw, range(60), seed=42, backend="serial")
    assert amorsize.map(draw, range(60), seed=42, backend=engine) == expected


def test_voices(engine: Any, hears: Any) -> None:
    warned = hears(log.name, lambda: amorsize.map(talk, range(40), backend=engine))
    assert {told for _, told in warned} >= {f"warn {x}" for x in range(40)}


def test_journals(engine: Any, tmp_path: Path) -> None:
    path = tmp_path / "run.sqlite"
    stream: Any = amorsize.imap(square, range(300), backend=engine, chunk_size=5, journal=path)
    assert list(itertools.islice(stream, 150)) == [x * x for x in range(150)]
    stream.close()
    plan = amorsize.plan(square, range(300), backend=engine, journal=path)
    assert plan.profile.resumed >= 150
    assert plan.run() == [x * x for x in range(300)]
