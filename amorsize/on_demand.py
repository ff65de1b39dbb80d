"""Names of a module that are loaded when somebody first asks for them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any


def loader(module: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """What the ``__getattr__`` of a module calls.

    Args:
        module: name of that module; what is loaded stays there.
        homes: the module that each name comes from, by its whole name.

    The result raises ``AttributeError`` for all other names.
    """

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        import importlib

        value = getattr(importlib.import_module(homes[name]), name)
        setattr(sys.modules[module], name, value)
        return value

    return load
