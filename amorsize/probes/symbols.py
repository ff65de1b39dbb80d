"""Where a loaded library keeps what it does not export: the symbol table of its file tells, which
wheels are shipped with. Of a library that was stripped nothing is found.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

_MAGIC = b"\x7fELF\x02\x01"  # 64 bits, little endian: all others are rare, and told nothing of
_SECTION, _SYMBOL = struct.Struct("<IIQQQQIIQQ"), struct.Struct("<IBBHQQ")
_SYMTAB = 2


class _Section(NamedTuple):
    offset: int
    end: int
    kind: int
    link: int


@cache
def offsets(path: str, names: Sequence[str]) -> dict[str, int]:
    """Offsets of the named symbols from where the library begins, in bytes; those that the file
    does not have, or more than once, are left out.
    """
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if data[: len(_MAGIC)] != _MAGIC:
                return {}
            found = {name: list(_values(data, name.encode())) for name in names}
    except (OSError, ValueError, OverflowError, struct.error, IndexError):  # gone or damaged
        return {}
    return {name: values[0] for name, values in found.items() if len(values) == 1}


def _values(data: mmap.mmap, name: bytes) -> Iterator[int]:
    for table, strings in _tables(data):
        at = strings.offset
        while (at := data.find(name + b"\0", at, strings.end)) >= 0:
            yield from _values_of(data, table, at - strings.offset)
            at += 1


def _tables(data: mmap.mmap) -> Iterator[tuple[_Section, _Section]]:
    """Symbol tables, each with the strings that its names are in."""
    (begin,) = struct.unpack_from("<Q", data, 40)
    size, count = struct.unpack_from("<HH", data, 58)
    sections = []
    for number in range(count):
        _, kind, _, _, offset, length, link, *_ = _SECTION.unpack_from(data, begin + number * size)
        sections.append(_Section(offset, offset + length, kind, link))
    for section in sections:
        if section.kind == _SYMTAB:
            yield section, sections[section.link]


def _values_of(data: mmap.mmap, table: _Section, name: int) -> Iterator[int]:
    """Values of the symbols whose name is at that place among the strings."""
    key, at = struct.pack("<I", name), table.offset
    while (at := data.find(key, at, table.end)) >= 0:
        if (at - table.offset) % _SYMBOL.size == 0:
            *_, value, _ = _SYMBOL.unpack_from(data, at)
            yield value
        at += 1
