"""Work on its way to an engine: a chunk of items, and what a session must know of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from amorsize.costs import STORE_BYTES
from amorsize.packing import FunctionPayload, Packed, pack_function, pack_items
from amorsize.source import IndexedSource, Piece, Span

if TYPE_CHECKING:
    from amorsize.worker import Outcome


class Chunk:
    """Some consecutive items for one worker.

    Args:
        number: counts the chunks of a run, from 0.
        spans: positions of the items in the data: usually one span, more around sampled items.
        items: the items, or ``None`` where the worker reads them from ``OpenRequest.source``.
        expected_s: predicted seconds of work, for an engine that queues short chunks ahead.
        stop_on_error: whether the chunk ends at its first failing item.
    """

    __slots__ = ("count", "expected_s", "items", "number", "spans", "stop_on_error")

    def __init__(
        self,
        number: int,
        spans: tuple[Span, ...],
        items: list[Any] | None = None,
        expected_s: float = 0.0,
        stop_on_error: bool = True,
    ) -> None:
        self.number, self.spans, self.items = number, spans, items
        self.expected_s, self.stop_on_error = expected_s, stop_on_error
        self.count = 0
        """Number of items."""
        for start, stop in spans:
            self.count += stop - start

    @property
    def first_index(self) -> int:
        """Position of the first item in the data."""
        return self.spans[0][0]

    def indices(self) -> Iterator[int]:
        """Positions of the items in the data, in order."""
        for start, stop in self.spans:
            yield from range(start, stop)

    def pack(self) -> Packed:
        """The items, pickled. Raises ``UnpicklableItem`` naming the one that cannot be."""
        return pack_items(self.items or [], self.indices())


class OpenRequest:
    """What a session needs to know when it opens.

    Args:
        function: the user's function.
        workers: how many workers the plan wants; never more than there are items.
        source: the data, for engines that share or inherit memory; ``None`` if items travel in
            chunks.
        cores_per_worker: share of the cores that each worker has, for libraries with threads of
            their own.
        options: backend-specific options, already checked against ``Backend.options``.
        payload: the pickled function, where the caller has it already.
        store_bytes: size from which the inputs of a chunk shall lie in the engine's own store,
            where it has one. May change while the session is open.
    """

    def __init__(
        self,
        function: Callable[[Any], Any],
        workers: int,
        source: IndexedSource | None = None,
        cores_per_worker: float = 1.0,
        options: Mapping[str, Any] | None = None,
        payload: FunctionPayload | None = None,
        store_bytes: float = STORE_BYTES,
    ) -> None:
        self.function, self.workers, self.source = function, workers, source
        self.cores_per_worker, self.options = cores_per_worker, options or {}
        self._payload = payload
        self.store_bytes = store_bytes

    @property
    def payload(self) -> FunctionPayload:
        """The function, pickled once on first use.

        Raises:
            UnpicklableFunction: if it cannot be pickled.
        """
        if self._payload is None:
            self._payload = pack_function(self.function)
        return self._payload

    def items_of(self, chunk: Chunk) -> list[Any]:
        """A chunk's items, for engines that share memory with the caller."""
        if chunk.items is not None:
            return chunk.items
        if self.source is None:
            raise ValueError("the chunk carries no items and the request no source")
        return self.source.spans(chunk.spans)

    def item_of(self, chunk: Chunk, position: int, index: int) -> object:
        """An item for a message, by its positions in the chunk and in the data; ``None`` if it
        cannot be read: user data may raise anything.
        """
        try:
            if chunk.items is not None:
                return chunk.items[position]
            return self.source.item(index) if self.source else None
        except Exception:
            return None

    def reader_of(self, chunk: Chunk) -> Callable[[int], Any]:
        """Reads the item at a position of a chunk, for engines that share memory with the caller;
        not before it is asked for.
        """
        if chunk.items is not None:
            return chunk.items.__getitem__
        if self.source is None:
            raise ValueError("the chunk carries no items and the request no source")
        item, indices = self.source.item, list(chunk.indices())
        return lambda position: item(indices[position])

    def run(self, chunk: Chunk) -> Outcome:
        """Run a chunk here, for engines that share memory with the caller."""
        from amorsize.worker import run_chunk

        return run_chunk(self.function, self.items_of(chunk), stop_on_error=chunk.stop_on_error)


def pieces_of(chunk: Chunk, values: list[Any]) -> Iterator[Piece]:
    """A chunk's results by span."""
    position = 0
    for start, stop in chunk.spans:
        part = values[position : position + stop - start]
        position += stop - start
        if part:
            yield start, part
