"""What a fact is: one measured or configured number with the place it was read from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Fact(NamedTuple):
    """One number about this machine or process, and where it came from.

    Facts that limit something are compared with each other; the smallest one binds.
    Facts that only inform (the number of physical cores, say) have ``limiting`` false.
    """

    name: str
    """Short stable identifier, such as ``affinity`` or ``cgroup-v2-quota``."""

    value: float
    """The number itself, in ``unit``."""

    unit: str
    """``cores``, ``bytes``, ``fraction`` or ``tasks``."""

    source: str
    """The file, variable or call the value was read from."""

    note: str = ""
    """What a reader needs to know to understand the value; may be empty."""

    limiting: bool = True
    """Whether the value takes part in the minimum."""

    binds: bool = False
    """Whether it is the smallest of its kind, the one that decides."""

    def to_dict(self) -> dict[str, object]:
        """Return the fact as plain data for JSON."""
        return {
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "source": self.source,
            "note": self.note,
            "limiting": self.limiting,
            "binds": self.binds,
        }


def mark_binding(facts: Iterable[Fact]) -> tuple[tuple[Fact, ...], Fact | None]:
    """Mark the smallest limiting fact as the one that binds.

    Of equal values the first wins, so callers list the most basic limit first: a
    container whose quota equals the number of CPUs is not limited by its quota.
    """
    listed = list(facts)
    best = -1
    for index, fact in enumerate(listed):
        if fact.limiting and (best < 0 or fact.value < listed[best].value):
            best = index
    if best < 0:
        return tuple(listed), None
    listed[best] = listed[best]._replace(binds=True)
    return tuple(listed), listed[best]
