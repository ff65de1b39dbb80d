"""The loop of a worker process: receive a chunk, run it, send its outcome back."""

from __future__ import annotations

import gc
import os
import pickle
import select
import signal
import sys
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from amorsize.backend import FunctionPayload, Packed, PackedOutcome, run_packed, settle_in
from amorsize.errors import FunctionNotLoaded, ItemNotLoaded
from amorsize_local.arena import Arena, Outbox
from amorsize_local.channel import End, receive, send

if TYPE_CHECKING:
    from amorsize.backend import IndexedSource, Span
    from amorsize_local.link import Link
    from amorsize_local.surroundings import Surroundings


FUNCTIONS_KEPT = 4
"""Functions that a worker keeps for later runs, the latest ones."""
IDLE_S = 30.0
"""Seconds after which a worker that waits for another run ends by itself."""


class Assignment:
    """What a worker needs besides chunks; pickled only where the worker is not forked. No named
    tuple, as the order below: what it takes to define two of these the first workers would wait.

    Args:
        function: the function itself, or packed.
        source: the data, where it is inherited.
        cores: share of the host's cores that each worker has.
        environment: the caller's; a worker of a forkserver would have that of the server's start.
            ``None`` for one that is forked.
    """

    __slots__ = ("cores", "environment", "function", "source")

    def __init__(
        self,
        function: Callable[[Any], Any] | FunctionPayload,
        source: IndexedSource | None,
        cores: float,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.function, self.source, self.cores = function, source, cores
        self.environment = environment

    def with_function(self, function: FunctionPayload) -> Assignment:
        """The same with another function."""
        return Assignment(function, self.source, self.cores, self.environment)

    def __reduce__(self) -> tuple[Any, ...]:
        return Assignment, (self.function, self.source, self.cores, self.environment)


class Order:
    """One chunk on its way to a worker; its items, if any, are in the message's other frames.

    Args:
        spans: where in the data its items are.
        stop_on_error: whether it ends at its first failing item.
        carried: whether the items are in the message.
        ahead: whether the outcome of the one before may still be unread.
    """

    __slots__ = ("ahead", "carried", "spans", "stop_on_error")

    def __init__(
        self, spans: tuple[Span, ...], stop_on_error: bool, carried: bool, ahead: bool
    ) -> None:
        self.spans, self.stop_on_error = spans, stop_on_error
        self.carried, self.ahead = carried, ahead

    def __reduce__(self) -> tuple[Any, ...]:
        return Order, (self.spans, self.stop_on_error, self.carried, self.ahead)


def serve(
    assignment: Assignment,
    orders: End,
    outcomes: End,
    lifeline: End,
    arena: Arena | None,
    others: Sequence[Link] = (),
    first: Order | None = None,
) -> None:
    """Work until the orders end, or the caller does. A forked worker inherits what belongs to
    ``others`` that start with it: closed here, so that every worker sees the end of its orders when
    the caller is gone, however it ended, and the caller that of each worker. It also inherits its
    ``first`` order, which need not wait for the pipe.
    """
    if assignment.environment is None:
        # Else the collector would look at all that is inherited, and each look copies a page.
        gc.freeze()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the caller's to handle
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for other in others:
        other.let_go()
    _die_with(lifeline)
    # Daemonic for the caller, which ends it at exit; but what works in the plain loop must work
    # here, functions that start processes of their own included.
    if (known := sys.modules.get("multiprocessing.process")) is not None:
        known.current_process().daemon = False
    if assignment.environment is not None:
        os.environ.clear()
        os.environ.update(assignment.environment)
    settle_in(assignment.cores)
    _draw_apart()
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        _Worker(assignment, orders, outcomes, arena).work(first)


def _draw_apart() -> None:
    """Have random numbers of this process's own, where numpy's generator was inherited: with the
    caller's state, all workers would draw the same. Python's does that by itself after a fork.
    """
    numpy: Any = sys.modules.get("numpy.random")
    with suppress(Exception):  # no generator that can be seeded, or not yet loaded in full
        lock = numpy.get_bit_generator().lock if numpy is not None else None
        # A thread of the caller may have held it: whoever waits for it here does so for ever.
        if lock is not None and lock.acquire(blocking=False):
            lock.release()
            numpy.seed()


class _Worker:
    """This process, which has settled in."""

    def __init__(
        self, assignment: Assignment, orders: End, outcomes: End, arena: Arena | None
    ) -> None:
        self._orders, self._outcomes, self._arena = orders, outcomes, arena
        self._kept: OrderedDict[str, FunctionPayload] = OrderedDict()
        self._outbox = Outbox()
        self._assignment = _with_function(assignment, self._kept)

    def work(self, first: Order | None) -> None:
        """Until the orders end, or until it has waited in vain for another run."""
        waits, fresh = False, self._assignment.environment is not None
        surroundings = _surroundings() if fresh else None  # a forked one never waits
        if first is not None:
            self._answer(first, [])
        while not (waits and (surroundings is None or self._must_leave(surroundings))):
            head, *rest = receive(self._orders, self._arena)
            order: Order | Assignment | None = pickle.loads(head)
            waits = order is None
            if isinstance(order, Assignment):
                self._assignment = _with_function(order, self._kept)
                send(self._outcomes, [b""])
            elif order is not None:
                self._answer(order, rest)
            del rest  # nothing is held while waiting for the next one

    def _answer(self, order: Order, frames: list[bytearray]) -> None:
        answer = _frames(_outcome(self._assignment, order, frames))
        send(self._outcomes, answer, self._arena, self._outbox.slot(order.ahead))

    def _must_leave(self, surroundings: Surroundings) -> bool:
        """Whether a waiting worker is of no use any more, or not called again for a long time."""
        if surroundings.changed():
            return True
        call = select.poll()
        call.register(self._orders.fileno(), select.POLLIN)
        return not call.poll(IDLE_S * 1000)


def _surroundings() -> Surroundings:
    from amorsize_local.surroundings import Surroundings

    return Surroundings()


def _with_function(assignment: Assignment, kept: OrderedDict[str, FunctionPayload]) -> Assignment:
    """The assignment with its function, which came with an earlier one if it is empty."""
    function = assignment.function
    if not isinstance(function, FunctionPayload):
        return assignment
    if not function.data:
        return assignment.with_function(kept[function.digest])
    kept[function.digest] = function
    while len(kept) > FUNCTIONS_KEPT:
        kept.popitem(last=False)
    return assignment


def _die_with(lifeline: End) -> None:
    """Have the kernel kill this process once the caller has closed its end of a pipe on which
    nothing is ever sent, even in the middle of an item. The pipe is opened anew: who gets the
    signal is a property of an open pipe, and this one is shared by all workers. Where the system
    cannot do it, a worker ends after its chunk.
    """
    try:
        import fcntl

        fd = os.open(f"/proc/self/fd/{lifeline.fileno()}", os.O_RDONLY | os.O_NONBLOCK)
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(fd, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC)
    except (ImportError, AttributeError, OSError):
        pass


def _outcome(
    assignment: Assignment, order: Order, frames: Sequence[bytearray]
) -> PackedOutcome | FunctionNotLoaded:
    items: Any
    if order.carried:
        items = Packed(frames[0], tuple(frames[1:]))
    else:
        assert assignment.source is not None
        try:
            items = assignment.source.spans(order.spans)
        except Exception as error:  # a user's sequence may raise anything
            return ItemNotLoaded(f"{type(error).__name__}: {error}")
    try:
        return run_packed(assignment.function, items, order.spans, order.stop_on_error)
    except FunctionNotLoaded as error:
        return error


def _frames(outcome: PackedOutcome | FunctionNotLoaded) -> list[Any]:
    """An outcome as frames: a small head, the pickled results and their buffers as they are."""
    if isinstance(outcome, FunctionNotLoaded):
        return [pickle.dumps(outcome)]
    head = pickle.dumps((outcome.failures, outcome.times))
    return [head, outcome.values.data, *outcome.values.buffers]


def outcome_of(frames: Sequence[bytearray]) -> PackedOutcome:
    """The inverse, in the caller.

    Raises:
        FunctionNotLoaded: if the worker could not load the function or the items.
    """
    head = pickle.loads(frames[0])
    if isinstance(head, FunctionNotLoaded):
        raise head
    failures, times = head
    return PackedOutcome(Packed(frames[1], tuple(frames[2:])), failures, times)


def name_of_death(exitcode: int | None) -> str:
    """How a worker ended, for a message."""
    if exitcode is None:
        return "it closed its pipe"
    if exitcode < 0:
        try:
            return f"killed by {signal.Signals(-exitcode).name}"
        except ValueError:
            return f"killed by signal {-exitcode}"
    return f"exited with code {exitcode} (os._exit, or a crash of the interpreter)"
