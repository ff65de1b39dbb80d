"""What is read of exceptions, and noted on them: a user's class may raise in anything that it is
asked. It is none the less this exception that has to arrive.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

_KINDS: Any = vars(BaseException)


def note(error: BaseException, text: str) -> None:
    """Add a note, where the exception takes it: one that is a frozen dataclass refuses."""
    with suppress(Exception):
        error.add_note(text)


def notes_of(error: BaseException) -> tuple[str, ...]:
    """Its notes, as far as they are text."""
    with suppress(Exception):
        notes = getattr(error, "__notes__", ())
        return tuple(str.__str__(one) for one in notes if isinstance(one, str))
    return ()


def cause_of(error: BaseException) -> BaseException | None:
    """What it was raised from."""
    cause: BaseException | None = _KINDS["__cause__"].__get__(error)
    return cause


def give_cause(error: BaseException, cause: BaseException) -> None:
    """Have it be raised from something."""
    _KINDS["__cause__"].__set__(error, cause)


def context_of(error: BaseException) -> BaseException | None:
    """What was being handled when it was raised."""
    context: BaseException | None = _KINDS["__context__"].__get__(error)
    return context


def text_of(error: BaseException) -> str:
    """It and those behind it, with their tracebacks."""
    import traceback

    with suppress(Exception):
        return "".join(traceback.format_exception(error))
    where: Any = _KINDS["__traceback__"].__get__(error)
    lines = "".join(traceback.format_tb(where))
    return f"Traceback (most recent call last):\n{lines}{type.__repr__(type(error))}\n"
