"""Streams: bounded, closed early without loss of anything but time, stopped by Ctrl-C."""

from __future__ import annotations

import gc
import itertools
import os
import signal
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from amorsize.backend import Backend
from amorsize.testing.driving import Settings, chunks_of, needs, same_results
from amorsize.testing.lifetimes import nothing_stays
from amorsize.testing.tasks import Recorded, RecordedWaiting, interrupt, square

MANY = 4000
QUEUED = 200


class Streams(Settings):
    """Streams"""

    def test_endless_data(self, backend: Backend) -> None:
        """Of endless data, little more is read than results are taken"""
        read = 0

        def endless() -> Iterator[int]:
            nonlocal read
            for item in itertools.count():
                read += 1
                yield item

        plan = self._plan(backend, square, endless(), chunk_size=5)
        with nothing_stays(backend, "the closed stream"):
            stream = _generator(plan.stream())
            got = list(itertools.islice(stream, 200))
            stream.close()
        same_results(got, [x * x for x in range(200)])
        assert read <= 200 + MANY // 2, f"{read} items were read for 200 results"

    def test_early_close(self, backend: Backend, tmp_path: Path) -> None:
        """Closing a stream early cancels the rest and leaves nothing behind"""
        function = Recorded(str(tmp_path / "calls"))
        plan = self._plan(backend, function, range(MANY), chunk_size=5)
        with nothing_stays(backend, "the closed stream"):
            stream = _generator(plan.stream())
            assert next(stream) == 0, "the stream does not begin with the first result"
            stream.close()
        ran = len(function.calls)
        assert ran < MANY // 2, f"{ran} of {MANY} items ran although the stream was closed early"

    def test_cancel_drops_what_is_queued(self, backend: Backend, tmp_path: Path) -> None:
        """close(cancel=True) does not run what is queued"""
        needs(not backend.traits.inline, "it queues nothing: submit runs the chunk")
        function = RecordedWaiting(str(tmp_path / "calls"), 0.005)
        with self._open(backend, function, cancel=True) as driver:
            driver.settle(driver.submit(chunks_of(range(QUEUED), 1)), least=1)
        ran = len(function.calls)
        assert ran <= QUEUED // 2, f"close(cancel=True) still ran {ran} of {QUEUED} queued chunks"

    def test_interrupted_consumer(self, backend: Backend) -> None:
        """Ctrl-C between two results leaves nothing behind, and the next run works"""
        plan = self._plan(backend, square, range(1000), chunk_size=5)
        with nothing_stays(backend, "the interrupted stream"), _ctrl_c():
            stream = _generator(plan.stream())
            try:
                for _ in stream:
                    signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt:
                stream.close()
            else:
                raise AssertionError("the interrupt was lost")
        same_results(self._plan(backend, square, range(300)).run(), [x * x for x in range(300)])

    def test_interrupted_wait(self, backend: Backend) -> None:
        """Ctrl-C while the caller waits ends the run, leaves nothing, and is not lost"""
        needs(not backend.traits.inline, "the caller never waits")
        plan = self._plan(backend, interrupt(os.getpid()), iter(range(1000)), chunk_size=5)
        with nothing_stays(backend, "the interrupted run"), _ctrl_c():
            try:
                plan.run()
            except KeyboardInterrupt:
                return
        raise AssertionError("the interrupt was lost: the run ended as if nothing had happened")


def _generator(stream: Iterator[Any]) -> Generator[Any, None, None]:
    return cast("Generator[Any, None, None]", stream)


@contextmanager
def _ctrl_c() -> Iterator[None]:
    """Make SIGINT raise KeyboardInterrupt, as it does in an ordinary program.

    What is raised in a callback of the garbage collector (hypothesis has one) is printed by
    Python and lost, whatever a backend does: the collector rests meanwhile.
    """
    here = threading.current_thread() is threading.main_thread()
    needs(here, "signals reach the main thread only, and this is another one")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()
        signal.signal(signal.SIGINT, before)
