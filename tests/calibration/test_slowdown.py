"""Code that an engine slows down is seen to be slowed down, and by what is the engine's own."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import amorsize
from amorsize.asking import Spun
from amorsize.calibration import calibrate
from amorsize.calibration.slowdown import factor
from amorsize.costs import fallback
from amorsize.model import slowed
from amorsize.plugins import registry
from tests.calibration.test_quality import DEFAULT

pytestmark = pytest.mark.measures

HERE = [Spun(0.01, 0.01, "here")] * 2


def test_waiting_beside_computing_is_the_engines_and_slower_memory_is_not() -> None:
    assert factor(HERE, [[Spun(0.015, 0.01, "here")] * 4], "here").value == pytest.approx(1.5)
    assert factor(HERE, [[Spun(0.02, 0.02, "here")] * 4], "here").value == 1.0
    busy = [Spun(0.012, 0.01, "here")] * 2  # other programs take a part of both
    assert factor(busy, [[Spun(0.012, 0.01, "here")] * 4], "here").value == 1.0


def test_hosts_that_compute_more_slowly_are() -> None:
    assert factor(HERE, [[Spun(0.02, 0.02, "there")] * 4], "here").value == pytest.approx(2.0)
    assert factor(HERE, [[Spun(0.005, 0.005, "there")] * 4], "here").value == 1.0


@given(st.lists(st.tuples(st.floats(1, 5), st.floats(1e-3, 1e-1)), min_size=1, max_size=9))
def test_nothing_runs_faster_in_a_worker(there: list[tuple[float, float]]) -> None:
    spins = [Spun(waits * cpu_s, cpu_s, "there") for waits, cpu_s in there]
    assert factor(HERE, [spins], "here").value >= 1


def test_what_the_author_declares_is_believed(client: Any) -> None:
    local = registry().get("multiprocessing").bind({"start_method": "forkserver"})
    assert calibrate(local, workers=2).slowdown.origin == "declared"
    local.release()
    assert calibrate(registry().resolve(client), workers=2).slowdown.checks


def test_what_waits_is_not_slowed_down() -> None:
    costs = DEFAULT._replace(slowdown=fallback(2.0))
    profile = amorsize.plan(abs, range(4)).profile
    waits = profile._replace(item_s=0.1, item_cpu_s=0.0)
    assert slowed(waits, costs) == 1.0
    assert slowed(waits._replace(item_cpu_s=0.1), costs) == 2.0
    assert slowed(waits._replace(item_cpu_s=0.05), costs) == pytest.approx(1.5)
