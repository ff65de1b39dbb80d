"""``amorsize run --output``: results as JSON lines."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from typing import Any

import click


def check(path: str) -> None:
    """Refuse what cannot be written, before hours of work have results for it. What is there stays
    until then.
    """
    if path == "-":
        return
    folder = os.path.dirname(path) or "."
    if not path or os.path.isdir(path):
        raise click.BadParameter(f"--output {path!r} is no file")
    if not os.path.isdir(folder):
        raise click.BadParameter(f"--output {path}: there is no folder {folder}")
    if not os.access(path if os.path.exists(path) else folder, os.W_OK):
        raise click.BadParameter(f"--output {path} cannot be written")


def write(path: str, results: Iterable[Any]) -> None:
    """One result a line. A device that is full, or a pipe that nobody reads, ends it."""
    try:
        with click.open_file(path, "w", encoding="utf-8") as file:
            for result in results:
                file.write(_line(result) + "\n")
            file.flush()
    except BrokenPipeError:  # click's own affair
        raise
    except OSError as error:
        raise click.ClickException(f"--output {path}: {error}") from error


def _line(result: Any) -> str:
    try:
        return json.dumps(result, default=repr)
    except Exception:  # keys that are no text, a list that contains itself, what is too deep
        pass
    try:
        return json.dumps(repr(result))
    except Exception:  # numbers of thousands of digits; a class of somebody's may raise anything
        return json.dumps(object.__repr__(result))
