"""Random numbers that depend on the seed and the item alone: not on backend, workers or chunks."""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import CodeType
from typing import Any, NamedTuple

from amorsize.errors import InvalidArgument, shorten
from amorsize.source import IndexedSource, Source, StreamSource


class Seed(NamedTuple):
    """A seed for a run: ``seed=42`` is ``seed=Seed(42)``."""

    value: int
    """Any whole number, 0 or more."""
    global_state: bool = True
    """Also seed the generators that all code of a process shares: those of ``random`` and of
    ``numpy.random``. Without, :func:`rng` alone is seeded, and threads can run items at once."""


class Numbered(NamedTuple):
    """An item with its position in the data."""

    position: int
    item: Any

    def __repr__(self) -> str:
        return shorten(self.item)


class _NumberedSource(IndexedSource):
    """Data with random access, numbered."""

    def __init__(self, source: IndexedSource) -> None:
        super().__init__(source.data)
        self._source, self.anywhere = source, source.anywhere

    def items(self, start: int, stop: int) -> Iterable[Any]:
        return map(Numbered, range(start, stop), self._source.items(start, stop))

    def item(self, index: int) -> Any:
        return Numbered(index, self._source.item(index))


def numbered(source: Source) -> Source:
    """The same data as :class:`Numbered` items."""
    if isinstance(source, IndexedSource):
        return _NumberedSource(source)
    stream = StreamSource(map(Numbered, itertools.count(), source.iterator))
    stream.length = source.length
    return stream


class _Here(threading.local):
    """The item that this thread runs."""

    seeded: Seeded | None = None
    position = 0
    generator: Any = None


_here = _Here()
_alone: defaultdict[int, threading.RLock] = defaultdict(threading.RLock)
"""Held while the process's own generators are seeded for an item. One for each depth of runs
within items: an item that waits for a run of its own holds the lock of its own depth."""


_generators: dict[int, Any] = {}
"""Generators of numpy that stand in for the process's own, by depth."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_alone.clear)


class Seeded:
    """The user's function with random numbers of each item's own. Takes numbered items.

    Args:
        function: the user's function.
        seed: the seed.
        numpy: whether numpy is in use: its generators are seeded, and :func:`rng` is one of them.
        depth: 0, or how many runs have an item that waits for this run.
    """

    def __init__(
        self, function: Callable[[Any], Any], seed: Seed, numpy: bool, depth: int = 0
    ) -> None:
        self.user_function, self.seed, self.numpy, self.depth = function, seed, numpy, depth
        self.home = os.getpid()

    def __reduce__(self) -> tuple[Any, ...]:
        return _elsewhere, (self.user_function, self.seed, self.numpy, self.depth)

    def __call__(self, numbered: Numbered) -> Any:
        """The function's result for the item, with the state of this item's random numbers."""
        position, item = numbered
        before = _here.seeded, _here.position, _here.generator
        _here.seeded, _here.position, _here.generator = self, position, None
        try:
            if not self.seed.global_state:
                return self.user_function(item)
            with _alone[self.depth]:
                return self._with_global_state(position, item)
        finally:
            _here.seeded, _here.position, _here.generator = before

    def _with_global_state(self, position: int, item: Any) -> Any:
        random_state = random.getstate()
        random.seed(self._number(position))
        if not self.numpy:
            try:
                return self.user_function(item)
            finally:
                random.setstate(random_state)
                if "numpy" in sys.modules:
                    self._numpy_is_late()
        with self._numpy_seeded(position):
            try:
                return self.user_function(item)
            finally:
                random.setstate(random_state)

    @contextmanager
    def _numpy_seeded(self, position: int) -> Iterator[None]:
        """Put a generator of our own under the functions of ``numpy.random``: saving and loading
        the state of theirs takes a tenth of a millisecond. What that would lose, a normal number
        kept for the next call, is looked after in the caller's process alone.
        """
        import numpy as np

        module: Any = np.random
        with_care = os.getpid() == self.home
        state: Any = np.random.get_state(legacy=False) if with_care else {"has_gauss": 0}
        theirs = module.get_bit_generator()
        ours = _generators.get(self.depth) or _generators.setdefault(
            self.depth, np.random.MT19937(0)
        )
        module.set_bit_generator(ours)
        np.random.seed(self._sequence(position, 0).generate_state(8))
        try:
            yield
        finally:
            module.set_bit_generator(theirs)
            if state["has_gauss"]:
                np.random.set_state(state)

    def _numpy_is_late(self) -> None:
        import warnings

        self.numpy = True
        warnings.warn(
            "the function has imported numpy while it ran: items that came first had no seed for "
            "numpy.random. Import numpy before you plan a run with seed=...",
            stacklevel=2,
        )

    def generator(self) -> Any:
        """This item's own generator, made on first use."""
        if _here.generator is None:
            if self.numpy:
                import numpy as np

                _here.generator = np.random.default_rng(self._sequence(_here.position))
            else:
                _here.generator = random.Random(self._number(_here.position, b"own"))
        return _here.generator

    def _number(self, position: int, purpose: bytes = b"") -> int:
        text = f"{self.seed.value}:{position}".encode()
        return int.from_bytes(hashlib.blake2b(text, digest_size=32, person=purpose).digest())

    def _sequence(self, *key: int) -> Any:
        import numpy as np

        return np.random.SeedSequence(self.seed.value, spawn_key=key)


def _elsewhere(*parts: Any) -> Seeded:
    """The function in another process, or in a journal's eyes: those have no home."""
    arrived = Seeded(*parts)
    arrived.home = 0
    return arrived


def rng() -> Any:
    """The random number generator of the item at hand, for functions that run with ``seed=``:
    a ``numpy.random.Generator`` where numpy is in use, else a ``random.Random``. The same
    object each time within one item. Outside of such a run, a new one that nothing determines.
    """
    if _here.seeded is not None:
        return _here.seeded.generator()
    if "numpy" in sys.modules:
        import numpy as np

        return np.random.default_rng()
    return random.Random()


def seeded(function: Callable[[Any], Any], seed: Any) -> Seeded:
    """The function with a seed. numpy is in use if it has been imported, or if the code of the
    function imports it.

    Raises:
        InvalidArgument: if ``seed`` is none.
    """
    wanted = seed if isinstance(seed, Seed) else Seed(seed)
    value = wanted.value
    if hasattr(value, "__index__") and not isinstance(value, bool):
        wanted = wanted._replace(value=value.__index__())
    else:
        raise InvalidArgument(f"seed must be a whole number or a Seed, not {seed!r}")
    if wanted.value < 0:
        raise InvalidArgument(f"seed must be 0 or more, not {wanted.value}")
    depth = 0 if _here.seeded is None else _here.seeded.depth + 1
    return Seeded(function, wanted, "numpy" in sys.modules or _imports_numpy(function), depth)


def _imports_numpy(function: Any) -> bool:
    import importlib.util

    code = getattr(getattr(function, "__func__", function), "__code__", None)
    if not isinstance(code, CodeType):  # or a proxy, which has any attribute
        return False
    return _mentions(code) and importlib.util.find_spec("numpy") is not None


def _mentions(code: CodeType) -> bool:
    if any(name.partition(".")[0] == "numpy" for name in code.co_names):
        return True
    return any(_mentions(inner) for inner in code.co_consts if isinstance(inner, type(code)))


def shares_state(function: object) -> bool:
    """Whether items of this function set state that threads of a process share."""
    return isinstance(function, Seeded) and function.seed.global_state
