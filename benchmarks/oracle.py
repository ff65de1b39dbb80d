"""The oracle: the best of a grid of backend x workers x chunk size, found by trying all.

Each setting is run once; the best few then take part in the suite like any contestant. Runs go
through amorsize with everything forced, through ``Pool.map`` with a given chunk size, and
through a thread pool of a given size.
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.harness import Cell, Lab
from benchmarks.workload import Workload

FINALISTS = 3
_MOST_CHUNKS = 5000
"""Grids leave out chunks so small that dispatching them takes seconds."""


def grid(workload: Workload, size: str, cores: int) -> Iterator[Cell]:
    """All settings to try; more workers than cores where the workload waits."""
    items = workload.items(size)
    more = (16, 64, 128) if workload.waits else ()
    for workers in (cores, *more):
        yield Cell(workload.name, "ThreadPoolExecutor.map", {"workers": workers})
        yield from _chunked(workload, items, "amorsize", workers, backend="threads")
        yield from _chunked(workload, items, "Pool.map", workers)
    for workers in (cores, 2 * cores, *more):
        yield from _chunked(workload, items, "amorsize", workers, backend="multiprocessing")


def _chunked(
    workload: Workload, items: int, contestant: str, workers: int, **settings: object
) -> Iterator[Cell]:
    if workers > items:
        return
    for chunk in chunk_sizes(items, workers, few=workload.waits):
        told = {**settings, "workers": workers, "chunk_size": chunk}
        yield Cell(workload.name, contestant, told)


def chunk_sizes(items: int, workers: int, *, few: bool) -> list[int]:
    """From one item to a worker's whole share, coarser for the many settings of waiting work."""
    divisors = (4, 1) if few else (64, 16, 4, 1)
    sizes = {max(1, -(-items // (divisor * workers))) for divisor in divisors}
    if items <= _MOST_CHUNKS:
        sizes.add(1)
    return sorted(sizes)


def search(workload: Workload, lab: Lab, cores: int, limit_s: float) -> list[Cell]:
    """Try the grid, fastest first; settings that do not end by ``limit_s`` are given up."""
    tried = list(grid(workload, lab.size, cores))
    for cell in tried:
        lab.run(cell, timeout_s=limit_s, attempts=1)
    return sorted((c for c in tried if c.runs), key=lambda cell: cell.seconds or 0.0)
