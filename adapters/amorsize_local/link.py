"""What connects a worker with its caller: two pipes, and memory that both of them see."""

from __future__ import annotations

import weakref
from contextlib import ExitStack

from amorsize_local import channel
from amorsize_local.arena import Arena, arena

ours: weakref.WeakSet[channel.End | Arena] = weakref.WeakSet()
"""The caller's ends of all pipes of all sessions, and the memory that it shares with each worker
that is up: a process that is forked from the caller must not keep them open."""


class Link:
    """The ends of the caller and those of the worker, until this has started.

    Args:
        inherited: whether the worker is forked; to another one its ends are sent.

    Raises:
        OSError: if no more files may be open.
    """

    __slots__ = ("arena", "orders", "outcomes", "their_orders", "their_outcomes")

    def __init__(self, *, inherited: bool) -> None:
        with ExitStack() as opened:  # nothing stays open of one that cannot be made
            self.their_orders, self.orders = channel.pipe()
            opened.callback(self.their_orders.close)
            opened.callback(self.orders.close)
            self.outcomes, self.their_outcomes = channel.pipe()
            opened.callback(self.outcomes.close)
            opened.callback(self.their_outcomes.close)
            channel.enlarge(self.outcomes)
            self.arena = arena(inherited=inherited)
            ours.update((self.orders, self.outcomes))
            opened.pop_all()

    def started(self) -> None:
        """The worker has its ends: they are of no more use here."""
        self.their_orders.close()
        self.their_outcomes.close()
        if self.arena is not None:
            self.arena.sent()
            ours.add(self.arena)

    def let_go(self) -> None:
        """Close what this process has of it."""
        self.orders.close()
        self.outcomes.close()
        self.their_orders.close()
        self.their_outcomes.close()
        if self.arena is not None:
            self.arena.close()


def links(count: int, *, inherited: bool) -> tuple[list[Link], OSError | None]:
    """So many, or as many as the system allows and why there are no more."""
    made: list[Link] = []
    try:
        while len(made) < count:
            made.append(Link(inherited=inherited))
    except OSError as error:
        return made, error
    return made, None
