"""What Dask carries for us: boxes whose large buffers travel as they are, and the way they take."""

from __future__ import annotations

import asyncio
from typing import Any

from distributed.protocol import dask_deserialize, dask_serialize
from distributed.protocol.serialize import pickle_dumps, pickle_loads

LARGE_BYTES = 1_000_000
"""What is smaller goes through the scheduler, which takes no longer for it."""
_ANSWER_S = 1.0
"""Seconds that workers get to answer."""
_PICKLE = {"pickle-protocol": 5}
_SPACER = bytearray(1)
"""Dask reads the first buffer of a message into memory that begins with the message's head, where
an array would not be aligned, and each other buffer into memory of its own."""


class Box:
    """Something on its way through the scheduler.

    Dask's scheduler talks the pickle of protocol 4, which copies large buffers at both ends, but
    passes on untouched what a serializer of Dask's own has made: this class has one. A worker that
    gets a box before anything else finds the serializer with the class.

    Args:
        content: what travels.
        nbytes: its size, for the memory that workers count.
    """

    __slots__ = ("content", "nbytes")

    def __init__(self, content: Any, nbytes: int) -> None:
        self.content, self.nbytes = content, nbytes

    def __sizeof__(self) -> int:
        return object.__sizeof__(self) + self.nbytes


@dask_serialize.register(Box)  # type: ignore[untyped-decorator]
def _frames(box: Box) -> tuple[Any, list[Any]]:
    header, (stream, *buffers) = pickle_dumps(box.content, _PICKLE)
    return {**header, "nbytes": box.nbytes}, [stream, _SPACER, *buffers]


@dask_deserialize.register(Box)  # type: ignore[untyped-decorator]
def _box(header: Any, frames: list[Any]) -> Box:
    stream, _, *buffers = frames
    return Box(pickle_loads(header, [stream, *buffers]), header["nbytes"])


class Route:
    """Which way large messages go: to the workers themselves if this process gets at all of them,
    which spares the scheduler, and a copy. Lives on the client's event loop.

    Args:
        client: a connected client; if it was told which way to go, that is done.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._asking: asyncio.Task[bool] | None = None
        self._closed = False

    def direct(self, nbytes: int) -> bool | None:
        """Dask's argument of this name for a message of about ``nbytes``: ``None`` leaves it to the
        client, and so it is until all workers have answered.
        """
        if self._closed or nbytes < LARGE_BYTES or self._client.direct_to_workers is not None:
            return None
        if self._asking is None:
            self._asking = asyncio.ensure_future(self._all_answer())
        return True if self._asking.done() and self._asking.result() else None

    def close(self) -> None:
        """Wait for no answers any more; from now on all goes through the scheduler."""
        self._closed = True
        if self._asking is not None:
            self._asking.cancel()

    async def _all_answer(self) -> bool:
        """Whether each worker answers this process, and is one of this cluster: behind a tunnel
        another one could have its address.
        """
        client = self._client
        try:
            asked = client.nthreads(asynchronous=True)
            asked = [client.rpc(worker).identity() for worker in await asked]
            known = await asyncio.wait_for(asyncio.gather(*asked), _ANSWER_S)
        except Exception:  # a firewall, a worker that has just gone, another version of Dask
            return False
        return bool(known) and {w["scheduler"] for w in known} == {client.scheduler.address}
