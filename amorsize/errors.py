"""Every error amorsize raises by itself; a user's own exception always passes through as it is.

``except amorsize.AmorsizeError`` catches them all. Where a standard exception says the same
(``TypeError`` for something that is not callable), the class derives from it too.
"""

from __future__ import annotations

from collections.abc import Sequence


class AmorsizeError(Exception):
    """Base class of all errors of amorsize. They travel between processes: an item may run a map
    of its own.
    """

    def __reduce__(self) -> tuple[object, ...]:
        return _arrived, (type(self), self.args, self.__dict__)


def _arrived(
    kind: type[AmorsizeError], args: tuple[object, ...], state: dict[str, object]
) -> AmorsizeError:
    """An error as it was, without making its message again."""
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error


class InvalidArgument(AmorsizeError, ValueError):
    """An argument has a value that cannot work; raised before any item runs."""


class NotCallable(InvalidArgument, TypeError):
    """The function to map is not callable."""

    def __init__(self, function: object) -> None:
        super().__init__(
            f"fn must be callable, but it is {shorten(function)} of type "
            f"{type(function).__name__}. Pass the function itself, not the result of calling it."
        )


class NotIterable(InvalidArgument, TypeError):
    """The data to map over is not iterable."""

    def __init__(self, data: object) -> None:
        super().__init__(
            f"data must be iterable, but it is {shorten(data)} of type {type(data).__name__}. "
            "Pass a list, a range, an array, a generator or any other iterable."
        )


class BackendNotFound(AmorsizeError, LookupError):
    """No backend has this name, and no adapter recognises this object."""

    def __init__(
        self, wanted: object, known: Sequence[str], load_errors: Sequence[str] = ()
    ) -> None:
        what = f"called {wanted!r}" if isinstance(wanted, str) else f"for {shorten(wanted)}"
        message = f"there is no backend {what}; known backends: {', '.join(known) or 'none'}"
        if load_errors:
            message += ". Plugins that could not be loaded: " + "; ".join(load_errors)
        super().__init__(message)


class BackendUnavailable(AmorsizeError, RuntimeError):
    """A backend exists but cannot be used now; ``remedy`` says what to do."""

    def __init__(self, name: str, reason: str, remedy: str = "") -> None:
        self.name, self.reason, self.remedy = name, reason, remedy
        hint = f" Remedy: {remedy}" if remedy else ""
        super().__init__(f"backend {name!r} is not available: {reason.rstrip('.')}.{hint}")


class PlanInfeasible(AmorsizeError, RuntimeError):
    """No candidate satisfies what was asked for; the message lists each with its objection."""

    def __init__(self, objections: Sequence[str]) -> None:
        self.objections = tuple(objections)
        super().__init__("no configuration can run this: " + "; ".join(self.objections))


class PlanConsumed(AmorsizeError, RuntimeError):
    """The plan's data was an iterator and a run has already used it up."""

    def __init__(self) -> None:
        super().__init__(
            "this plan's data was an iterator and it has been consumed by an earlier run. "
            "Make a new plan over a fresh iterator, or plan over a list to run several times."
        )


class TranslationUnsupported(AmorsizeError, LookupError):
    """An engine has no words of its own for a plan's numbers."""

    def __init__(self, name: str) -> None:
        super().__init__(f"backend {name!r} offers no plan.arguments({name!r})")


class SerializationError(AmorsizeError, TypeError):
    """Something must travel to or from a worker, and cannot be pickled."""


class UnpicklableFunction(SerializationError):
    """The function cannot be sent to workers of another process."""

    def __init__(self, function: object, cause: BaseException) -> None:
        super().__init__(
            f"the function {shorten(function)} cannot be sent to workers: "
            f"{type(cause).__name__}: {cause}. Keep open files, locks and connections out of it, "
            "or use backend='threads' or 'serial', where nothing is sent."
        )


class UnpicklableItem(SerializationError):
    """An input item cannot be sent to a worker. ``index`` is its position in the data."""

    def __init__(self, index: int, item: object, cause: BaseException) -> None:
        self.index = index
        super().__init__(
            f"item {index} ({shorten(item)}) cannot be sent to a worker: "
            f"{type(cause).__name__}: {cause}. Use backend='threads' or 'serial', "
            "where nothing is sent, or pass something that pickles (a path instead of a handle)."
        )


class UnpicklableResult(SerializationError):
    """A result cannot be sent back from a worker. ``index`` is the item's position in the data."""

    def __init__(self, index: int, description: str, cause: str) -> None:
        self.index = index
        self.description, self.cause_text = description, cause
        super().__init__(
            f"the result of item {index} ({description}) cannot be sent back from its worker: "
            f"{cause}. Return plain data, or use backend='threads' or 'serial', "
            "where nothing is sent."
        )


class FunctionNotLoaded(SerializationError):
    """A worker could not rebuild the function it was sent."""

    def __init__(self, cause: str) -> None:
        self.cause_text = cause
        super().__init__(
            f"a worker could not load the function or an item: {cause}. "
            "The modules they come from must be importable on the workers."
        )


class ItemNotLoaded(FunctionNotLoaded):
    """A worker could not rebuild an item it was sent."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.args = (
            f"a worker could not load an item: {cause}. What it is made of must be importable "
            "and loadable on the workers.",
        )


class ResultNotLoaded(SerializationError):
    """A result arrived and could not be rebuilt here."""

    def __init__(self, cause: str) -> None:
        super().__init__(
            f"a result cannot be rebuilt from its pickle: {cause}. Return plain data, or use "
            "backend='threads' or 'serial', where nothing is sent."
        )


class ItemError(AmorsizeError):
    """A failed item: in its place among the results with ``on_error="return"``, and in
    ``report.failures``. Its cause (``__cause__``) is what was raised.
    """

    def __init__(
        self, index: int, item: str, exception: BaseException, worker: str = "", traceback: str = ""
    ) -> None:
        self.index = index
        """Position of the item in the data."""
        self.item = item
        """Short ``repr`` of the item."""
        self.exception = exception
        """What was raised, of the user's own type."""
        self.worker = worker
        """``host:pid`` of the worker; empty for the caller itself."""
        self.traceback = traceback
        """The traceback as text, from where it was raised."""
        super().__init__(f"item {index} ({item}) failed: {_told(exception)}")
        self.__cause__ = exception

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.index, self.item, self.exception, self.worker, self.traceback)


class ItemTimeout(AmorsizeError, TimeoutError):
    """An item took longer than ``timeout`` seconds."""

    def __init__(self, seconds: float, how: str = "") -> None:
        self.seconds, self.how = seconds, how
        super().__init__(f"the item took longer than its timeout of {seconds:g} s{how}")


class DeadlineExceeded(AmorsizeError, TimeoutError):
    """The run took longer than ``deadline`` seconds; what was not finished was given up."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(f"the run was not finished within its deadline of {seconds:g} s")


class WorkersKeepDying(AmorsizeError, RuntimeError):
    """So many workers died without one chunk finished that going on is pointless."""

    def __init__(self, backend: str, deaths: int, reason: str) -> None:
        self.backend, self.deaths, self.reason = backend, deaths, reason
        super().__init__(
            f"workers of backend {backend!r} died {deaths} times in a row without finishing a "
            f"chunk; the last one: {reason}. If memory is short, use fewer workers; run some items "
            "with backend='serial' to see whether the function itself ends the process."
        )


class WorkerDied(AmorsizeError, RuntimeError):
    """A worker process ended while it ran an item. ``index`` is the item's position."""

    def __init__(self, index: int, reason: str, attempts: int = 1) -> None:
        self.index, self.reason, self.attempts = index, reason, attempts
        times = f" in {attempts} attempts" if attempts > 1 else ""
        super().__init__(f"the worker running item {index} died{times}: {reason}")


class WorkerLost(AmorsizeError, RuntimeError):
    """Set by a session on the future of a chunk whose worker vanished.

    The runner catches it and runs the unfinished items again; a user sees it only as the
    cause of a :class:`WorkerDied`.
    """

    def __init__(self, reason: str, *, out_of_memory: bool = False) -> None:
        self.reason = reason
        self.out_of_memory = out_of_memory
        """The system or the engine ended the worker because memory ran out."""
        super().__init__(reason)


class JournalRefused(AmorsizeError, ValueError):
    """A journal cannot be used: it belongs to another function, other data or another user, is
    in use, is no journal, or cannot be written, in the middle of a run, too.
    """

    def __init__(self, path: object, reason: str, remedy: str) -> None:
        self.path, self.reason, self.remedy = str(path), reason, remedy
        super().__init__(f"journal {self.path!r}: {reason.rstrip('.')}. Remedy: {remedy}")


class PluginRejected(AmorsizeError):
    """A plugin broke the contract when it was loaded; shown by ``amorsize backends``."""


class RemoteTraceback(Exception):
    """Carries a worker's traceback as text; set as the ``__cause__`` of the user's exception."""

    def __init__(self, text: str) -> None:
        self.text = text
        super().__init__(text)

    def __str__(self) -> str:
        return f"\n{self.text}"


def _told(error: BaseException) -> str:
    """Type and message; never raises."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # a user's __str__ may raise anything
        return type(error).__name__


def shorten(value: object, limit: int = 80) -> str:
    """The value's ``repr`` cut to ``limit`` characters; never raises and never builds more
    than a container's first elements.
    """
    import reprlib

    formatter = reprlib.Repr()
    formatter.maxother = formatter.maxstring = limit
    try:
        text = formatter.repr(value)
    except Exception as error:  # a user's __repr__ may raise anything
        text = f"<{type(value).__name__} whose repr raised {type(error).__name__}>"
    return text if len(text) <= limit else text[: limit - 3] + "..."
