"""Finds the entry points of plugins.

``importlib.metadata`` would do, and does for what is not a plain directory, but importing it
costs more than planning: it loads the parsers of e-mail and of zip files. Each distribution is
asked by itself: a merged view lets a stale metadata folder hide another's entry points.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from typing import Any

from amorsize.files import content
from amorsize.installed import METADATA

ENTRY_POINT_GROUP = "amorsize"
_GROUP = ENTRY_POINT_GROUP.encode()


def wanted_plugins() -> Iterator[tuple[str, set[str], bool]]:
    """Names of installed plugins with what they point to and whether they are amorsize's own,
    which come first. More than one target means that two distributions use the same name; none,
    that ``AMORSIZE_PLUGINS`` (names separated by commas, which restrict what is loaded) asks for
    what is not installed.
    """
    chosen = os.environ.get("AMORSIZE_PLUGINS")
    allowed = None if chosen is None else {name.strip() for name in chosen.split(",")} - {""}
    ours: dict[str, str] = {}
    targets: dict[str, set[str]] = {}
    for name, value, own in _entry_points():
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


def _entry_points() -> Iterator[tuple[str, str, bool]]:
    """Name, target, and whether it is of amorsize's own distribution."""
    for path in dict.fromkeys(sys.path):
        directory = path or os.curdir
        try:
            names = os.listdir(directory)
        except NotADirectoryError:
            yield from _of_archive(path)
            continue
        except OSError:
            continue
        for name in names:
            if name.endswith(METADATA):
                points = _of_file(f"{directory}{os.sep}{name}{os.sep}entry_points.txt")
                if points:
                    own = name.partition("-")[0].partition(".")[0].lower() == "amorsize"
                    yield from ((*point, own) for point in points)


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


def _of_archive(path: str) -> Iterator[tuple[str, str, bool]]:
    from importlib.metadata import distributions

    for distribution in distributions(path=[path]):
        for point in distribution.entry_points:
            if point.group == ENTRY_POINT_GROUP:
                yield point.name, point.value, distribution.name == "amorsize"
