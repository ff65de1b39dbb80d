"""Faults: a worker that dies costs time, not results; an item that kills workers is named."""

from __future__ import annotations

import os
import signal
from contextlib import nullcontext
from pathlib import Path

from amorsize.backend import Backend, WorkerLost
from amorsize.errors import BackendUnavailable, WorkerDied, WorkersKeepDying
from amorsize.testing.driving import Settings, chunk, names_item, needs, same_results
from amorsize.testing.lifetimes import nothing_stays
from amorsize.testing.tasks import Deadly

COUNT, DEADLY = 100, 90


class Faults(Settings):
    """Faults"""

    def test_deadly_item_is_named(self, backend: Backend) -> None:
        """An item that kills its workers raises WorkerDied with its index"""
        needs(*_survives(backend))
        for by_signal in (0, signal.SIGKILL):
            plan = self._plan(backend, Deadly(DEADLY, os.getpid(), by_signal), iter(range(COUNT)))
            with nothing_stays(backend, "the run whose worker died"):
                try:
                    plan.run()
                except WorkerDied as error:
                    assert error.index == DEADLY, f"item {error.index} is blamed, not {DEADLY}"
                    names_item(error, DEADLY)
                else:
                    raise AssertionError("a worker was killed and the run ended without an error")

    def test_one_death_costs_nothing(self, backend: Backend, tmp_path: Path) -> None:
        """A worker that dies once costs no result"""
        needs(*_survives(backend))
        marker = tmp_path / "died"
        function = Deadly(DEADLY, os.getpid(), by_signal=signal.SIGKILL, marker=str(marker))
        results = self._plan(backend, function, iter(range(COUNT))).run()
        assert marker.exists(), "no worker died: items ran in the caller"
        same_results(results, range(COUNT))

    def test_session_survives_a_death(self, backend: Backend) -> None:
        """A worker told to end costs its chunk; the session goes on with another worker"""
        needs(*_survives(backend))
        with self._open(backend, Deadly(5, os.getpid(), signal.SIGTERM)) as driver:
            (future,) = driver.submit([chunk([4, 5, 6])])
            driver.settle([future])
            error = future.exception()
            assert isinstance(error, WorkerLost), (
                f"the chunk of a worker that got SIGTERM ended with {error!r}, not WorkerLost"
            )
            outcomes = driver.run([chunk([number]) for number in (1, 2, 3, 4)])
            assert driver.session.workers >= 1, "the session says it has no workers left"
        same_results([v for outcome in outcomes for v in outcome.values], [1, 2, 3, 4])

    def test_death_is_told(self, backend: Backend) -> None:
        """Without that trait, a killed worker still ends the run with an error, not a hang"""
        traits = backend.traits
        needs(not traits.survives_worker_death, "it survives the death of a worker")
        needs(not traits.shares_memory, "its workers are the caller's own process")
        plan = self._plan(backend, Deadly(DEADLY, os.getpid()), iter(range(COUNT)))
        # An engine that was up before is not the session's, and may break with its worker.
        up = backend.availability().running
        with nullcontext() if up else nothing_stays(backend, "the run whose worker died"):
            try:
                plan.run()
            except (WorkerDied, WorkersKeepDying, BackendUnavailable):
                return
        raise AssertionError("a worker was killed and the run ended without an error")


def _survives(backend: Backend) -> tuple[bool, str]:
    """Whether the backend promises to survive, and why the test is skipped if not."""
    if backend.traits.shares_memory:
        return False, "its workers are the caller's own process"
    return backend.traits.survives_worker_death, "it does not survive the death of a worker"
