"""Keeps measured costs between processes: one small JSON file per backend and configuration in
the user's cache directory, private to the user, replaced atomically, validated when read.
"""

from __future__ import annotations

import json
import os
import stat
import sys
import time
import warnings
from typing import Any

from amorsize.backend import Backend
from amorsize.costs import BackendCosts
from amorsize.worker import host_name

FORMAT = 1
MAX_AGE_S = 30 * 24 * 3600.0
"""Seconds after which stored costs are measured anew."""


class CostStoreWarning(UserWarning):
    """Stored costs could not be used or written; they are measured instead."""


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
        "cores": os.cpu_count(),
        "workers": min(2, workers),
        "python": sys.version.split()[0],
    }


def load(backend: Backend, workers: int) -> BackendCosts | None:
    """Stored costs of this backend in this configuration, or ``None``.

    A file that is damaged, foreign or writable by others is ignored with a
    :class:`CostStoreWarning`.
    """
    wanted = identity(backend, workers)
    path = _path(wanted)
    try:
        data = _read_private(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        warnings.warn(f"stored costs {path} ignored: {error}", CostStoreWarning, stacklevel=2)
        return None
    try:
        if data["identity"] != wanted or time.time() - float(data["measured_at"]) > MAX_AGE_S:
            return None
        return BackendCosts.from_dict(data["costs"]).with_origin("cached")
    except (KeyError, TypeError, ValueError) as error:
        warnings.warn(f"stored costs {path} ignored: {error}", CostStoreWarning, stacklevel=2)
        return None


def save(backend: Backend, workers: int, costs: BackendCosts) -> None:
    """Store costs; a cache that cannot be written is reported once as a warning."""
    wanted = identity(backend, workers)
    path = _path(wanted)
    record = {"identity": wanted, "measured_at": time.time(), "costs": costs.to_dict()}
    temporary = f"{path}.{os.getpid()}-{time.monotonic_ns()}.tmp"
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(record, file)
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        warnings.warn(f"costs could not be stored: {error}", CostStoreWarning, stacklevel=2)


def _path(wanted: dict[str, Any]) -> str:
    """One file per identity; its name only has to differ, the identity inside is compared."""
    parts = (wanted["backend"], wanted["configuration"], wanted["python"], wanted["host"])
    words = "-".join(str(part) for part in (*parts, wanted["workers"], wanted["cores"]))
    name = "".join(letter if letter.isalnum() or letter in ".-" else "_" for letter in words)
    return os.path.join(cache_directory(), "costs", f"{name[:200]}.json")


def _read_private(path: str) -> dict[str, Any]:
    """The file's JSON object, if it is this user's own and nobody else can write it."""
    with open(path, "rb") as file:
        status = os.fstat(file.fileno())
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
