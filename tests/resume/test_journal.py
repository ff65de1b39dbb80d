"""A journal keeps what is finished, and refuses what is not its own."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import amorsize
from amorsize import JournalRefused
from amorsize.window import MOST_QUEUED_PER_WORKER

BACKENDS = ["serial", "threads", "multiprocessing"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.sqlite"


class Fragile:
    """Squares items and notes each call; raises at one item, unless the file ``mended`` exists."""

    def __init__(self, folder: Path, at: int = -1) -> None:
        self.folder, self.at = str(folder), at

    def __call__(self, x: int) -> int:
        if x == self.at and not os.path.exists(f"{self.folder}/mended"):
            raise ValueError(f"cannot do {x}")
        with open(f"{self.folder}/calls", "a") as file:
            file.write(f"{x}\n")
        return x * x

    def mend(self) -> None:
        Path(f"{self.folder}/mended").touch()

    @property
    def calls(self) -> list[int]:
        return sorted(map(int, Path(f"{self.folder}/calls").read_text().split()))


def squares(count: int) -> list[int]:
    return [x * x for x in range(count)]


def generator(count: int) -> Iterator[int]:
    yield from range(count)


def _same(x: Any) -> Any:
    return x


@pytest.mark.parametrize("make", [range, lambda n: iter(list(range(n))), generator])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_failed_run_continues(
    backend: str, make: Callable[[int], Any], path: Path, tmp_path: Path
) -> None:
    function = Fragile(tmp_path, at=150)
    how: dict[str, Any] = {"backend": backend, "workers": 2, "chunk_size": 7, "journal": path}
    with pytest.raises(ValueError, match="cannot do 150"):
        amorsize.map(function, make(400), **how)
    function.mend()
    before = function.calls
    assert before
    assert amorsize.map(function, make(400), **how) == squares(400)
    # What was in flight when the item raised, at most a full window: of the loop nothing.
    window = 0 if backend == "serial" else 2 * (1 + MOST_QUEUED_PER_WORKER)
    assert len(function.calls) <= 400 + window * 7
    again = amorsize.plan(function, make(400), **how)
    calls = len(function.calls)
    assert again.sampled == 0
    assert again.run() == squares(400)
    assert again.report is not None
    assert (again.report.items, again.report.resumed_items) == (0, 400)
    assert len(function.calls) == calls  # everything was there


@pytest.mark.parametrize("ordered", [True, False])
def test_streams_continue(ordered: bool, path: Path, tmp_path: Path) -> None:
    function = Fragile(tmp_path)
    how: dict[str, Any] = {"backend": "threads", "workers": 2, "chunk_size": 5, "journal": path}
    stream: Any = amorsize.imap(function, generator(3000), ordered=ordered, **how)
    for _ in range(100):
        next(stream)
    stream.close()
    assert 100 <= len(function.calls) < 3000
    results = list(amorsize.imap(function, generator(3000), ordered=ordered, **how))
    assert (results if ordered else sorted(results)) == squares(3000)
    assert len(function.calls) <= 3000 + 2 * 17 * 5  # the largest window


def test_a_journal_for_the_run_alone(path: Path, tmp_path: Path) -> None:
    function = Fragile(tmp_path)
    plan = amorsize.plan(function, range(200), backend="threads")
    assert plan.run(journal=path) == squares(200)
    assert function.calls == list(range(200))  # sampled items included, each once
    assert plan.run(journal=path) == squares(200)
    assert function.calls == list(range(200))
    other = amorsize.plan(function, range(200), backend="serial")
    sampled = other.sampled
    assert other.run(journal=path) == squares(200)
    assert len(function.calls) == 200 + sampled


def test_failed_items_get_another_chance(path: Path, tmp_path: Path) -> None:
    function = Fragile(tmp_path, at=31)
    results: list[Any] = amorsize.map(
        function, range(60), on_error="return", journal=path, backend="threads"
    )
    assert isinstance(results[31], amorsize.ItemError)
    function.mend()
    assert amorsize.map(function, range(60), journal=path) == squares(60)
    assert function.calls == list(range(60))


def test_any_result_is_kept(path: Path) -> None:
    items = [None, (), [1, [2]], {"a": {1}}, b"x", 1.5, ValueError, ..., int]
    assert amorsize.map(_same, items, journal=path) == items
    assert amorsize.map(_same, items, journal=path) == items


def test_results_that_cannot_be_kept(path: Path) -> None:
    def locked(x: int) -> Any:
        import threading

        return threading.Lock()

    with pytest.raises(JournalRefused, match=r"result of item \d+ .* cannot be kept"):
        amorsize.map(locked, range(10), backend="serial", journal=path)


def test_empty_data(path: Path) -> None:
    assert amorsize.map(_same, [], journal=path) == []
    assert amorsize.map(_same, [], journal=path) == []


@pytest.mark.parametrize("closes", [True, False])
def test_what_waits_for_a_slow_reader_is_kept(closes: bool, path: Path, tmp_path: Path) -> None:
    function = Fragile(tmp_path)
    with ThreadPoolExecutor(1) as executor:
        plan = amorsize.plan(function, range(3000), backend=executor, chunk_size=5, journal=path)
        stream = plan.stream(ordered=False)
        for _ in range(plan.sampled + 100):
            next(stream)
        time.sleep(0.01)  # the reader is slow, and what is on the executor ends
        executor.submit(int).result()
        ran = len(function.calls)
        if not closes:
            for _ in range(5):
                next(stream)
            path = _as_killed(path)
        stream.close()
    with sqlite3.connect(path) as db:
        ((kept,),) = db.execute("SELECT sum(count) FROM results")
    db.close()
    assert kept >= ran


def _as_killed(path: Path) -> Path:
    """A copy of an open journal."""
    copy = path.with_name("copy.sqlite")
    for suffix in ("", "-wal"):
        copy.with_name(copy.name + suffix).write_bytes(
            path.with_name(path.name + suffix).read_bytes()
        )
    return copy


# -- whose journal it is ----------------------------------------------------------------------


def _plus(n: int) -> Callable[[int], int]:
    def plus(x: int) -> int:
        return x + n

    return plus


def test_another_function_is_refused(path: Path) -> None:
    amorsize.map(_plus(1), range(10), journal=path)
    assert amorsize.map(_plus(1), range(10), journal=path) == list(range(1, 11))
    for other in (_plus(2), abs, lambda x: x + 1, str):
        with pytest.raises(JournalRefused, match="another function"):
            amorsize.map(other, range(10), journal=path)


def test_other_data_is_refused(path: Path) -> None:
    amorsize.map(_plus(1), range(100), journal=path)
    with pytest.raises(JournalRefused, match="length 100, not 101"):
        amorsize.map(_plus(1), range(101), journal=path)
    with pytest.raises(JournalRefused, match=r"item 0 \(1\) was another"):
        amorsize.map(_plus(1), range(1, 101), journal=path)
    with pytest.raises(JournalRefused, match="item"):
        amorsize.map(_plus(1), list(range(50)) + list(range(51, 101)), journal=path)


def test_another_stream_is_refused(path: Path) -> None:
    def stream(shift: int, count: int = 100) -> Iterator[int]:
        return (x + shift for x in range(count))

    amorsize.map(_plus(1), stream(0), journal=path)
    with pytest.raises(JournalRefused, match="item 0"):
        amorsize.map(_plus(1), stream(1), journal=path)
    with pytest.raises(amorsize.InvalidArgument, match="ended after 50"):
        amorsize.map(_plus(1), stream(0, 50), journal=path)


def test_a_refused_journal_stays_as_it_is(path: Path) -> None:
    amorsize.map(_plus(1), range(100), journal=path)
    with pytest.raises(JournalRefused):
        amorsize.map(_plus(2), range(50), journal=path)
    with pytest.raises(JournalRefused):
        amorsize.map(_plus(1), range(7, 107), journal=path)
    plan = amorsize.plan(_plus(1), range(100), journal=path)
    assert plan.run() == list(range(1, 101))
    assert plan.sampled == 0


def _grow(item: list[int]) -> int:
    item.append(1)
    return len(item)


def _singles() -> list[list[int]]:
    return [[x] for x in range(200)]


@pytest.mark.parametrize("backend", [None, *BACKENDS])
def test_a_function_that_changes_its_items(backend: str | None, path: Path) -> None:
    for _ in range(2):  # the second time with items as they were
        assert amorsize.map(_grow, _singles(), backend=backend, journal=path) == [2] * 200
    with pytest.raises(JournalRefused, match="other data: item 3 "):
        amorsize.map(_grow, [[x] if x != 3 else [] for x in range(200)], journal=path)


@pytest.mark.parametrize("planned", [True, False])
def test_a_plan_that_changes_its_items_runs_again(planned: bool, path: Path) -> None:
    with_journal: Any = {"journal": path} if planned else {}
    plan = amorsize.plan(_grow, _singles(), backend="serial", **with_journal)
    for _ in range(2):
        assert plan.run(journal=path) == [2] * 200
    if planned:  # a file that is exchanged is still known by the items as they were
        path.unlink()
        plan.run()
        assert len(amorsize.map(_grow, _singles(), journal=path)) == 200
        with pytest.raises(JournalRefused, match="other data: item 0 "):
            amorsize.map(_grow, [[] for _ in range(200)], journal=path)


def test_an_interrupted_run_that_changes_its_items(path: Path) -> None:
    def grow(item: list[int]) -> int:
        if item == [150] and not path.with_name("mended").exists():
            raise ValueError("cannot do 150")
        return _grow(item)

    data = _singles()
    with pytest.raises(ValueError, match="cannot do 150"):
        amorsize.map(grow, data, backend="serial", journal=path)
    path.with_name("mended").touch()
    with pytest.raises(JournalRefused, match="other data: item 0 "):
        amorsize.map(grow, data, journal=path)
    assert amorsize.map(grow, _singles(), journal=path) == [2] * 200


# -- damage -----------------------------------------------------------------------------------


def test_a_torn_record_runs_again(path: Path, tmp_path: Path) -> None:
    function = Fragile(tmp_path)
    amorsize.map(function, range(100), backend="threads", chunk_size=10, journal=path)
    with sqlite3.connect(path) as db:
        number, count, data = db.execute(
            "SELECT number, count, data FROM results ORDER BY number DESC"
        ).fetchone()
        db.execute("UPDATE results SET data = ? WHERE number = ?", (data[:-3], number))
    db.close()
    calls = len(function.calls)
    assert amorsize.map(function, range(100), backend="serial", journal=path) == squares(100)
    assert len(function.calls) == calls + count


def test_a_torn_log_of_sqlite(path: Path, tmp_path: Path) -> None:
    function = Fragile(tmp_path)
    stream: Any = amorsize.imap(function, range(200), backend="serial", journal=path)
    for _ in range(150):
        next(stream)
    log = path.with_name(path.name + "-wal")
    content, torn = log.read_bytes(), tmp_path / "torn.sqlite"
    torn.write_bytes(path.read_bytes())
    torn.chmod(0o600)
    stream.close()
    torn_log = torn.with_name(torn.name + "-wal")
    torn_log.write_bytes(content[: len(content) - 100])
    torn_log.chmod(0o600)
    assert amorsize.map(function, range(200), backend="serial", journal=torn) == squares(200)


@pytest.mark.parametrize("content", [b"no database" * 100, b"SQLite format 3\0" + b"x" * 500])
def test_what_is_no_journal_is_refused_and_kept(content: bytes, path: Path) -> None:
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(JournalRefused, match="no journal"):
        amorsize.map(_same, range(10), journal=path)
    assert path.read_bytes() == content


def test_a_database_of_another_program_is_refused(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE results (x)")
    db.close()
    path.chmod(0o600)
    with pytest.raises(JournalRefused, match="another program"):
        amorsize.map(_same, range(10), journal=path)


def test_two_runs_at_once_are_refused(path: Path) -> None:
    stream: Any = amorsize.imap(_same, range(100), journal=path)
    next(stream)
    with pytest.raises(JournalRefused, match="another run uses it"):
        amorsize.map(_same, range(100), journal=path)
    stream.close()
    assert amorsize.map(_same, range(100), journal=path) == list(range(100))


FULL = """
import resource, sys, time, amorsize
def work(x):
    until = time.perf_counter() + 0.0005  # the loop keeps what has taken 10 ms: far less than fits
    while time.perf_counter() < until:
        pass
    with open(sys.argv[3], "a") as calls:
        calls.write(f"{x}\\n")
    return bytes(5000)
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (600_000 if sys.argv[1] == "full" else most, most))
for _ in range(2):
    try:
        # Each chunk takes far less than there is room for.
        where = dict(backend=sys.argv[4], workers=2, chunk_size=20)
        done = amorsize.map(work, range(400), journal=sys.argv[2], **where)
    except amorsize.JournalRefused as error:
        print(error)
    else:
        print(len(done))
"""


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_file_that_cannot_grow_ends_the_run_and_keeps_what_it_has(
    backend: str, path: Path, tmp_path: Path
) -> None:
    calls = tmp_path / "calls"

    def run(how: str) -> str:
        arguments = [sys.executable, "-c", FULL, how, str(path), str(calls), backend]
        done = subprocess.run(arguments, capture_output=True, text=True, check=True)
        return done.stdout

    for _ in range(2):
        told = run("full").splitlines()
        assert len(told) == 2
        assert all("cannot be written" in line and "make room" in line for line in told)
    ran = len(calls.read_text().split())
    assert run("room") == "400\n400\n"
    again = len(calls.read_text().split()) - ran
    assert 0 < again < 350  # what it held before is there


# -- protection -------------------------------------------------------------------------------


def test_nobody_else_can_read_or_write(path: Path) -> None:
    before = os.umask(0)
    try:
        stream: Any = amorsize.imap(_same, range(100), journal=path)
        next(stream)
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
        stream.close()
    finally:
        os.umask(before)
    assert modes["run.sqlite"] == 0o600
    assert all(mode == 0o600 for mode in modes.values()), modes


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_what_others_may_write_is_refused(path: Path, mode: int) -> None:
    amorsize.map(_same, range(10), journal=path)
    path.chmod(mode)
    with pytest.raises(JournalRefused, match="others may write"):
        amorsize.map(_same, range(10), journal=path)


@pytest.mark.parametrize("suffix", ["", "-wal", "-journal"])
def test_what_belongs_to_others_is_refused(
    path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    amorsize.map(_same, range(10), journal=path)
    file = Path(f"{path}{suffix}")
    file.touch()
    file.chmod(0o600)
    if os.geteuid() == 0:
        os.chown(file, 12345, -1)
    elif suffix:
        pytest.skip("only root can give a file away")
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(JournalRefused, match="belongs to user"):
        amorsize.map(_same, range(10), journal=path)


def test_links_and_open_folders_are_refused(path: Path, tmp_path: Path) -> None:
    amorsize.map(_same, range(10), journal=path)
    link, fifo = tmp_path / "link.sqlite", tmp_path / "fifo"
    link.symlink_to(path)
    os.mkfifo(fifo)
    for irregular in (link, fifo, tmp_path):
        with pytest.raises(JournalRefused, match="no regular file"):
            amorsize.map(_same, range(10), journal=irregular)
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    with pytest.raises(JournalRefused, match="everybody"):
        amorsize.map(_same, range(10), journal=open_to_all / "run.sqlite")


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(JournalRefused, match="No such file"):
        amorsize.map(_same, range(10), journal=tmp_path / "nowhere" / "run.sqlite")
