"""What progress shows."""

from __future__ import annotations

import io
import subprocess
import sys
from typing import Any

import pytest

import amorsize
from amorsize.events import ChunkFinished, RunStarted
from amorsize.progress import Lines, Notebook, State, Terminal, observer, span


def square(x: int) -> int:
    return x * x


def test_lines_where_nobody_looks() -> None:
    file = io.StringIO()
    amorsize.map(square, range(300), backend="threads", workers=2, progress=Lines(file))
    (line,) = file.getvalue().splitlines()
    assert "300/300 items (100 %)" in line
    assert "of predicted" in line
    assert "items/s" in line


def test_lines_come_at_intervals() -> None:
    now = 0.0
    file = io.StringIO()
    lines = Lines(file, clock=lambda: now)
    lines(RunStarted("threads", 2, 100, 20, 80.0))
    for number in range(20, 60):
        now += 1.0
        lines(ChunkFinished(number, 1, 1.0, "w", 0))
    told = file.getvalue().splitlines()
    assert len(told) == 4
    assert told[0] == (
        "amorsize on threads: 30/100 items (30 %), 1.00 items/s, 1:10 left, "
        "10.0 s of predicted 1:20"
    )


@pytest.mark.parametrize(
    ("state", "left"),
    [
        (State(None, 5, elapsed_s=1.0), None),
        (State(100, 0, predicted_s=10.0), 10.0),
        (State(100, 100, predicted_s=10.0, elapsed_s=12.0), 0.0),
        (State(100, 50, elapsed_s=5.0), 5.0),
        (State(100, 10, ready=10, predicted_s=9.0, elapsed_s=4.0), 5.0),
    ],
)
def test_time_left(state: State, left: float | None) -> None:
    assert state.left_s == left


def test_what_was_seen_outweighs_what_was_predicted() -> None:
    early = State(100, 1, predicted_s=10.0, elapsed_s=1.0).left_s
    late = State(100, 90, predicted_s=10.0, elapsed_s=90.0).left_s
    assert early is not None
    assert late is not None
    assert early < 30  # a bad first item does not frighten
    assert 9 < late <= 10


def test_spans() -> None:
    assert [span(s) for s in (0.25, 59.94, 61, 3725)] == ["0.2 s", "59.9 s", "1:01", "1:02:05"]


def test_choice_of_display(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(observer(), Lines)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert isinstance(observer(), Terminal)
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    assert isinstance(observer(), Notebook)


@pytest.mark.parametrize("end", ["sys.stderr.close()", "sys.stderr = None"])
def test_a_closed_stream_shows_nothing(end: str) -> None:
    code = (
        f"import sys, amorsize; {end}; amorsize.map(abs, range(100), progress=True); print('fine')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("fine\n", "")


def test_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    results = amorsize.map(square, range(300), backend="threads", workers=2, progress=Terminal())
    assert results == [x * x for x in range(300)]
    assert "300/300" in capsys.readouterr().err


def test_notebook(capsys: pytest.CaptureFixture[str]) -> None:
    amorsize.map(square, range(300), backend="threads", workers=2, progress=Notebook())
    assert "300/300" in capsys.readouterr().err


def test_unknown_length(capsys: pytest.CaptureFixture[str]) -> None:
    data: Any = (x for x in range(500))
    amorsize.map(square, data, progress=True)
    assert "500/500 items" in capsys.readouterr().err


def test_nobody_watching_loads_nothing() -> None:
    code = (
        "import sys, amorsize; amorsize.map(abs, range(100));"
        "print({'amorsize.events', 'amorsize.progress', 'rich'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
