"""Shows how far a run is: a bar of rich in a terminal, of tqdm in a notebook, lines elsewhere.

Drawn by the run itself, a few times a second when results arrive: a thread that draws would
make forking unsafe.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from amorsize.events import ChunkFinished, Event, ItemFailed, Moved, Observer
from amorsize.events import RunFinished as Finished
from amorsize.events import RunStarted as Started

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

DRAW_EVERY_S = 0.1
"""Seconds between two drawings of a bar."""
LINE_EVERY_S = 10.0
"""Seconds between two lines where output is kept, as in a log file."""


@dataclass
class State:
    """How far a run is."""

    total: int | None = None
    """Items of the data, ``None`` if unknown."""
    done: int = 0
    """Items with a result, those that were ready at the start included."""
    ready: int = 0
    """Items that were ready at the start."""
    failed: int = 0
    """Items that failed."""
    predicted_s: float | None = None
    """Predicted seconds of the run."""
    elapsed_s: float = 0.0
    """Seconds since the start."""
    where: str = ""
    """Name of the backend."""

    @property
    def per_second(self) -> float:
        """Items a second since the start."""
        return (self.done - self.ready) / self.elapsed_s if self.elapsed_s > 0 else 0.0

    @property
    def left_s(self) -> float | None:
        """Seconds to go: at first what the model predicts, more and more what has been seen."""
        if self.total is None:
            return None
        todo, ran = self.total - self.ready, self.done - self.ready
        if todo <= 0 or ran >= todo:
            return 0.0
        share = ran / todo
        seen = self.elapsed_s * (1 - share) / share if ran else None
        if self.predicted_s is None:
            return seen
        hoped = max(0.0, self.predicted_s - self.elapsed_s)
        return hoped if seen is None else seen * share**0.5 + hoped * (1 - share**0.5)

    def text(self) -> str:
        """Items a second, seconds to go, predicted against so far."""
        parts = [f"{self.per_second:,.{0 if self.per_second >= 10 else 2}f} items/s"]
        if self.left_s is not None and self.done != self.total:
            parts.append(f"{span(self.left_s)} left")
        if self.predicted_s is not None:
            parts.append(f"{span(self.elapsed_s)} of predicted {span(self.predicted_s)}")
        else:
            parts.append(f"{span(self.elapsed_s)} so far")
        if self.failed:
            parts.append(f"{self.failed} failed")
        return ", ".join(parts)


def span(seconds: float) -> str:
    """Seconds as people write them."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Display(ABC):
    """An observer that keeps the state and draws it now and then; subclasses draw."""

    every_s = DRAW_EVERY_S

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.state, self._clock = State(), clock
        self._began = self._drawn = clock()

    def __call__(self, event: Event) -> None:
        """Take note of an event, and draw if it is time."""
        now, state = self._clock(), self.state
        match event:
            case Started():
                self._began = self._drawn = now
                ready, where = event.ready, event.backend
                self.state = State(
                    event.items, ready, ready, predicted_s=event.predicted_s, where=where
                )
                self.begin()
                return
            case ChunkFinished():
                state.done += event.items
            case ItemFailed():
                state.failed += 1
            case Moved():
                state.where = event.after
        state.elapsed_s = now - self._began
        if isinstance(event, Finished):
            if event.complete:  # a slow observer may have missed chunks
                state.done = state.total = state.ready + event.report.items
            self.end()
        elif now - self._drawn >= self.every_s:
            self._drawn = now
            self.draw()

    def begin(self) -> None:  # noqa: B027 - optional
        """The run begins."""

    @abstractmethod
    def draw(self) -> None:
        """Show the state."""

    def end(self) -> None:  # noqa: B027 - optional
        """The run is over."""


class Lines(Display):
    """Whole lines, few of them: for pipes, files and logs."""

    every_s = LINE_EVERY_S

    def __init__(self, file: TextIO | None = None, **how: Any) -> None:
        super().__init__(**how)
        self._file = file or sys.stderr

    def draw(self) -> None:
        """Write a line."""
        state = self.state
        total = "" if state.total is None else f"/{state.total}"
        share = f" ({100 * state.done / state.total:.0f} %)" if state.total else ""
        where = f" on {state.where}" if state.where else ""
        self._file.write(f"amorsize{where}: {state.done}{total} items{share}, {state.text()}\n")
        self._file.flush()

    end = draw


class Terminal(Display):
    """A bar of rich."""

    def __init__(self, **how: Any) -> None:
        super().__init__(**how)
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def begin(self) -> None:
        """Show an empty bar."""
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        columns = (TextColumn("{task.fields[where]}"), BarColumn(), MofNCompleteColumn())
        self._bar = Progress(
            *columns, TextColumn("{task.description}"), console=Console(stderr=True),
            auto_refresh=False,
        )  # fmt: skip
        self._task = self._bar.add_task(
            "", total=self.state.total, completed=self.state.done, where=self.state.where
        )
        self._bar.start()

    def draw(self) -> None:
        """Move the bar."""
        if self._bar is None or self._task is None:
            return
        state = self.state
        self._bar.update(
            self._task, completed=state.done, total=state.total, where=state.where,
            description=state.text(), refresh=True,
        )  # fmt: skip

    def end(self) -> None:
        """Leave the last state on the screen."""
        self.draw()
        if self._bar is not None:
            self._bar.stop()


class Notebook(Display):
    """A bar of tqdm."""

    def __init__(self, **how: Any) -> None:
        super().__init__(**how)
        self._bar: Any = None

    def begin(self) -> None:
        """Show an empty bar."""
        from tqdm.auto import tqdm

        self._bar = tqdm(total=self.state.total, initial=self.state.done, unit="items")

    def draw(self) -> None:
        """Move the bar."""
        self._bar.total = self.state.total
        self._bar.update(self.state.done - self._bar.n)
        self._bar.set_postfix_str(self.state.text())

    def end(self) -> None:
        """Leave the last state on the page."""
        self.draw()
        self._bar.close()


def observer() -> Observer:
    """The display that fits where this process writes to; nothing if that is closed."""
    if sys.stderr is None or getattr(sys.stderr, "closed", False):
        return lambda event: None
    if "ipykernel" in sys.modules:
        return Notebook() if importlib.util.find_spec("tqdm") else Lines()
    if sys.stderr.isatty() and importlib.util.find_spec("rich"):
        return Terminal()
    return Lines()
