"""Keeps measured costs between processes: one small JSON file per backend and configuration in
the user's cache directory, private to the user, replaced atomically, validated when read.

A record may also say that a measurement failed, so that not every process tries again, and how
many runs in a row have contradicted it.
"""

from __future__ import annotations

import json
import os
import stat
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from amorsize.backend import Backend
from amorsize.costs import BackendCosts
from amorsize.probes.system import host_cpus
from amorsize.worker import host_name

FORMAT = 5
MAX_AGE_S = 30 * 24 * 3600.0
"""Seconds after which stored costs are measured anew."""
FAILURE_AGE_S = 3600.0
"""Seconds after which a backend that could not be measured gets another chance."""
MOST_CONTRADICTIONS = 3
"""Runs in a row that may contradict stored costs; then they are measured anew."""
LOCK_PATIENCE_S = 5.0
"""Seconds to wait for another process that measures the same."""


_UNREADABLE = (OSError, KeyError, TypeError, ValueError, OverflowError, RecursionError)
"""What reading a damaged record may raise."""


class CostStoreWarning(UserWarning):
    """Stored costs could not be used or written; they are measured instead."""


class Stored(NamedTuple):
    """What is known of a backend in a configuration."""

    costs: BackendCosts | None
    """Its costs, ``None`` if they could not be measured."""
    failure: str = ""
    """Why not."""
    contradictions: int = 0
    """Runs in a row that took something else than these costs say."""


def cache_directory(platform: str = sys.platform) -> str:
    """Where costs are kept: ``AMORSIZE_CACHE_DIR`` or the user's cache directory."""
    chosen = os.environ.get("AMORSIZE_CACHE_DIR")
    if chosen:
        return chosen
    if platform == "linux":  # what platformdirs says there, without its import
        home = os.environ.get("XDG_CACHE_HOME", "").strip() or os.path.expanduser("~/.cache")
        return os.path.join(home, "amorsize")
    import platformdirs

    return platformdirs.user_cache_dir("amorsize")


def identity(backend: Backend, workers: int) -> dict[str, Any]:
    """What stored costs depend on; costs of another identity are never used."""
    return {
        "format": FORMAT,
        "backend": backend.name,
        "configuration": backend.configuration(),
        "host": host_name(),
        "cores": host_cpus(),
        "workers": min(2, workers),
        "python": sys.version.split()[0],
    }


def load(backend: Backend, workers: int) -> Stored | None:
    """What is stored of this backend in this configuration, ``None`` if that is nothing, or too
    old, or contradicted by runs.

    A file that is damaged, foreign or writable by others is ignored with a
    :class:`CostStoreWarning`.
    """
    wanted = identity(backend, workers)
    path = _path(wanted)
    try:
        data = _read_private(path)
        return _stored(data, wanted)
    except FileNotFoundError:
        return None
    except _UNREADABLE as error:
        reason = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
        warnings.warn(f"stored costs {path} ignored: {reason}", CostStoreWarning, stacklevel=2)
        return None


def _stored(data: dict[str, Any], wanted: dict[str, Any]) -> Stored | None:
    if data["identity"] != wanted:
        return None
    failure = str(data.get("failure", ""))
    age_s = time.time() - float(data["measured_at"])
    contradictions = int(data.get("contradictions", 0))
    if not 0 <= age_s <= (FAILURE_AGE_S if failure else MAX_AGE_S):
        return None
    if contradictions >= MOST_CONTRADICTIONS:
        return None
    if failure:
        return Stored(None, failure)
    return Stored(BackendCosts.from_dict(data["costs"]).with_origin("cached"), "", contradictions)


def save(backend: Backend, workers: int, stored: Stored) -> None:
    """Store it; a cache that cannot be written is reported as a warning."""
    wanted = identity(backend, workers)
    record: dict[str, Any] = {"identity": wanted, "measured_at": time.time()}
    if stored.costs is None:
        record["failure"] = stored.failure
    else:
        record["costs"] = stored.costs.to_dict()
    _write(_path(wanted), record)


def contradict(backend: Backend, workers: int, *, again: bool) -> None:
    """A run took much more or less than stored costs say; with ``again`` false, it did not, and
    earlier contradictions were chance.
    """
    wanted = identity(backend, workers)
    path = _path(wanted)
    try:
        data = _read_private(path)
        before = int(data.get("contradictions", 0))
        if data["identity"] != wanted or (before == 0 and not again):
            return
    except _UNREADABLE:
        return
    data["contradictions"] = before + 1 if again else 0
    _write(path, data)


@contextmanager
def measuring(backend: Backend, workers: int) -> Iterator[bool]:
    """Hold the right to measure this backend in this configuration: processes that start at once
    must neither all measure nor disturb each other. Yields false if another one still does
    after a while; a cache without room for locks grants it to everybody.
    """
    from filelock import FileLock, Timeout

    record = _path(identity(backend, workers))
    path = os.path.join(cache_directory(), "locks", os.path.basename(record) + ".lock")
    lock = None
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        lock = FileLock(path, timeout=LOCK_PATIENCE_S, mode=0o600)
        lock.acquire()
    except Timeout:
        yield False
        return
    except (OSError, NotImplementedError):
        lock = None
    try:
        yield True
    finally:
        if lock is not None:
            lock.release()


def _write(path: str, record: dict[str, Any]) -> None:
    temporary = f"{path}.{os.getpid()}-{time.monotonic_ns()}.tmp"
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(record, file)
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
    except OSError as error:
        warnings.warn(f"costs could not be stored: {error}", CostStoreWarning, stacklevel=3)


def _path(wanted: dict[str, Any]) -> str:
    """One file per identity: backend and configuration for a reader, a digest to tell it from
    any other.
    """
    import zlib

    # Two identities with one digest only keep each other from being stored: what a record is of
    # is part of it. A longer one would load OpenSSL, which takes as long as a short plan.
    digest = f"{zlib.crc32(json.dumps(wanted, sort_keys=True).encode()):08x}"
    words = f"{wanted['backend']}-{wanted['configuration']}"
    name = "".join(letter if letter.isalnum() or letter in ".-" else "_" for letter in words)
    return os.path.join(cache_directory(), "costs", f"{name[:80]}-{digest}.json")


def _read_private(path: str) -> dict[str, Any]:
    """The file's JSON object, if it is this user's own and nobody else can write it."""
    with open(path, "rb", opener=_without_waiting) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is no regular file")
        if hasattr(os, "getuid"):
            if status.st_uid != os.getuid():
                raise ValueError("it belongs to another user")
            if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise ValueError("others may write it")
        text = file.read(1_000_000)
    data = json.loads(text)
    if not isinstance(data, dict):
        raise ValueError("it holds no record")
    return data


def _without_waiting(path: str, flags: int) -> int:
    """Open a file; a pipe in its place would make the caller wait for a writer."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
