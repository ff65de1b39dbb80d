"""Loads the function that the command line names."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable
from typing import Any

import click


def load(name: str) -> Callable[[Any], Any]:
    """The function that ``package.module:attribute`` or ``file.py:attribute`` names."""
    home, _, attribute = name.rpartition(":")
    if not home or not attribute:
        raise click.BadParameter(f"{name!r} is not of the form package.module:function")
    sys.path.insert(0, "")
    try:
        found: Any = _load_file(home) if home.endswith(".py") else importlib.import_module(home)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, OSError) as error:
        raise click.BadParameter(f"cannot load {name!r}: {error}") from error
    function: Callable[[Any], Any] = found
    return function


def _load_file(path: str) -> Any:
    spec = importlib.util.spec_from_file_location("amorsize_target", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    _seem_started_with(path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _seem_started_with(path: str) -> None:
    """Make what lies beside the file importable, as ``python path`` does: here, and in workers,
    which are told ``sys.path`` or, by some engines, where the script of ``sys.argv`` lies.
    """
    sys.path.insert(0, os.path.dirname(os.path.realpath(path)))
    sys.argv[:1] = [path]
