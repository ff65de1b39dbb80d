"""What a run did, next to what was predicted."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from amorsize import model
from amorsize.errors import ItemError
from amorsize.model import Prediction
from amorsize.worker import ChunkTimes

if TYPE_CHECKING:
    from amorsize.events import Bus

STARTUP, COMPUTE, OVERHEAD, SHUTDOWN = (
    model.STARTUP,
    model.COMPUTE,
    "overhead and idle",
    model.SHUTDOWN,
)


RECORDS_KEPT = 10_000
"""Chunk records kept: an endless stream must not fill the memory with them."""


class TermReport(NamedTuple):
    """One term of the makespan."""

    name: str
    """What costs time."""
    predicted: float | None
    """Predicted seconds, ``None`` where the data's length was unknown."""
    actual: float
    """Seconds it took."""


class ChunkRecord(NamedTuple):
    """One chunk that ran."""

    first_index: int
    """Position of its first item."""
    items: int
    """Number of items."""
    times: ChunkTimes
    """What the worker measured."""


class RunReport:
    """A finished run: predicted against actual, term by term."""

    backend: str
    """Backend that ran."""
    workers: int
    """Workers it had."""
    items: int = 0
    """Items run by this run, without the sampled ones."""
    resumed_items: int = 0
    """Items whose results came from a journal."""
    predicted: float | None = None
    """Predicted makespan in seconds, ``None`` where the data's length was unknown."""
    predicted_after_s: float = 0.0
    """Seconds of the run after which that was predicted: 0 for a plan's own prediction; where
    nothing was sampled, until the first items had told what the others take."""
    actual: float = 0.0
    """Makespan in seconds, from the start of the run to all results in the caller."""
    startup_s: float = 0.0
    """Seconds until the session was open."""
    first_answer_s: float | None = None
    """Seconds from opening the session to its first results, without those its items took: what
    it takes until a worker works. ``None`` until then, and in the loop."""
    shutdown_s: float = 0.0
    """Seconds to close it."""
    compute_s: float = 0.0
    """Seconds all workers together spent on items."""
    cpu_s: float = 0.0
    """CPU seconds all workers together spent on items."""
    packing_s: float = 0.0
    """Seconds all workers together spent on unpickling items and pickling results."""
    driver_s: float = 0.0
    """Seconds the caller was busy submitting chunks and unpacking results."""
    result_bytes: int = 0
    """Bytes of results that travelled."""
    peak_rss_bytes: int = 0
    """Largest resident memory of a worker, in bytes."""
    lost_workers: int = 0
    """Workers that vanished during the run."""
    rerun_items: int = 0
    """Items that may have run more than once because their worker vanished."""
    retries: int = 0
    """Further attempts at items that had raised."""
    failed_items: int = 0
    """Items that failed for good; of a run that raises, those known when it ended."""
    failures: deque[ItemError]
    """The failed items, in order of arrival; of very many the last ones."""
    remarks: list[str]
    """What happened to workers and engines, in words."""
    moves: list[str]
    """Changes of backend during the run, each with its reason."""
    prediction: Prediction | None
    """The prediction with its terms."""
    chunk_count: int = 0
    """Number of chunks that ran."""
    chunks: deque[ChunkRecord]
    """The last chunks, in order of completion."""
    watch: Bus | None = None
    """Whom to tell what happens, ``None`` if nobody watches."""

    def __init__(self, backend: str, workers: int, prediction: Prediction | None = None) -> None:
        self.backend, self.workers, self.prediction = backend, workers, prediction
        self.moves, self.chunks = [], deque(maxlen=RECORDS_KEPT)
        self.remarks, self.failures = [], deque(maxlen=RECORDS_KEPT)

    @property
    def ratio(self) -> float | None:
        """Actual over predicted makespan."""
        return self.actual / self.predicted if self.predicted else None

    @property
    def terms(self) -> tuple[TermReport, ...]:
        """Predicted against actual: start-up, compute (a worker's share of the items' seconds),
        what a worker's lane lost to dispatch, transfer, waiting and the uneven end, shut-down.
        """
        compute = self.compute_s / max(1, self.workers)
        rest = max(0.0, self.actual - self.startup_s - compute - self.shutdown_s)
        # A session is open before its workers work: until the first answer that is starting, too.
        still = min(rest, max(0.0, (self.first_answer_s or 0.0) - self.startup_s))
        starting, rest = self.startup_s + still, rest - still
        actual = {
            STARTUP: starting,
            COMPUTE: compute,
            OVERHEAD: rest,
            SHUTDOWN: self.shutdown_s,
        }
        return tuple(TermReport(n, self._predicted_term(n), s) for n, s in actual.items())

    def lost_to_engine(self) -> tuple[float | None, float]:
        """Seconds of the makespan beyond a worker's share of the computing: predicted (``None``
        if the data's length was unknown) and actual.
        """
        seen = self.actual - self.compute_s / max(1, self.workers)
        if self.prediction is None or self.predicted is None:
            return None, seen
        computing = (
            model.COMPUTE,
            model.CORES,
            model.GIL,
            model.MEMORY,
        )  # workers measure all as computing
        return self.predicted - sum(self.prediction.term(name) for name in computing), seen

    def _predicted_term(self, name: str) -> float | None:
        if self.prediction is None or self.predicted is None:
            return None
        if name != OVERHEAD:
            return self.prediction.term(name)
        named = sum(self.prediction.term(other) for other in (STARTUP, COMPUTE, SHUTDOWN))
        return self.prediction.seconds - named

    def record(self, first_index: int, count: int, times: ChunkTimes, nbytes: int) -> None:
        """Take over what a worker measured of a chunk."""
        self.chunks.append(ChunkRecord(first_index, count, times))
        self.chunk_count += 1
        self.items += count
        self.compute_s += times.wall_s
        self.cpu_s += times.cpu_s
        self.packing_s += times.pack_s
        self.result_bytes += nbytes
        self.peak_rss_bytes = max(self.peak_rss_bytes, times.peak_rss_bytes)
        self.retries += times.retries
        if self.watch is not None:
            self.watch.finished(first_index, count, times.wall_s, times.worker, nbytes)

    def fail(self, error: ItemError) -> None:
        """An item has failed for good."""
        self.failed_items += 1
        self.failures.append(error)
        if self.watch is not None:
            self.watch.failed(error.index, error.exception)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data, chunks as a count."""
        data = {
            name: getattr(self, name)
            for name in (
                "backend",
                "workers",
                "items",
                "resumed_items",
                "predicted",
                "predicted_after_s",
                "actual",
                "startup_s",
                "first_answer_s",
                "shutdown_s",
                "compute_s",
                "cpu_s",
                "packing_s",
                "driver_s",
                "result_bytes",
                "peak_rss_bytes",
                "lost_workers",
                "rerun_items",
                "retries",
                "failed_items",
                "chunk_count",
            )
        }
        data["ratio"] = self.ratio
        data["moves"] = list(self.moves)
        data["remarks"] = list(self.remarks)
        data["failures"] = [
            {"index": e.index, "item": e.item, "error": str(e), "worker": e.worker}
            for e in self.failures
        ]
        data["terms"] = [term._asdict() for term in self.terms]
        return data

    def summary(self) -> str:
        """One line: what ran where, predicted and actual seconds."""
        workers = "1 worker" if self.workers == 1 else f"{self.workers} workers"
        head = f"ran {self.items} items on {self.backend} ({workers}) in {self.actual:.3f} s"
        if self.predicted is None:
            return f"{head}; length was unknown, nothing was predicted"
        if self.ratio is None:  # nothing was left to run
            return f"{head}; predicted {self.predicted:.3f} s"
        return f"{head}; predicted {self.predicted:.3f} s ({(self.ratio - 1) * 100:+.0f} %)"

    def __str__(self) -> str:
        lines = [self.summary(), f"  {'term':<20}{'predicted':>12}{'actual':>12}"]
        for term in self.terms:
            predicted = "-" if term.predicted is None else f"{term.predicted:.4f} s"
            lines.append(f"  {term.name:<20}{predicted:>12}{term.actual:>10.4f} s")
        lines += [f"  moved {move}" for move in self.moves]
        lines += [f"  {remark}" for remark in self.remarks]
        if self.failed_items:
            lines.append(f"  {self.failed_items} items failed; the first: {self.failures[0]}")
        if self.retries:
            lines.append(f"  {self.retries} further attempts at items that had raised")
        if self.lost_workers:
            lines.append(f"  {self.lost_workers} workers died; {self.rerun_items} items ran again")
        return "\n".join(lines)
