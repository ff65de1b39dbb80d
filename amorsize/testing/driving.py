"""What the contract's tests are written with: settings, both levels of driving, comparisons."""

from __future__ import annotations

import re
import time
import unittest
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, ClassVar

import amorsize
from amorsize.backend import Backend, Chunk, OpenRequest, Outcome, Session
from amorsize.plans import Plan
from amorsize.source import IndexedSource, source_of


def needs(condition: bool, reason: str) -> None:
    """Skip the test, visibly, where the backend's traits excuse it."""
    if not condition:
        raise unittest.SkipTest(reason)


class Settings:
    """What an author may set on a subclass of the contract, besides the ``backend`` fixture."""

    workers: ClassVar[int] = 2
    """Workers that the tests ask for; fewer if the engine has fewer."""
    patience_s: ClassVar[float] = 60.0
    """Seconds after which a chunk without an outcome counts as lost."""
    engine_modules: ClassVar[tuple[str, ...]] = ()
    """Modules of the engine, which importing the backend's module must not import."""
    options: ClassVar[dict[str, Any]] = {}
    """Options with which the tests plan."""

    def _workers(self, backend: Backend) -> int:
        from amorsize.probes import limits

        capacity = backend.capacity(limits())
        return self.workers if capacity.elastic else min(self.workers, capacity.workers)

    def _usable(self, backend: Backend) -> None:
        state = backend.availability()
        needs(state.usable, f"{backend.name} is not available: {state.reason}")

    def _plan(
        self, backend: Backend, function: Callable[[Any], Any], data: Iterable[Any], **how: Any
    ) -> Plan[Any]:
        """A plan on the backend."""
        self._usable(backend)
        how = {"workers": self._workers(backend), "options": self.options, **how}
        return amorsize.plan(function, data, backend=backend, **how)

    @contextmanager
    def _open(
        self,
        backend: Backend,
        function: Callable[[Any], Any],
        *,
        data: Sequence[Any] | None = None,
        cancel: bool = False,
    ) -> Iterator[Driver]:
        """A session opened by hand; ``data`` is what its workers may read by position."""
        self._usable(backend)
        source = None if data is None else source_of(data)
        assert source is None or isinstance(source, IndexedSource)
        bound = backend.bind(self.options)
        request = OpenRequest(function, self._workers(backend), source, options=self.options)
        session = bound.open(request)
        try:
            yield Driver(session, self.patience_s)
        finally:
            session.close(cancel=cancel)


class Driver:
    """Drives one session by hand, with a limit on patience."""

    def __init__(self, session: Session, patience_s: float) -> None:
        self.session, self._patience_s = session, patience_s

    def submit(self, chunks: Iterable[Chunk]) -> list[Future[Any]]:
        """Queue chunks."""
        return [self.session.submit(chunk) for chunk in chunks]

    def settle(self, futures: Iterable[Future[Any]], least: int | None = None) -> None:
        """Wait until ``least`` of some chunks, by default all, have an outcome or an error."""
        pending = set(futures)
        total = len(pending)
        deadline = time.monotonic() + self._patience_s
        while pending and (least is None or total - len(pending) < least):
            left = deadline - time.monotonic()
            assert left > 0, (
                f"{len(pending)} of {total} chunks have no outcome after {self._patience_s:g} s"
            )
            done = self.session.wait(pending, left)
            assert done <= pending, "wait() returned futures it was not asked for"
            assert all(future.done() for future in done), "wait() returned futures not yet done"
            pending -= done

    def run(self, chunks: Iterable[Chunk]) -> list[Outcome]:
        """The outcomes of some chunks, in the order of the chunks."""
        futures = self.submit(chunks)
        self.settle(futures)
        return [future.result().unpack() for future in futures]


def chunk(
    items: Sequence[Any], *, number: int = 0, first: int = 0, stop_on_error: bool = True
) -> Chunk:
    """A chunk of consecutive items that it carries itself."""
    spans = ((first, first + len(items)),)
    return Chunk(number, spans, list(items), 1e-4, stop_on_error)


def chunks_of(items: Sequence[Any], size: int) -> list[Chunk]:
    """All items as chunks of some size."""
    return [
        chunk(items[start : start + size], number=number, first=start)
        for number, start in enumerate(range(0, len(items), size))
    ]


def same_results(got: Sequence[Any], expected: Sequence[Any], what: str = "the loop") -> None:
    """Fail with what is wrong with ``got``."""
    got, expected = list(got), list(expected)
    if got == expected:
        return
    assert len(got) == len(expected), f"{len(got)} results for {len(expected)} items"
    at = next(i for i, (g, e) in enumerate(zip(got, expected, strict=True)) if g != e)
    difference = f"position {at} holds {got[at]!r}, {what} has {expected[at]!r} there"
    reordered = sorted(map(repr, got)) == sorted(map(repr, expected))
    assert not reordered, f"the results are in another order: {difference}"
    raise AssertionError(f"the results are not those of {what}: {difference}")


def names_item(error: BaseException, index: int) -> None:
    """Fail unless the exception's notes name the item."""
    notes = getattr(error, "__notes__", [])
    assert any(re.search(rf"\bitem {index}\b", note) for note in notes), (
        f"the notes of {error!r} do not name item {index}: {notes}"
    )
