"""What travels between processes: the function once per worker, items in, results out.

The core pickles; engines only carry bytes. Large buffers (arrays of numpy) stay out of band
(pickle protocol 5), so an engine that can move buffers without a copy does so. Unpickling
happens only on what this process, or a worker it started, has written.
"""

from __future__ import annotations

import copyreg
import functools
import io
import pickle
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from types import FunctionType
from typing import Any, TypeVar

from amorsize.caches import Cached, sent_whole
from amorsize.errors import FunctionNotLoaded, UnpicklableFunction, UnpicklableItem
from amorsize.own_lock import OwnLock
from amorsize.rooms import copied

PROTOCOL = 5
_REGISTER_LOCK = OwnLock()
_LOADED_LIMIT = 8
_FRAME_BYTES = 100_000
"""Pickle streams from this size on travel out of band themselves, which spares engines a copy or
two of them; smaller ones are as fast inside the engine's own."""
_NAMED = (type, FunctionType, TypeVar, Cached)
"""What pickle finds by module and name."""
_loaded: OrderedDict[str, Callable[[Any], Any]] = OrderedDict()


class _Here(threading.local):
    """What this thread does."""

    packs = False
    whole = False


_here = _Here()
sent_whole(lambda: _here.whole)


class Packed:
    """A pickled object and its out-of-band buffers. No tuple: engines walk those.

    Args:
        data: the pickle stream.
        buffers: buffers referred to by the stream: ``PickleBuffer`` when made, bytes-like when
            arrived.
    """

    __slots__ = ("buffers", "data")

    def __init__(self, data: bytes | bytearray, buffers: tuple[Any, ...] = ()) -> None:
        self.data, self.buffers = data, buffers

    @property
    def nbytes(self) -> int:
        """Size of the stream and the buffers together, in bytes."""
        return len(self.data) + sum(memoryview(buffer).nbytes for buffer in self.buffers)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """Buffers and a large stream stay out of band where the carrier's protocol can (5), else
        become bytes: Dask's scheduler relays results with protocol 4.
        """
        buffers = self.buffers
        if protocol < PROTOCOL:
            return Packed, (bytes(self.data), tuple(bytes(buffer) for buffer in buffers))
        data = pickle.PickleBuffer(self.data) if len(self.data) >= _FRAME_BYTES else self.data
        return Packed, (data, tuple(pickle.PickleBuffer(buffer) for buffer in buffers))

    def unpack(self, copied: Callable[[Any], Any] = copied) -> Any:
        """The object again. Buffers that arrived read-only are ``copied``: a result must be as
        writable as the one the plain loop would have made.
        """
        buffers = [
            copied(buffer) if memoryview(buffer).readonly else buffer for buffer in self.buffers
        ]
        return pickle.loads(self.data, buffers=buffers)


class Parcel:
    """A packed object for an engine whose own pickling copies large buffers: as frames, of which
    all but the first are such buffers. An adapter derives a class, and has its engine send that so.

    Args:
        content: a ``Packed`` or ``PackedOutcome``.
    """

    __slots__ = ("content",)

    def __init__(self, content: Any) -> None:
        self.content = content

    @property
    def nbytes(self) -> int:
        """Size in bytes; engines that ask objects for it count it, too."""
        return int(self.content.nbytes)

    def __sizeof__(self) -> int:
        return object.__sizeof__(self) + self.nbytes

    def frames(self) -> list[Any]:
        """The content. The second frame is no part of it: some engines read the first buffer into
        memory that begins with something else, where an array would not be aligned.
        """
        packed = _dump(pickle.dumps, self.content)
        return [packed.data, bytearray(1), *packed.buffers]

    @classmethod
    def arrived(cls, _header: Any, frames: Sequence[Any]) -> Parcel:
        """The parcel again. An engine's own header is of no use."""
        stream, _, *buffers = frames
        return cls(pickle.loads(stream, buffers=buffers))


def pack(value: Any, *, by_value: bool = False) -> Packed:
    """Pickle ``value``. ``by_value`` sends classes and functions of ``__main__`` whole, for a
    reader that cannot import them.
    """
    if not by_value or "cloudpickle" not in sys.modules:
        try:
            return _dump(_by_reference if by_value else pickle.dumps, value)
        except Exception:  # local classes, lambdas: cloudpickle knows more, or raises in turn
            pass
    import cloudpickle

    return _dump(cloudpickle.dumps, value)


def _by_reference(value: Any, **how: Any) -> bytes:
    """Pickle what refers to nothing that has to travel by value, and raise otherwise: most items
    are plain data, and cloudpickle takes longer to import than many of them to run. Once it is
    there, it is asked at once.
    """
    file = io.BytesIO()
    _ReferringPickler(file, **how).dump(value)
    return file.getvalue()


class _ReferringPickler(pickle.Pickler):
    """Refuses what belongs to ``__main__``, or to no module, which is looked for there."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, _NAMED) and obj.__module__ in ("__main__", None):
            raise pickle.PicklingError(f"{obj!r} is in __main__")
        return NotImplemented


def dumps(value: Any) -> bytes:
    """Pickle ``value`` in one piece, its large buffers included: for what is kept in a file, or
    travels inside something else.
    """
    try:
        return pickle.dumps(value, protocol=PROTOCOL)
    except Exception:  # as in pack
        import cloudpickle

        data: bytes = cloudpickle.dumps(value, protocol=PROTOCOL)
        return data


def sent_as_by(pickler: Any, kind: type) -> None:
    """Have objects of an engine's ``kind`` travel as the engine's own ``pickler`` sends them. All
    pickling and copying of them elsewhere stays as it is, and so does this if the pickler knows
    none of them, as in another version of the engine.
    """

    def reduced(value: Any) -> Any:
        own = getattr(pickler, "dispatch_table", {}).get(kind) if _here.packs else None
        return value.__reduce_ex__(PROTOCOL) if own is None else own(value)

    copyreg.pickle(kind, reduced)


def _dump(dumps: Callable[..., bytes], value: Any) -> Packed:
    buffers: list[pickle.PickleBuffer] = []
    data = _sent(dumps, value, buffer_callback=buffers.append)
    # A buffer that is not contiguous cannot travel as raw bytes: let pickle copy those in band.
    if any(not _is_contiguous(buffer) for buffer in buffers):
        return Packed(_sent(dumps, value))
    return Packed(data, tuple(buffers))


def _sent(dumps: Callable[..., bytes], value: Any, **how: Any) -> bytes:
    """Pickle what travels (see ``sent_as_by``)."""
    before = _here.packs, _here.whole
    _here.packs, _here.whole = True, dumps.__module__.startswith("cloudpickle")
    try:
        return dumps(value, protocol=PROTOCOL, **how)
    finally:
        _here.packs, _here.whole = before


def _is_contiguous(buffer: pickle.PickleBuffer) -> bool:
    try:
        buffer.raw()
    except BufferError:
        return False
    return True


def pack_items(items: Sequence[Any], indices: Iterable[int]) -> Packed:
    """Pickle input items for a worker.

    Raises:
        UnpicklableItem: naming the first item that cannot travel.
    """
    try:
        return pack(items, by_value=True)
    except Exception as error:
        for index, item in zip(indices, items, strict=False):
            try:
                pack(item, by_value=True)
            except Exception as cause:
                raise UnpicklableItem(index, item, cause) from cause
        raise UnpicklableItem(next(iter(indices), 0), items, error) from error


class FunctionPayload:
    """A function ready to travel; loaded once in each process that receives it.

    Args:
        digest: identifies the pickle stream.
        data: the pickle stream, by value where the function cannot be imported elsewhere; any
            bytes-like object once it has arrived.
    """

    __slots__ = ("data", "digest")

    def __init__(self, digest: str, data: bytes) -> None:
        self.digest, self.data = digest, data

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """A large stream stays out of band where the carrier's protocol can: stores of engines
        then hold it as it is, and workers load the function from there without a copy of it.
        """
        if protocol >= PROTOCOL and self.nbytes >= _FRAME_BYTES:
            return FunctionPayload, (self.digest, pickle.PickleBuffer(self.data))
        return FunctionPayload, (self.digest, bytes(self.data))

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return memoryview(self.data).nbytes

    def load(self) -> Callable[[Any], Any]:
        """The function; the same object each time within one process.

        Raises:
            FunctionNotLoaded: if this process cannot import what the function needs.
        """
        function = _loaded.get(self.digest)
        if function is None:
            try:
                function = pickle.loads(self.data)
            except Exception as error:
                raise FunctionNotLoaded(f"{type(error).__name__}: {error}") from error
            _loaded[self.digest] = function
            while len(_loaded) > _LOADED_LIMIT:
                _loaded.popitem(last=False)
        return function


def loaded_function(digest: str) -> Callable[[Any], Any] | None:
    """The function of this digest, if this process has loaded it before."""
    return _loaded.get(digest)


def pack_function(function: Callable[[Any], Any]) -> FunctionPayload:
    """Pickle a function with cloudpickle.

    Raises:
        UnpicklableFunction: if it, or something it captures, cannot be pickled.
    """
    import hashlib

    import cloudpickle

    module = _unimportable_module(function)
    try:
        with _REGISTER_LOCK:
            if module is not None:
                cloudpickle.register_pickle_by_value(module)
            try:
                data = _sent(cloudpickle.dumps, function)
            finally:
                if module is not None:
                    cloudpickle.unregister_pickle_by_value(module)
    except Exception as error:
        raise UnpicklableFunction(function, error) from error
    return FunctionPayload(hashlib.sha256(data).hexdigest(), data)


def innermost(function: Any) -> Any:
    """The user's function below partial arguments and wrappers of ours. Functions of others are not
    asked: a proxy has any attribute it is asked for.
    """
    while True:
        if isinstance(function, functools.partial):
            function = function.func
        elif type(function).__module__.startswith("amorsize.") and hasattr(
            function, "user_function"
        ):
            function = function.user_function
        else:
            return function


def _unimportable_module(function: Any) -> Any:
    """The function's module if a fresh process could not import it by name (a script loaded by
    path, a test module): it must travel by value.
    """
    name = getattr(innermost(function), "__module__", None)
    if not isinstance(name, str) or name == "__main__":  # cloudpickle handles __main__ itself
        return None
    module = sys.modules.get(name)
    return None if module is None or _can_be_found(name) else module


def _can_be_found(name: str) -> bool:
    """Whether the import system finds a module by name, its entry in ``sys.modules`` aside."""
    parent = name.rpartition(".")[0]
    path = getattr(sys.modules.get(parent), "__path__", None) if parent else None
    if parent and path is None:
        return False
    try:
        return any(finder.find_spec(name, path) is not None for finder in sys.meta_path)
    except Exception:  # a foreign finder may raise anything; by value is the safe answer
        return False
