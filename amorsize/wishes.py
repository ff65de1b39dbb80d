"""The arguments that all public calls share, beyond where and with how many workers to run."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from amorsize import checking

JournalPath = str | os.PathLike[str]

if TYPE_CHECKING:  # a dictionary with types takes a while to build, and only checkers ask
    from typing import TypedDict

    from amorsize.events import Bus
    from amorsize.events import Observer as Observer
    from amorsize.policy import Faults
    from amorsize.seeds import Seed

    class Wishes(Faults, total=False):
        """Arguments of :func:`amorsize.plan` by name."""

        journal: JournalPath | None
        """A file that keeps each finished chunk: what was killed continues where it stopped
        (docs/resume.md)."""
        seed: int | Seed | None
        """Gives each item random numbers of its own (docs/seeds.md); none by default."""
        voices: bool
        """Whether prints, log records and warnings of items reach the caller (docs/voices.md);
        true by default."""

    class Watching(TypedDict, total=False):
        """Arguments of calls that run something."""

        progress: bool | Observer
        """Show on the standard error stream how far the run is (docs/progress.md)."""
        observers: Iterable[Observer]
        """Called with each event of the run (:mod:`amorsize.events`)."""

    class RunWishes(Wishes, Watching, total=False):
        """Arguments of the calls that plan and run at once."""

else:  # what who asks for annotations at run time is told, without loading events
    Observer = Callable[[Any], object]
    Wishes = RunWishes = dict[str, Any]


def is_automatic(backend: object) -> bool:
    """Whether the caller leaves the backend to amorsize, or to the plan."""
    return backend is None or (isinstance(backend, str) and backend == "auto")


def of_run(wishes: RunWishes) -> Watching:
    """Take what concerns the run alone out of ``wishes``, checked.

    Raises:
        InvalidArgument: for a value that cannot work.
    """
    watching: Watching = {}
    if "progress" in wishes:
        watching["progress"] = checking.progress(wishes.pop("progress"))
    if "observers" in wishes:
        watching["observers"] = checking.observers(wishes.pop("observers"))
    return watching


def watch(observers: Iterable[Observer], progress: bool | Observer) -> Bus | None:
    """Whom to tell what happens in a run, ``None`` if nobody watches.

    Raises:
        InvalidArgument: for a value that cannot work.
    """
    plugins, progress = sys.modules.get("amorsize.plugins"), checking.progress(progress)
    watching = [*checking.observers(observers), *(plugins.observers() if plugins else ())]
    if progress:
        from amorsize.progress import observer

        watching.append(observer() if progress is True else progress)
    if not watching:
        return None
    from amorsize.events import Bus

    return Bus(watching)
