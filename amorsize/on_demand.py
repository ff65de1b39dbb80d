"""Names of a module that are loaded when somebody first asks for them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any


def loader(module: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """What the ``__getattr__`` of a module calls.

    Args:
        module: name of that module; what is loaded stays there.
        homes: the module that each name comes from, by its whole name; a submodule is its own.

    The result raises ``AttributeError`` for all other names.
    """

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        import importlib

        home = importlib.import_module(homes[name])
        value = home if homes[name] == f"{module}.{name}" else getattr(home, name)
        setattr(sys.modules[module], name, value)
        return value

    return load
