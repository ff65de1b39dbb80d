"""Results: those of the plain loop, in its order, each item run once."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import amorsize
from amorsize.backend import Backend, Chunk
from amorsize.testing.driving import Settings, chunk, chunks_of, needs, same_results
from amorsize.testing.tasks import Meeting, Recorded, itself, slow_start, square

COUNT = 300


class Results(Settings):
    """Results"""

    def test_equal_the_loops(self, backend: Backend) -> None:
        """Results are those of the plain loop, for lists and for iterators"""
        expected = [x * x for x in range(COUNT)]
        for data in (list(range(COUNT)), (x for x in range(COUNT))):
            same_results(self._plan(backend, square, data).run(), expected)

    def test_keep_their_order(self, backend: Backend) -> None:
        """Results keep their order when the first chunk is finished last"""
        expected = [-x for x in range(60)]
        plan = self._plan(backend, slow_start, range(60), chunk_size=5)
        same_results(plan.run(), expected)
        plan = self._plan(backend, slow_start, range(60), chunk_size=5)
        same_results(list(plan.stream()), expected)

    def test_unordered_stream_is_complete(self, backend: Backend) -> None:
        """An unordered stream has every result once"""
        plan = self._plan(backend, slow_start, range(60), chunk_size=5)
        got = sorted(plan.stream(ordered=False), reverse=True)
        same_results(got, [-x for x in range(60)])

    def test_run_elsewhere_than_planned(self, backend: Backend) -> None:
        """A plan made for another backend runs here, with the results of its sample"""
        self._usable(backend)
        plan = amorsize.plan(square, range(COUNT))
        same_results(plan.run(backend=backend), [x * x for x in range(COUNT)])

    def test_each_item_runs_once(self, backend: Backend, tmp_path: Path) -> None:
        """Each item of a list runs exactly once over plan and run"""
        self._runs_once(backend, list(range(COUNT)), str(tmp_path / "calls"))

    def test_each_item_of_a_generator_runs_once(self, backend: Backend, tmp_path: Path) -> None:
        """Each item of a generator runs exactly once over plan and run"""
        self._runs_once(backend, (x for x in range(COUNT)), str(tmp_path / "calls"))

    def _runs_once(self, backend: Backend, data: Iterable[int], path: str) -> None:
        function = Recorded(path)
        plan = self._plan(backend, function, data)
        sampled = function.calls
        assert len(sampled) == plan.sampled, f"plan() ran {len(sampled)} items, not its sample only"
        results = plan.run()
        calls = function.calls
        again = sorted({x for x in calls if calls.count(x) > 1})
        assert not again, f"items ran more than once: {again[:10]}"
        never = sorted(set(range(COUNT)) - set(calls))
        assert not never, f"items never ran: {never[:10]}"
        same_results(results, range(COUNT))

    def test_little_data(self, backend: Backend) -> None:
        """No items, one item, and fewer items than workers"""
        for count in (0, 1, 2):
            expected = [x * x for x in range(count)]
            for data in (list(range(count)), iter(range(count))):
                same_results(self._plan(backend, square, data).run(), expected)
        with self._open(backend, square) as driver:
            (outcome,) = driver.run([chunk([3])])
        assert outcome.values == [9], f"a session with one item returned {outcome.values!r}"

    def test_outcomes_belong_to_their_chunks(self, backend: Backend) -> None:
        """Each future has the outcome of its own chunk"""
        with self._open(backend, slow_start) as driver:
            outcomes = driver.run(chunks_of(range(40), 5))
        for number, outcome in enumerate(outcomes):
            expected = [-x for x in range(number * 5, number * 5 + 5)]
            same_results(outcome.values, expected, f"chunk {number}")
            assert not outcome.failures, f"chunk {number} failed: {outcome.failures}"
            assert outcome.times.worker, "the outcome does not tell which worker ran it"
            assert outcome.times.wall_s >= 0, "the outcome does not tell how long the items took"

    def test_values_of_any_kind(self, backend: Backend) -> None:
        """None, exceptions, classes and empty containers are results like others"""
        values: list[Any] = [None, False, "", [], {}, Path("a"), (1, (2,)), ..., int, {1: {2}}]
        with self._open(backend, itself) as driver:
            (outcome,) = driver.run([chunk(values)])
            (raised,) = driver.run([chunk([KeyError("a result, not an error")])])
        same_results(outcome.values, values, "the input")
        assert isinstance(raised.values[0], KeyError), "an exception that was returned was raised"
        assert not raised.failures, "an exception that was returned counts as a failure"

    def test_items_read_from_the_source(self, backend: Backend) -> None:
        """Workers that see the caller's memory read items from it, around sampled ones too"""
        visible = backend.traits.shares_memory or backend.traits.inherits_memory
        needs(visible, "its workers do not see the caller's memory")
        data = list(range(100, 200))
        with self._open(backend, square, data=data) as driver:
            (outcome,) = driver.run([Chunk(0, ((3, 6), (50, 52)))])
        same_results(outcome.values, [data[i] ** 2 for i in (3, 4, 5, 50, 51)])

    def test_shared_chunks_keep_all_workers_busy(self, backend: Backend, tmp_path: Path) -> None:
        """Workers that share chunks run the items of one at the same time"""
        needs(backend.traits.shares_chunks, "each chunk is one worker's")
        number = self._workers(backend)
        meeting = Meeting(str(tmp_path / "meeting"), number, self.patience_s / 6)
        with self._open(backend, meeting) as driver:
            (outcome,) = driver.run([chunk(range(number))])
        met = [value[0] for value in outcome.values]
        assert met == [True] * number, f"{number} items of a chunk did not run at once"

    def test_withdrawn_chunks_end_with_what_has_begun(self, backend: Backend) -> None:
        """After withdraw() chunks still end, with the results of their first items"""
        with self._open(backend, square) as driver:
            futures = driver.submit(chunks_of(range(2000), 1000))
            driver.session.withdraw()
            driver.settle(futures)
        for number, future in enumerate(futures):
            values = future.result().unpack().values
            expected = [(1000 * number + x) ** 2 for x in range(len(values))]
            same_results(values, expected, f"chunk {number}")
