"""Digests of functions and items that are the same in another process.

Pickle streams are not: sets come in any order, and shared objects are written differently from
equal ones. So values are walked: built-in ones by content, functions by their code and what it
refers to, other objects by what ``__reduce_ex__`` says they are made of.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable
from hashlib import blake2b
from typing import Any

from amorsize.packing import innermost

_SIZE = 16
_PLAIN = (int, float, complex, str, bytes, bool, type(None), type(...))


def digest(value: Any) -> bytes:
    """A digest of a value that equal values of another process have too. What cannot be taken
    apart (locks, open files) counts by its type.
    """
    try:
        return _Walk().of(value)
    except Exception:  # nested too deeply, or a user's class that fails in its own way
        return _hash(b"opaque", _full_name(type(value)))


def name_of(function: Any) -> str:
    """A name for people."""
    function = innermost(function)
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{getattr(named, '__module__', '?')}.{getattr(named, '__qualname__', '?')}"


class _Walk:
    """One walk through an object; notices cycles."""

    def __init__(self) -> None:
        self._path: dict[int, int] = {}
        self._kept: list[Any] = []
        """Holds on to objects made on the way: an ``id`` must not be used twice."""

    def of(self, value: Any) -> bytes:
        kind = type(value)
        if kind in _PLAIN:
            return _hash(b"plain", kind.__name__.encode(), repr(value).encode("utf-8", "replace"))
        if id(value) in self._path:  # a cycle: by its depth
            return _hash(b"again", str(self._path[id(value)]).encode())
        self._path[id(value)] = len(self._path)
        self._kept.append(value)
        try:
            return self._compound(value)
        finally:
            del self._path[id(value)]

    def _compound(self, value: Any) -> bytes:
        kind: Any = type(value)
        if kind in (tuple, list):
            return _hash(kind.__name__.encode(), *map(self.of, value))
        if kind in (set, frozenset):
            return _hash(b"set", *sorted(map(self.of, value)))
        if kind is dict:
            return _hash(b"dict", *sorted(self.of(k) + self.of(v) for k, v in value.items()))
        if kind in (bytearray, memoryview):
            return _hash(b"bytes", bytes(value))
        if kind is types.CodeType:
            return self._code(value)
        if kind is types.FunctionType:
            return self._function(value)
        if kind is types.MethodType:
            return _hash(b"method", self.of(value.__func__), self.of(value.__self__))
        if isinstance(value, types.ModuleType):
            return _hash(b"module", value.__name__.encode())
        if isinstance(value, (type, types.BuiltinFunctionType)):
            return _hash(b"name", _full_name(value))
        return self._object(value)

    def _code(self, code: types.CodeType) -> bytes:
        """Code without what an edit of comments or docstrings changes."""
        constants = code.co_consts
        if constants and isinstance(constants[0], str) and code.co_flags & 0x2:  # a docstring
            constants = constants[1:]
        parts = (code.co_names, code.co_varnames, code.co_freevars, code.co_argcount)
        return _hash(b"code", code.co_code, self.of(tuple(constants)), self.of(parts))

    def _function(self, function: types.FunctionType) -> bytes:
        cells = [_content(cell) for cell in function.__closure__ or ()]
        captured = (function.__defaults__, function.__kwdefaults__, cells)
        seen = {name: found for name, found in self._referred(function)}
        name = function.__qualname__.encode()
        return _hash(
            b"function", name, self.of(function.__code__), self.of(captured), self.of(seen)
        )

    @staticmethod
    def _referred(function: types.FunctionType) -> Iterable[tuple[str, Any]]:
        """Functions of the same module and constants that the code refers to by name."""
        for name in sorted(_names(function.__code__)):
            found = function.__globals__.get(name)
            own = getattr(found, "__module__", None) == function.__module__
            if (isinstance(found, types.FunctionType) and own) or type(found) in _PLAIN[:-2]:
                yield name, found

    def _object(self, value: Any) -> bytes:
        name = _full_name(type(value))
        try:
            reduced = value.__reduce_ex__(4)
        except Exception:  # it cannot be taken apart
            return _hash(b"opaque", name)
        if isinstance(reduced, str):
            return _hash(b"global", name, reduced.encode())
        made, arguments, *rest = reduced
        state, items, pairs = (*rest, None, None, None)[:3]
        contents = (state, list(items or ()), list(pairs or ()))
        self._kept.append(contents)
        return _hash(b"object", name, self.of(made), self.of(arguments), self.of(contents))


def _hash(*parts: bytes) -> bytes:
    hashed = blake2b(digest_size=_SIZE)
    for part in parts:
        hashed.update(len(part).to_bytes(8, "little"))
        hashed.update(part)
    return hashed.digest()


def _full_name(named: Any) -> bytes:
    return f"{getattr(named, '__module__', '')}.{named.__qualname__}".encode()


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _names(code: types.CodeType) -> set[str]:
    """Global names that code and the code within it use."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _names(constant)
    return names


def of_function(function: Callable[[Any], Any]) -> str:
    """A function's digest: code, defaults, captured values, constants and functions of its
    module that it uses.
    """
    return digest(function).hex()
