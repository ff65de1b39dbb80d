"""How kernel files and variables become numbers; anything malformed becomes ``None``."""

from __future__ import annotations

import math

# Control group v1 writes "no limit" as the largest page-aligned signed 64-bit number; no
# machine has an exbibyte of memory, so everything from there on is "no limit" as well.
UNLIMITED = 1 << 60

# A list such as "0-99999999999" is not a set of CPUs; Linux allows at most 8192 of them.
MAX_CPUS = 1 << 16

_SUFFIXES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def whole(text: str | None) -> int | None:
    """Return a non-negative decimal integer, or ``None`` for anything else."""
    if text is None:
        return None
    text = text.strip()
    if not text.isascii() or not text.isdigit() or len(text) > 20:
        return None
    return int(text)


def positive(text: str | None) -> int | None:
    """Return an integer of at least 1, or ``None``."""
    number = whole(text)
    return number if number else None


def positive_float(text: str | None) -> float | None:
    """Return a finite number above zero, or ``None``."""
    if text is None or len(text) > 40 or "_" in text:
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and number > 0 else None


def byte_limit(text: str | None) -> int | None:
    """Return a limit in bytes; ``max``, the v1 "no limit" value and nonsense give ``None``."""
    number = whole(text)
    return number if number is not None and number < UNLIMITED else None


def sized(text: str | None, *, unit: int = 1) -> int | None:
    """Return bytes from ``4096``, ``64K`` or ``2G``; a bare number counts in ``unit`` bytes."""
    if text is None:
        return None
    text = text.strip().upper().removesuffix("B").removesuffix("I")
    suffix = text[-1:] if text[-1:].isalpha() else ""
    number = positive(text[: len(text) - len(suffix)])
    if number is None or suffix not in _SUFFIXES:
        return None
    size = number * (_SUFFIXES[suffix] if suffix else unit)
    return size if size < UNLIMITED else None


def cpu_list(text: str | None) -> frozenset[int] | None:
    """Return the CPUs of a kernel list such as ``0-3,8``; ``None`` when empty or malformed."""
    if text is None or not text.strip() or len(text) > 1 << 16:
        return None
    cpus: set[int] = set()
    for part in text.strip().split(","):
        first, dash, last = part.strip().partition("-")
        low, high = whole(first), whole(last) if dash else whole(first)
        if low is None or high is None or high < low or high >= MAX_CPUS:
            return None
        cpus.update(range(low, high + 1))
    return frozenset(cpus)


def table(text: str | None, separator: str | None = None) -> dict[str, str]:
    """Return ``key value`` or ``key: value`` lines as a mapping; other lines are left out."""
    rows: dict[str, str] = {}
    for line in (text or "").splitlines():
        parts = line.split(separator, 1)
        if len(parts) == 2:
            rows[parts[0].strip()] = parts[1].strip()
    return rows
