"""A function on its way to workers that nothing can be sent to once.

An executor takes calls, and hands each to whichever worker is free: a large function would
travel with every chunk. It lies in a private file instead, which each worker reads once. A
worker that does not see the file, on another host, says so and is sent the function itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from amorsize.packing import FunctionPayload, loaded_function
from amorsize.worker import PackedOutcome, run_packed, settle_in

EMBED_BYTES = 10_000
"""Functions up to this size travel with each chunk: that is as fast as opening a file."""

_settled: float | None = None


class FunctionFile(NamedTuple):
    """A pickled function in a file of this host."""

    digest: str
    """SHA-256 of the pickle stream; a file of any other content is not read."""
    path: str
    """Where it is."""

    def load(self) -> Callable[[Any], Any] | None:
        """The function, or ``None`` where the file cannot be read."""
        function = loaded_function(self.digest)
        if function is not None:
            return function
        try:
            with open(self.path, "rb") as file:
                data = file.read()
        except OSError:
            return None
        import hashlib

        if hashlib.sha256(data).hexdigest() != self.digest:
            return None
        return FunctionPayload(self.digest, data).load()


class Shipment:
    """What to send with each chunk instead of the function. Use :func:`run_shipped` there."""

    def __init__(self, payload: FunctionPayload) -> None:
        self._payload = payload
        self.function: FunctionPayload | FunctionFile = payload
        """To be sent with each chunk."""
        self._path = ""
        if payload.nbytes > EMBED_BYTES:
            with suppress(OSError):  # no room for files: it travels with each chunk
                self._lay_down()

    def _lay_down(self) -> None:
        import tempfile

        handle, self._path = tempfile.mkstemp(prefix="amorsize-function-")
        with open(handle, "wb") as file:
            file.write(self._payload.data)
        self.function = FunctionFile(self._payload.digest, self._path)

    def missed(self) -> FunctionPayload:
        """A worker does not see the file: from now on the function itself travels."""
        self.function = self._payload
        return self._payload

    def close(self) -> None:
        """Remove the file."""
        if self._path:
            with suppress(OSError):
                os.unlink(self._path)


def run_shipped(
    function: FunctionPayload | FunctionFile, cores: float | None, *chunk: Any
) -> PackedOutcome | None:
    """:func:`run_packed` in a worker; ``None`` if the function is not to be had here.

    ``cores`` is this worker's share of the host, to which libraries with threads of their own
    are held from then on; ``None`` for workers that are somebody else's.
    """
    global _settled
    if cores is not None and cores != _settled:
        settle_in(cores)
        _settled = cores
    call = function.load()
    return None if call is None else run_packed(call, *chunk)
