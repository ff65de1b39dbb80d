"""Finds the entry points of plugins.

``importlib.metadata`` would do, and does for what is not a plain directory, but importing it
costs more than planning: it loads the parsers of e-mail and of zip files. Each distribution is
asked by itself: a merged view lets a stale metadata folder hide another's entry points.

What a folder holds is remembered until the folder changes: so the first map need not read what
was read when amorsize was imported.
"""

from __future__ import annotations

import importlib
import math
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

from amorsize.files import content
from amorsize.installed import METADATA

ENTRY_POINT_GROUP = "amorsize"
_GROUP = ENTRY_POINT_GROUP.encode()
_SETTLED_S = 2.0
"""A folder that changed less than so many seconds ago may change again unnoticed: some file systems
tell of changes to two seconds."""
_EntryPoint = tuple[str, str, bool]
"""Name, target, and whether it is of amorsize's own distribution."""
_remembered: dict[str, tuple[tuple[int, ...], list[_EntryPoint]]] = {}
"""Entry points in folders, each with what tells the folder from others and from itself after a
change."""


def wanted_plugins(until: float = math.inf) -> Iterator[tuple[str, set[str], bool]]:
    """Names of installed plugins with what they point to and whether they are amorsize's own,
    which come first. More than one target means that two distributions use the same name; none,
    that ``AMORSIZE_PLUGINS`` (names separated by commas, which restrict what is loaded) asks for
    what is not installed. With ``until``, a ``time.perf_counter()``, what cannot be read by then is
    left out.
    """
    chosen = os.environ.get("AMORSIZE_PLUGINS")
    allowed = None if chosen is None else {name.strip() for name in chosen.split(",")} - {""}
    ours: dict[str, str] = {}
    targets: dict[str, set[str]] = {}
    for name, value, own in _entry_points(until):
        targets.setdefault(name, set()).add(value)
        if own:
            ours[name] = value
    names = sorted(targets if allowed is None else allowed)
    for name in names:
        if name in ours:  # before all others, so that no stranger can take their names
            yield name, {ours[name]}, True
    for name in names:
        if name not in ours:
            yield name, targets.get(name, set()), False
        elif foreign := targets[name] - {ours[name]}:
            yield f"{name} = {', '.join(sorted(foreign))}", targets[name], False


def load(target: str) -> Any:
    """What an entry point ``package.module:attribute`` names."""
    module, _, attributes = target.partition("[")[0].strip().partition(":")
    found = importlib.import_module(module.strip())
    for attribute in filter(None, attributes.strip().split(".")):
        found = getattr(found, attribute)
    return found


def _entry_points(until: float) -> Iterator[_EntryPoint]:
    for path in dict.fromkeys(sys.path):
        try:
            yield from _of_folder(path or os.curdir, until)
        except NotADirectoryError:
            if until == math.inf:  # asking for it takes long
                yield from _of_archive(path)
        except OSError:
            continue


def _of_folder(folder: str, until: float) -> list[_EntryPoint]:
    """Entry points in a folder of ``sys.path``; what is not read by ``until`` is not remembered."""
    status = os.stat(folder)
    stamp = (status.st_dev, status.st_ino, status.st_mtime_ns)
    known = _remembered.get(folder)
    if known is not None and known[0] == stamp:
        return known[1]
    found: list[_EntryPoint] = []
    settled = time.time() - status.st_mtime >= _SETTLED_S
    for name in os.listdir(folder):
        if name.endswith(METADATA):
            if time.perf_counter() > until:
                return found
            points = _of_file(f"{folder}{os.sep}{name}{os.sep}entry_points.txt")
            own = name.partition("-")[0].partition(".")[0].lower() == "amorsize"
            found += [(*point, own) for point in points]
    if settled:
        _remembered[folder] = stamp, found
    return found


def _of_file(path: str) -> list[tuple[str, str]]:
    """Entry points of our group in one metadata file (the format of INI files)."""
    try:
        text = content(path)
        return list(_parsed(text.decode())) if _GROUP in text else []
    except (OSError, ValueError):  # none, or no text
        return []


def _parsed(text: str) -> Iterator[tuple[str, str]]:
    section = ""
    for line in text.splitlines():
        line = line.strip()
        if line.startswith("["):
            section = line.strip("[] ")
        elif section == ENTRY_POINT_GROUP and "=" in line and not line.startswith(("#", ";")):
            name, _, value = line.partition("=")
            yield name.strip(), value.strip()


def _of_archive(path: str) -> Iterator[_EntryPoint]:
    from importlib.metadata import distributions

    for distribution in distributions(path=[path]):
        for point in distribution.entry_points:
            if point.group == ENTRY_POINT_GROUP:
                yield point.name, point.value, distribution.name == "amorsize"
