"""Random functions over random data, next to the plain loop: same results, or same exception."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

import amorsize
from amorsize.testing.tasks import OddError, StubbornError
from amorsize.worker import UnpicklableError


class FrozenError(Exception):
    """Refuses attributes, notes included."""

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(name)


class MuteError(Exception):
    """Cannot be printed."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


class KeywordError(Exception):
    """Needs a keyword to be made."""

    def __init__(self, *, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code


def locked(item: Any) -> Any:
    """A result that cannot be pickled."""
    return Unpicklable(item)


class Unpicklable:
    """Holds a lock; equal to another one of the same item."""

    def __init__(self, item: Any) -> None:
        self.item, self.lock = item, threading.Lock()

    def __repr__(self) -> str:
        return f"Unpicklable({self.item!r})"


def nap(item: Any) -> Any:
    """Slow."""
    time.sleep(0.002)
    return item


def explode(kind: str, item: Any) -> Any:
    """Raise one of many."""
    if kind == "odd":
        raise OddError(7, 8)
    if kind == "keyword":
        raise KeywordError(code=3)
    kinds: dict[str, type[Exception]] = {
        "value": ValueError,
        "key": KeyError,
        "stop": StopIteration,
        "stubborn": StubbornError,
        "frozen": FrozenError,
        "mute": MuteError,
        "assertion": AssertionError,
        "timeout": TimeoutError,
    }
    raise kinds[kind](f"bad {kind}")


ANSWERS: dict[str, Callable[[Any], Any]] = {
    "itself": lambda item: item,
    "none": lambda item: None,
    "an exception": lambda item: ValueError(repr(item)),
    "an exception's class": lambda item: KeyError,
    "an ItemError": lambda item: amorsize.ItemError(0, "x", ValueError("y")),
    "not implemented": lambda item: NotImplemented,
    "huge": lambda item: b"x" * 300_000,
    "nested": lambda item: [[item], {"a": (item, None)}],
    "lambda": lambda item: repr(item),
    "slow": nap,
    "nan": lambda item: float("nan"),
}
ERRORS = (
    "value", "key", "odd", "keyword", "stop", "stubborn", "frozen", "mute", "assertion", "timeout",
)  # fmt: skip
ITEMS: tuple[Any, ...] = (
    0, 1, -5, 2**70, None, True, "", "text", b"bytes", 1.5, (), [], {"k": 1}, ValueError("item"),
    StopIteration, range(3), frozenset({1}), Ellipsis,
)  # fmt: skip


class Case(NamedTuple):
    """A function, its data, and how to run it."""

    data: list[Any]
    container: str
    breaks_at: int | None
    answer: str
    raises: dict[int, str]
    backend: str
    workers: int
    chunk_size: int | None
    on_error: str
    streamed: bool

    def items(self) -> Any:
        """The data anew."""
        if self.breaks_at is not None:
            return self._breaking()
        if self.container == "generator":
            return (item for item in self.data)
        if self.container == "tuple":
            return tuple(self.data)
        return iter(self.data) if self.container == "iterator" else self.data

    def _breaking(self) -> Iterator[Any]:
        yield from self.data[: self.breaks_at]
        raise LookupError("the data ended badly")

    def function(self) -> Callable[[Any], Any]:
        """The function; items carry their position."""
        answer, raises = ANSWERS[self.answer], self.raises

        def call(pair: tuple[int, Any]) -> Any:
            position, item = pair
            if position in raises:
                explode(raises[position], item)
            return answer(item)

        return call


def cases() -> st.SearchStrategy[Case]:
    """All of them."""
    counts = st.one_of(st.integers(0, 12), st.integers(0, 120), st.just(3000))
    return counts.flatmap(_of_size)


def _of_size(count: int) -> st.SearchStrategy[Case]:
    positions = st.integers(0, max(0, count - 1))
    pool = st.lists(st.sampled_from(ITEMS), min_size=1, max_size=6)
    answers = sorted(set(ANSWERS) - ({"slow", "huge"} if count > 200 else set()))
    return st.builds(
        Case,
        data=pool.map(lambda some: [(i, some[i % len(some)]) for i in range(count)]),
        container=st.sampled_from(["list", "tuple", "generator", "iterator"]),
        breaks_at=st.one_of(st.none(), st.none(), st.none(), positions),
        answer=st.sampled_from(answers),
        raises=st.dictionaries(positions, st.sampled_from(ERRORS), max_size=3)
        if count
        else st.just({}),
        backend=st.sampled_from(["serial", "threads", "multiprocessing", "auto"]),
        workers=st.integers(1, 3),
        chunk_size=st.one_of(st.none(), st.integers(1, 50)),
        on_error=st.sampled_from(["raise", "raise", "skip", "return"]),
        streamed=st.booleans(),
    )


def loop(case: Case) -> tuple[list[str], str]:
    """What the plain loop gives under the case's policy: results, and the error that ended it."""
    function, results = case.function(), []
    try:
        for position, pair in enumerate(case.items()):
            try:
                results.append(shown(function(pair)))
            except Exception as error:
                if case.on_error == "raise":
                    return results, shown(_of_stream(error) if case.streamed else error)
                if case.on_error == "return":
                    results.append(f"item {position}: {shown(error)}")
    except LookupError as error:
        return results, shown(error)
    return results, ""


def _of_stream(error: Exception) -> Exception:
    """A stream cannot raise ``StopIteration``: it would look like its end (PEP 479)."""
    if isinstance(error, StopIteration):
        return RuntimeError("generator raised StopIteration")
    return error


def ours(case: Case) -> tuple[list[str], str]:
    """What amorsize gives."""
    results: list[str] = []
    how: dict[str, Any] = {"on_error": case.on_error, "chunk_size": case.chunk_size}
    try:
        if case.streamed:
            stream = amorsize.imap(
                case.function(), case.items(), backend=case.backend, workers=case.workers, **how
            )
            for result in stream:
                results.append(_placed(result))
        else:
            done = amorsize.map(
                case.function(), case.items(), backend=case.backend, workers=case.workers, **how
            )
            results = [_placed(result) for result in done]
    except Exception as error:
        return results, shown(error)
    return results, ""


def _placed(result: Any) -> str:
    if isinstance(result, amorsize.ItemError) and result.item != "x":
        return f"item {result.index}: {shown(result.exception)}"
    return shown(result)


def shown(value: Any) -> str:
    """A value by type and content, as far as it shows any; exceptions that cannot travel by
    their message.
    """
    if isinstance(value, BaseException):
        if isinstance(value, UnpicklableError):
            return f"{value.kind}: {_bare(value.description)}"
        return f"{type(value).__name__}: {_bare(repr(value))}"
    return f"{type(value).__name__} {value!r}"


def _bare(text: str) -> str:
    return text[:60]


def difference(case: Case) -> str:
    """What is wrong, in words; empty if nothing is."""
    expected, expected_error = loop(case)
    got, error = ours(case)
    if error != expected_error:
        return f"error {error!r}, not {expected_error!r}"
    if error and not case.streamed:
        return ""
    if case.on_error == "raise" and error:
        return "" if got == expected[: len(got)] else f"results {got[:5]} before the error"
    return (
        ""
        if got == expected
        else f"{len(got)} results, not {len(expected)}: {_first(got, expected)}"
    )


def _first(got: list[str], expected: list[str]) -> str:
    for number, (one, other) in enumerate(zip(got, expected, strict=False)):
        if one != other:
            return f"position {number}: {one!r}, not {other!r}"
    return "one is longer"


def campaign(count: int, start: int) -> dict[str, Any]:
    """Try so many cases."""
    notes: list[str] = []
    done = 0
    began = time.monotonic()

    @seed(start)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases())
    def attempt(case: Case) -> None:
        nonlocal done
        done += 1
        wrong = difference(case)
        if wrong:
            notes.append(
                f"{wrong}; {str(case._replace(data=case.data[:3]))[:400]}, {len(case.data)} items"
            )

    attempt()
    return {"cases": done, "wrong": len(notes), "seconds": time.monotonic() - began, "notes": notes}
