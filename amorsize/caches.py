"""Functions with a cache (``functools.lru_cache``): pickle knows them by name only, and cloudpickle
does, too. One of a script, or within a function, travels as what it is made of, its cache empty.
"""

from __future__ import annotations

import copyreg
import functools
from collections.abc import Callable
from typing import Any

Cached: type = type(functools.lru_cache(abs))


def sent_whole(wanted: Callable[[], bool]) -> None:
    """Have such functions travel so where a pickler that sends functions whole is at work, of which
    ``wanted`` tells. All other pickling and copying of them stays as it is.
    """

    def reduced(function: Any) -> Any:
        if not wanted() or not _has_to(function):
            return function.__reduce_ex__(2)
        state = {name: value for name, value in vars(function).items() if name != "__wrapped__"}
        return _made, (function.__wrapped__, function.cache_parameters()), state or None

    copyreg.pickle(Cached, reduced)


def _has_to(function: Any) -> bool:
    from cloudpickle import list_registry_pickle_by_value

    module = getattr(function, "__module__", None)
    local = "<locals>" in getattr(function, "__qualname__", "")
    return local or module in ("__main__", None, *list_registry_pickle_by_value())


def _made(function: Callable[..., Any], parameters: dict[str, Any]) -> Any:
    return functools.lru_cache(**parameters)(function)
