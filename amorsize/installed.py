"""What is installed, without the cost of ``importlib.metadata``."""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from importlib.util import find_spec

METADATA = (".dist-info", ".egg-info")
"""How the folders end that tell what is installed: ``name-version.dist-info``."""


_found: set[str] = set()


def is_installed(module: str) -> bool:
    """Whether a top-level module can be imported; nothing is. What was found once is not looked
    for again.
    """
    if module in _found:
        return True
    if sys.modules.get(module) is None and find_spec(module) is None:
        return False
    _found.add(module)
    return True


@lru_cache
def installed_version(distribution: str) -> str:
    """Version of an installed distribution, ``"unknown"`` if there is none of that name. For
    :meth:`Backend.configuration`, which is asked in each plan.
    """
    wanted = distribution.lower().replace("-", "_")
    for path in dict.fromkeys(sys.path):
        try:
            names = os.listdir(path or os.curdir)
        except OSError:
            continue
        for name in names:
            if name.endswith(METADATA):
                found, _, version = os.path.splitext(name)[0].partition("-")
                if version and found.lower() == wanted:
                    return version.partition("-")[0]
    return "unknown"
