"""Takes up a journal for a plan or a run: what it holds is not run again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from amorsize.journal import Identity, Journal, identify
from amorsize.source import Source, StreamSource
from amorsize.wishes import JournalPath

if TYPE_CHECKING:
    from amorsize.planning import Planning
    from amorsize.sampler import Sample


class Resumption:
    """The journal a plan was made with.

    Args:
        path: the journal's file.
        function: the function, before it has run.
        source: the data.
    """

    def __init__(self, path: JournalPath, function: Callable[[Any], Any], source: Source) -> None:
        self.path = os.path.abspath(path)
        self.identity = identify(function, source)

    def sampled(self, source: Source, sample: Callable[..., Sample]) -> Sample:
        """Sample items that have no result yet, and keep theirs."""
        with opened(self.path, self.identity, source) as journal:
            keep = partial(journal.add, at_once=False)
            return sample(done=journal.spans, keep=keep)


@contextmanager
def opened(path: JournalPath, identity: Identity, source: Source) -> Iterator[Journal]:
    """The open journal, its items checked against the data; a stream skips what it holds."""
    journal = Journal(path, identity)
    try:
        journal.check_data(source)
        if isinstance(source, StreamSource):
            source.skip(journal.spans)
        yield journal
    finally:
        if isinstance(source, StreamSource):
            source.on_read = None
        journal.close()


@contextmanager
def for_run(planning: Planning, path: JournalPath | None) -> Iterator[Journal]:
    """The journal of a run: that of the call, else that of the plan."""
    known = planning.resumption
    if known is not None and (path is None or os.path.abspath(path) == known.path):
        path, identity = known.path, known.identity
    else:
        assert path is not None
        identity = identify(planning.function, planning.source)
    with opened(path, identity, planning.source) as journal:
        yield journal
