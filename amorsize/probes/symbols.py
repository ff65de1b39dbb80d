"""Where a loaded library keeps what it does not export: the symbol table of its file tells, which
wheels are shipped with. Of a library that was stripped nothing is found.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from functools import cache
from io import BufferedReader

_MAGIC = b"\x7fELF\x02\x01"  # 64 bits, little endian: all others are rare, and told nothing of
_SECTION, _SYMBOL = struct.Struct("<IIQQQQIIQQ"), struct.Struct("<IBBHQQ")
_SYMTAB = 2


@cache
def offsets(path: str, names: Sequence[str]) -> dict[str, int]:
    """Offsets of the named symbols from where the library begins, in bytes; those that the file
    does not have, or more than once, are left out. Takes a millisecond or two.
    """
    found: dict[str, list[int]] = {name: [] for name in names}
    try:
        with open(path, "rb") as file:
            for symbols, strings in _tables(file):
                for name, values in found.items():
                    values += _values(symbols, strings, name.encode() + b"\0")
    except (OSError, ValueError, struct.error, IndexError):  # gone, or damaged
        return {}
    return {name: values[0] for name, values in found.items() if len(values) == 1}


def _tables(file: BufferedReader) -> Iterator[tuple[bytes, bytes]]:
    """Symbol tables, each with the strings that its names are in."""
    header = file.read(64)
    if header[: len(_MAGIC)] != _MAGIC:
        return
    (begin,) = struct.unpack_from("<Q", header, 40)
    size, count = struct.unpack_from("<HH", header, 58)
    table = _part(file, begin, size * count)
    sections = [_SECTION.unpack_from(table, number * size) for number in range(count)]
    for _, kind, _, _, offset, length, link, *_ in sections:
        if kind == _SYMTAB:
            strings = sections[link]
            yield _part(file, offset, length), _part(file, strings[4], strings[5])


def _part(file: BufferedReader, offset: int, length: int) -> bytes:
    if offset + length > os.fstat(file.fileno()).st_size:
        raise ValueError("more than there is")
    file.seek(offset)
    return file.read(length)


def _values(symbols: bytes, strings: bytes, name: bytes) -> Iterator[int]:
    at = -1
    while (at := strings.find(name, at + 1)) >= 0:  # also as the end of a longer one
        key, place = struct.pack("<I", at), -1
        while (place := symbols.find(key, place + 1)) >= 0:
            if place % _SYMBOL.size == 0:
                *_, value, _ = _SYMBOL.unpack_from(symbols, place)
                yield value
