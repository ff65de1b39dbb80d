"""Files that this user alone may write: a journal holds pickles, and unpickling runs code."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from amorsize.errors import JournalRefused

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def create(path: Path) -> None:
    """Create an empty file that this user alone may read and write, unless there is one."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        pass
    except OSError as error:
        raise JournalRefused(path, str(error), "choose a path that can be written") from error


def check(path: Path, *, missing_ok: bool = False) -> None:
    """Refuse a file that somebody else could have written. A symbolic link is refused too.

    Raises:
        JournalRefused: with the reason.
    """
    if not hasattr(os, "geteuid"):  # Windows: the access rights of the folder hold
        return
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        if missing_ok:
            return
        raise
    if not stat.S_ISREG(found.st_mode):
        raise JournalRefused(path, "it is no regular file", "name the file itself")
    if found.st_uid != os.geteuid():
        raise JournalRefused(
            path,
            f"it belongs to user {found.st_uid}; a journal holds pickles, which could run "
            "anything that user likes",
            "use a journal of your own",
        )
    if found.st_mode & _OTHERS_WRITE:
        raise JournalRefused(
            path,
            f"others may write to it (mode {stat.S_IMODE(found.st_mode):o}); it holds pickles, "
            "which could run anything they like",
            f"if you are sure that nobody has: chmod 600 {path}",
        )


def check_folder(path: Path) -> None:
    """Refuse a folder where others could exchange the file, or that does not exist.

    Raises:
        JournalRefused: with the reason.
    """
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        raise JournalRefused(path, str(error), "name a folder that exists") from error
    if not hasattr(os, "geteuid"):
        return
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        raise JournalRefused(
            path, "everybody may exchange files in this folder", "use a folder of your own"
        )
