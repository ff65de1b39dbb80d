"""Large messages of worker processes: through memory that both ends share, where there is any."""

from __future__ import annotations

import os
import pickle
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import amorsize
from amorsize.backend import Backend
from amorsize_local.processes import ProcessBackend

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere pipes take everything")

MEGABYTE = 1_000_000


@pytest.fixture(params=["fork", "forkserver", "spawn"])
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    backend = ProcessBackend(request.param)
    yield backend
    backend.release()


def transferred(field: str) -> int:
    """Bytes that this process has read or written by system calls."""
    match = re.search(rf"^{field}: (\d+)$", Path("/proc/self/io").read_text(), re.MULTILINE)
    assert match is not None
    return int(match[1])


def shared_bytes() -> int | None:
    """Resident size of the memory that this process shares with workers; ``None`` without any."""
    maps = Path("/proc/self/smaps").read_text()
    found = re.findall(r"memfd:amorsize.*?^Rss: +(\d+) kB", maps, re.MULTILINE | re.DOTALL)
    return sum(map(int, found)) * 1024 if found else None


class ZeroCopy(bytearray):
    """As in the documentation of pickle's buffers."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        return type(self)._reconstruct, (pickle.PickleBuffer(self),), None

    @classmethod
    def _reconstruct(cls, data: Any) -> ZeroCopy:
        with memoryview(data) as view:
            return view.obj if type(view.obj) is cls else cls(view.obj)


def sealed(count: int) -> Any:
    array = np.full(count, 7.0)
    array.flags.writeable = False
    return array


MAKERS: list[Any] = [
    lambda x: np.full(MEGABYTE, x, dtype=np.float64),
    lambda x: np.asfortranarray(np.full((300, 400), x, dtype=np.float64)),
    lambda x: np.full((1000, 1500), x, dtype=np.float64)[::2],
    lambda x: [np.full(10_000 + n, x) for n in range(20)],
    lambda x: {"bytes": bytes([x]) * MEGABYTE, "bytearray": bytearray(MEGABYTE)},
    lambda x: [np.empty((0, 3)), np.empty(0), np.full(20_000, x)],
    lambda x: sealed(500_000 + x),
    lambda x: ZeroCopy(bytes([x]) * (4 * MEGABYTE + x)),
    lambda x: np.full(9 * MEGABYTE + x, x, dtype=np.float64),  # larger than the shared memory
]


def make(x: int) -> Any:
    return MAKERS[x % len(MAKERS)](x)


def passed_on(item: Any) -> Any:
    return item


def same(left: Any, right: Any) -> bool:
    """Whether two results cannot be told apart."""
    if type(left) is not type(right):
        return False
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, np.ndarray):
        alike = (left.dtype, left.shape) == (right.dtype, right.shape)
        alike = alike and left.flags.writeable == right.flags.writeable
        return alike and bool((left == right).all())
    return bool(left == right)


@pytest.mark.parametrize("chunk_size", [1, 5])
def test_large_results_and_items_are_those_of_the_loop(backend: Backend, chunk_size: int) -> None:
    items = range(len(MAKERS) + 3)
    expected = [make(x) for x in items]
    settings: dict[str, Any] = {"backend": backend, "workers": 2, "chunk_size": chunk_size}
    assert same(amorsize.map(make, items, **settings), expected)
    assert same(list(amorsize.imap(passed_on, iter(expected), **settings)), expected)


def filled(x: int) -> Any:
    return np.full(100_000 + x, x)


def test_a_result_that_nobody_has_read_yet_is_not_overwritten(backend: Backend) -> None:
    results = amorsize.imap(filled, range(300), backend=backend, workers=2, chunk_size=1)
    for x, result in enumerate(results):
        assert result.size == 100_000 + x
        assert (result == x).all()
        result += 1  # it belongs to the caller


def written(x: int) -> tuple[int, int, Any]:
    return os.getpid(), transferred("wchar"), np.zeros(MEGABYTE // 2)


def read(item: Any) -> tuple[int, int, int]:
    return os.getpid(), transferred("rchar"), item.size


def per_item(rows: list[Any]) -> float:
    """Bytes that workers moved through system calls for each item after their first ones."""
    workers: dict[int, list[int]] = {}
    for pid, moved, *_ in rows:
        workers.setdefault(pid, []).append(moved)
    workers.pop(os.getpid(), None)
    grown = sum(max(moved) - min(moved) for moved in workers.values())
    return grown / sum(len(moved) - 1 for moved in workers.values())


def test_large_results_do_not_take_the_pipe(backend: Backend) -> None:
    rows = amorsize.map(written, range(12), backend=backend, workers=2, chunk_size=1)
    assert per_item(rows) < MEGABYTE / 10


def test_large_items_do_not_take_the_pipe(backend: Backend) -> None:
    items = iter([np.zeros(MEGABYTE // 2)] * 12)
    rows = list(amorsize.imap(read, items, backend=backend, workers=2, chunk_size=1))
    assert per_item(rows) < MEGABYTE / 10


@pytest.mark.parametrize("limit", ["RLIMIT_FSIZE", "RLIMIT_AS"])
def test_where_memory_cannot_be_shared_the_pipe_takes_everything(limit: str) -> None:
    driver = f"""
import resource
resource.setrlimit(resource.{limit}, (16 << 30 if "{limit}" == "RLIMIT_AS" else 1 << 20,) * 2)
import amorsize, numpy as np
from tests.adapters.test_shared_memory import MEGABYTE, per_item, written
for method in ("fork", "spawn"):
    settings = dict(workers=2, chunk_size=1, options={{"start_method": method}})
    rows = amorsize.map(written, range(12), backend="multiprocessing", **settings)
    assert all((row[2] == np.zeros(MEGABYTE // 2)).all() for row in rows)
    assert per_item(rows) > 4 * MEGABYTE, per_item(rows)
"""
    subprocess.run([sys.executable, "-c", driver], timeout=60, check=True)


def test_waiting_workers_hold_no_memory() -> None:
    backend = ProcessBackend("forkserver")
    try:
        amorsize.map(make, range(8), backend=backend, workers=2, chunk_size=1)
        assert backend.availability().running
        assert shared_bytes() == 0
        again = amorsize.map(make, range(8), backend=backend, workers=2, chunk_size=1)
        assert same(again, [make(x) for x in range(8)])
    finally:
        backend.release()
    assert shared_bytes() is None


def test_no_memory_stays_shared_after_a_run_however_it_ends() -> None:
    backend = ProcessBackend("fork")
    amorsize.map(make, range(8), backend=backend, workers=2, chunk_size=1)
    stream = amorsize.imap(make, range(8), backend=backend, workers=2, chunk_size=1)
    next(stream)
    del stream
    assert shared_bytes() is None


def dies_once(caller: int, mark: str, x: int) -> Any:
    """Large results; one worker is killed after some of them."""
    if x >= 5 and os.getpid() != caller:
        with suppress(FileExistsError):
            Path(mark).touch(exist_ok=False)
            os.kill(os.getpid(), signal.SIGKILL)
    return make(x)


def test_results_of_a_killed_worker_are_not_mixed_up(backend: Backend, tmp_path: Path) -> None:
    call = partial(dies_once, os.getpid(), str(tmp_path / "died"))
    plan = amorsize.plan(call, range(16), backend=backend, workers=2, chunk_size=1)
    assert same(plan.run(), [make(x) for x in range(16)])
    assert plan.report is not None
    assert plan.report.lost_workers == 1
