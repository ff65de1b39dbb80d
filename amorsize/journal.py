"""Keeps finished results on disk, so that a run that was killed continues where it stopped.

A SQLite file to which rows are only added. It is written in SQLite's WAL mode and locked
exclusively: each finished chunk is one transaction, which survives the death of this process
from the moment it ends, costs some ten microseconds, and is either there as a whole or not at
all. What the system has not written to the disk yet is lost when the machine itself fails; every
few seconds the journal makes it write.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import platform
import sqlite3
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from amorsize import fingerprint, private_file
from amorsize.errors import JournalRefused, shorten
from amorsize.judge import is_placeholder
from amorsize.packing import dumps
from amorsize.source import IndexedSource, Piece, Source, Span, StreamSource

APPLICATION_ID = 0x616D7A65
"""Marks the file as ours, in SQLite's header."""
SYNC_EVERY_S = 5.0
"""Seconds after which the system is made to write to the disk."""
BATCH_S = 0.01
"""Seconds of the plain loop's work that may share a transaction."""
LARGEST_BYTES = 500_000_000
"""Size of a row that SQLite surely takes."""
_SPREAD = 64
_SCHEMA = """
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE results (
    number INTEGER PRIMARY KEY, start INTEGER NOT NULL, count INTEGER NOT NULL,
    digest BLOB NOT NULL, data BLOB NOT NULL
);
CREATE TABLE items (position INTEGER PRIMARY KEY, digest BLOB NOT NULL);
"""
_UNWRITABLE = {
    sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
}  # fmt: skip
"""What SQLite says of a file that is in order and cannot be written."""
_ANEW = "delete it to start anew, or name another file"


class Identity(NamedTuple):
    """What a journal belongs to."""

    function: str
    """Digest of the function."""
    name: str
    """Name of the function, for messages."""
    length: int | None
    """Number of items, ``None`` for data that does not tell."""

    def about(self) -> dict[str, str]:
        """As rows of the journal."""
        return {
            "function": self.function,
            "name": self.name,
            "length": str(self.length),
            "python": ".".join(platform.python_version_tuple()[:2]),
        }


def identify(function: Callable[[Any], Any], source: Source) -> Identity:
    """The identity of a run. Call it before the function has run: it may change itself."""
    length = source.told_length if isinstance(source, StreamSource) else source.length
    return Identity(fingerprint.of_function(function), fingerprint.name_of(function), length)


class Journal:
    """An open journal.

    Args:
        path: the file; created, readable and writable by this user alone, unless it exists.
        identity: what runs.

    Raises:
        JournalRefused: if the file cannot be trusted, is in use, is no journal, or belongs to
            another function or other data.
    """

    def __init__(self, path: str | os.PathLike[str], identity: Identity) -> None:
        self.path, self._home = Path(os.path.abspath(path)), os.getpid()
        self._spans: list[tuple[Span, int]] = []
        self._began = self._synced = time.monotonic()
        self._pending = False
        self._committed = 0.0
        private_file.check_folder(self.path.parent)
        private_file.create(self.path)
        self._check_files()
        # Results may be consumed in another thread than the one that started the run.
        self._db = sqlite3.connect(
            self.path, timeout=0.0, isolation_level=None, check_same_thread=False
        )
        try:
            self._open(identity)
        except BaseException as error:
            self._db.close()
            explained = self._explained(error)
            if explained is error:
                raise
            raise explained from error

    def _check_files(self) -> None:
        private_file.check(self.path)
        for suffix in ("-wal", "-shm", "-journal"):
            private_file.check(Path(f"{self.path}{suffix}"), missing_ok=True)

    def _open(self, identity: Identity) -> None:
        db = self._db
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("PRAGMA trusted_schema = OFF")
        known = db.execute("PRAGMA application_id").fetchone()[0]
        empty = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
        if not empty and known != APPLICATION_ID:
            raise JournalRefused(self.path, "it is a database of another program", _ANEW)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("BEGIN IMMEDIATE")
        if empty:
            for statement in filter(str.strip, _SCHEMA.split(";")):
                db.execute(statement)
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.executemany("INSERT INTO about VALUES (?, ?)", identity.about().items())
        self._check_identity(identity)
        self._load_spans()
        db.execute("COMMIT")
        self._check_files()  # what SQLite has found and used meanwhile is ours, too

    def _explained(self, error: BaseException) -> BaseException:
        if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
            return JournalRefused(self.path, "another run uses it", "wait for that run to end")
        if isinstance(error, sqlite3.Error) and _kind_of(error) in _UNWRITABLE:
            why = f"it cannot be written ({error})"
            remedy = "make room or give rights there, and run again: what it holds is kept"
            return JournalRefused(self.path, why, remedy)
        if isinstance(error, sqlite3.Error):
            return JournalRefused(self.path, f"it is no journal, or damaged ({error})", _ANEW)
        return error

    def _check_identity(self, identity: Identity) -> None:
        kept = dict(self._db.execute("SELECT name, value FROM about"))
        now = identity.about()
        if kept.get("function") != now["function"]:
            why = f"it belongs to another function ({kept.get('name')}"
            if kept.get("name") == now["name"]:
                why += ", whose code or captured values were others"
            if kept.get("python") != now["python"]:
                why += f", under Python {kept.get('python')}"
            raise JournalRefused(self.path, f"{why}); this one is {now['name']}", _ANEW)
        if kept.get("length") != now["length"]:
            why = f"it belongs to data of length {kept.get('length')}, not {now['length']}"
            raise JournalRefused(self.path, why, _ANEW)

    def _load_spans(self) -> None:
        """Find what is done. A row that is not what was written counts as never written."""
        rows = self._db.execute("SELECT number, start, count, digest, data FROM results")
        torn = []
        for number, start, count, digest, data in rows:
            if _digest(data) == digest:
                self._spans.append(((start, start + count), number))
            else:
                torn.append((number,))
        self._db.executemany("DELETE FROM results WHERE number = ?", torn)
        self._spans.sort()

    @property
    def spans(self) -> list[Span]:
        """Items that have a result, sorted."""
        return [span for span, _ in self._spans]

    def results(self) -> Iterator[Piece]:
        """The results that were there when the journal was opened, in order; loaded one by one.

        Raises:
            JournalRefused: if one cannot be rebuilt.
        """
        for (start, _), number in self._spans:
            (data,) = self._db.execute(
                "SELECT data FROM results WHERE number = ?", (number,)
            ).fetchone()
            try:
                values = pickle.loads(data)  # noqa: S301 - private_file vouches for the file
            except Exception as error:
                why = f"the results from item {start} on cannot be rebuilt ({error})"
                raise JournalRefused(self.path, why, "make their classes importable") from error
            yield start, values

    def check_items(self, start: int, items: Iterable[Any]) -> None:
        """Some items of the data: refuse those that differ from what the journal has seen, keep
        digests of others.

        Raises:
            JournalRefused: if the journal belongs to other data.
        """
        for position, item in enumerate(items, start):
            if _is_checked(position):
                with self._telling():
                    self._check_item(position, item, fingerprint.digest(item))

    def _check_item(self, position: int, item: Any, digest: bytes) -> None:
        self._db.execute("INSERT OR IGNORE INTO items VALUES (?, ?)", (position, digest))
        where = "SELECT digest FROM items WHERE position = ?"
        if self._db.execute(where, (position,)).fetchone()[0] != digest:
            why = f"it belongs to other data: item {position} ({shorten(item)}) was another"
            raise JournalRefused(self.path, why, _ANEW)

    def check_data(self, source: Source) -> None:
        """Check some items now where that reads nothing ahead, the others as they are read. Those
        that were looked at before count as they were then: the function may have changed them.
        """
        if not isinstance(source, IndexedSource):
            source.on_read = self.check_items
            return
        length = source.length
        spread = {length * number // _SPREAD for number in range(_SPREAD)} | {length - 1}
        with self._telling():
            self._db.execute("BEGIN")
            for position in sorted(spread if length else ()):
                item, known = source.item(position), source.digests
                digest = known.get(position) or fingerprint.digest(item)
                self._check_item(position, item, known.setdefault(position, digest))
            self._db.execute("COMMIT")

    def add(self, start: int, values: list[Any], *, at_once: bool = True) -> None:
        """Keep results of consecutive items; ``at_once`` or together with the next ones.

        Raises:
            JournalRefused: if one cannot be pickled, or the file cannot be written any more.
        """
        with self._telling():
            if not self._pending:
                self._db.execute("BEGIN")
                self._pending = True
            for begin, some in _without_placeholders(start, values):
                self._insert(begin, some)
        now = time.monotonic()
        if at_once or now - self._committed > BATCH_S:
            self.commit()
            self._committed = now

    def _insert(self, start: int, values: list[Any]) -> None:
        data = self._pickled(start, values)
        if len(data) > LARGEST_BYTES:
            if len(values) > 1:
                half = len(values) // 2
                self._insert(start, values[:half])
                self._insert(start + half, values[half:])
            return  # a single one of that size runs again
        row = (start, len(values), _digest(data), data)
        self._db.execute(
            "INSERT INTO results (start, count, digest, data) VALUES (?, ?, ?, ?)", row
        )

    def _pickled(self, start: int, values: list[Any]) -> bytes:
        try:
            return dumps(values)
        except Exception:
            for index, value in enumerate(values, start):
                try:
                    dumps(value)
                except Exception as error:
                    why = f"the result of item {index} ({shorten(value)}) cannot be kept: {error}"
                    remedy = "return what can be pickled, or run without a journal"
                    raise JournalRefused(self.path, why, remedy) from error
            raise

    def commit(self) -> None:
        """Make what was added survive this process, and now and then the machine."""
        if os.getpid() != self._home:
            return
        with self._telling():
            if self._pending:
                self._pending = False
                self._db.execute("COMMIT")
            now = time.monotonic()
            if now - self._synced > SYNC_EVERY_S:
                self._synced = now
                self._db.execute("PRAGMA wal_checkpoint(PASSIVE)")

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Explain what goes wrong. SQLite has dropped the transaction then; those before it are
        there.
        """
        try:
            yield
        except sqlite3.ProgrammingError:  # it is closed
            raise
        except sqlite3.Error as error:
            self._pending = False
            raise self._explained(error) from error

    def close(self) -> None:
        """Commit, and let others use the file."""
        if os.getpid() != self._home:
            self._forsake()
            return
        try:
            with suppress(sqlite3.ProgrammingError):  # closed already
                self.commit()
        finally:
            self._db.close()

    def _forsake(self) -> None:
        """In a process that was forked in the middle of the run: never close the connection. SQLite
        would take it for the last one, and delete what its owner still writes to.
        """
        import ctypes

        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._db))

    def __del__(self) -> None:
        with suppress(Exception):  # at the interpreter's end, or if it was never opened
            if os.getpid() != self._home:
                self._forsake()

    def keep(self, pieces: Generator[Piece, None, None]) -> Generator[Piece, None, None]:
        """Pass on pieces that the caller computes; together with the next ones they are kept."""
        try:
            for start, values in pieces:
                self.add(start, values, at_once=False)
                yield start, values
        finally:
            pieces.close()
            self.commit()


def _kind_of(error: sqlite3.Error) -> int:
    """SQLite's primary code of an error, 0 if there is none."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=8).digest()


def _is_checked(position: int) -> bool:
    return position < 32 or position % 128 == 0


def _without_placeholders(start: int, values: list[Any]) -> Iterator[Piece]:
    """Stretches of true results: a failed item gets another chance when the run resumes."""
    some: list[Any] = []
    for position, value in enumerate(values):
        if not is_placeholder(value):
            some.append(value)
        elif some:
            yield start + position - len(some), some
            some = []
    if some:
        yield start + len(values) - len(some), some
