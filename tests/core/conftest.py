"""What tests of measuring share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest


@pytest.fixture
def busy_machine() -> Iterator[None]:
    """Other programs want all processors, twice over."""
    code = "print('up', flush=True)\nwhile True: pass"
    spinning = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        for _ in range(2 * (os.cpu_count() or 1))
    ]
    try:
        for process in spinning:
            assert process.stdout is not None
            process.stdout.readline()
        yield
    finally:
        for process in spinning:
            process.kill()
            process.communicate()


@pytest.fixture
def lasts(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Called by an item of a sample: it takes so many seconds by the clocks there, whatever else
    the machine does.
    """
    now = [0.0]
    clocks = ("perf_counter", "thread_time", "process_time")
    told = SimpleNamespace(**{name: lambda: now[0] for name in clocks})
    monkeypatch.setattr("amorsize.sampler.time", told)

    def pass_by(seconds: float) -> None:
        now[0] += seconds

    return pass_by
