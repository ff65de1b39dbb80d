"""Items that look like giants go ahead of the others."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

import amorsize
from amorsize.giants import LOOK_S, giants
from amorsize.source import source_of

USUAL, GIANT, COUNT = 0.002, 0.2, 150


def test_what_is_far_larger_than_the_others_is_a_giant() -> None:
    data = [b"x" * 100] * 50 + [b"x" * 900, b"x" * 700, b"x" * 5000]
    assert giants(source_of(data), 0.02, len(data), 8) == [52, 50]
    assert giants(source_of(data), 0.02, len(data), 1) == [52]


def test_short_work_looks_at_nothing_and_short_items_are_no_giants() -> None:
    data = [1.0] * 99 + [20.0]
    assert giants(source_of(data), 0.9 * LOOK_S / 100, 100, 8) == []
    assert giants(source_of(data), 0.002, 100, 8) == []  # 40 ms are over soon
    assert giants(source_of(data), 0.01, 100, 8) == [99]
    assert giants(source_of(iter(data)), 0.01, None, 8) == []


def test_the_longest_of_items_half_of_which_take_nothing_are_no_giants() -> None:
    data = [0.0, 1e-6, 0.001, 0.002] * 400  # seconds of a wait, say
    assert giants(source_of(data), 0.0008, len(data), 8) == []
    assert giants(source_of([*data, 0.5]), 0.0008, len(data), 8) == [1600]


@pytest.mark.measures  # a machine may be too busy to start the worker that has the giant
@pytest.mark.parametrize("backend", ["threads", "multiprocessing"])
def test_a_giant_at_the_end_of_the_data_starts_first(backend: str, tmp_path: Path) -> None:
    def work(seconds: float) -> float:
        if seconds == GIANT:
            usual = len(list(tmp_path.iterdir()))
            with (tmp_path / "giant").open("x") as file:  # it runs once
                file.write(str(usual))
        else:
            (tmp_path / str(time.monotonic_ns())).touch()
        time.sleep(seconds)
        return seconds

    data = [USUAL] * (COUNT - 1) + [GIANT]
    plan = amorsize.plan(work, data, backend=backend, workers=2)
    assert plan.run() == data
    assert int((tmp_path / "giant").read_text()) < COUNT / 2, plan.report
    assert len(list(tmp_path.iterdir())) == COUNT


def test_as_many_giants_as_there_are_threads_run_at_once() -> None:
    together = threading.Barrier(8)

    def work(seconds: float) -> float:
        if seconds == GIANT:
            together.wait(timeout=20)
        time.sleep(min(seconds, USUAL))
        return seconds

    data = ([USUAL] * 75 + [GIANT]) * 8
    assert amorsize.map(work, data, backend="threads", workers=8) == data


def test_of_several_errors_the_first_one_counts_although_a_giant_failed_earlier() -> None:
    def work(seconds: float) -> float:
        time.sleep(min(seconds, 0.002))
        if seconds != USUAL:
            raise ValueError(seconds)
        return seconds

    data = [USUAL] * COUNT + [0.003] + [USUAL] * COUNT + [GIANT]
    with pytest.raises(ValueError, match=r"0\.003"):
        amorsize.map(work, data, backend="threads", workers=2)
