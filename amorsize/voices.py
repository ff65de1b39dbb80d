"""What items say in other processes (prints, log records, warnings) reaches the caller.

A chunk's voices travel with its outcome and are heard when that arrives: in order for each
worker, and the same on every engine. A silent chunk costs some microseconds.
"""

from __future__ import annotations

import logging
import os
import pickle
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any, TextIO

MOST_CHARACTERS = 4_000_000
"""Most that a chunk may say; the rest goes where the worker's own output goes."""

Said = tuple[str, Any]
"""What kind (``out``, ``err``, ``flush``, ``log``, ``warn``), and what."""

_current = threading.local()
_active: list[Ears] = []
_lock = threading.Lock()
_originals: tuple[Any, ...] = ()
_levels: bytes = b""
_shown: dict[Any, Any] = {}
"""Registry of warnings that have been shown here, as a module has one."""


class Heard:
    """A function whose voices are carried to the caller. A worker takes it apart again: the call
    of an item costs nothing more.

    Args:
        function: what to call.
        home: name of the caller's process, where everything is heard as it is.
        levels: pickled levels of the caller's loggers; empty if they were inherited.
    """

    __slots__ = ("home", "levels", "user_function")

    def __init__(self, function: Callable[[Any], Any], home: str, levels: bytes = b"") -> None:
        self.user_function, self.home, self.levels = function, home, levels

    def __call__(self, item: Any) -> Any:
        """The function itself."""
        return self.user_function(item)

    def __reduce__(self) -> tuple[Any, ...]:
        return Heard, (self.user_function, self.home, levels_here())


class Ears:
    """Listens to one chunk."""

    def __init__(self) -> None:
        self.said: list[Said] = []
        self._room = MOST_CHARACTERS
        self._warned: set[Any] = set()

    def take(self, kind: str, what: Any, length: int = 200) -> bool:
        """Keep something; false if there is no room left."""
        if self._room < 0:
            return False
        self._room -= length
        self.said.append((kind, what))
        return True

    def take_warning(self, warning: tuple[Any, ...]) -> None:
        """Keep a warning, the same one of a place once."""
        message, category, *place = warning
        key = (str(message), category, *place)
        if key not in self._warned:
            self._warned.add(key)
            self.take("warn", warning)

    def begin(self) -> None:
        """From here on this thread is listened to."""
        _current.ears = self
        with _lock:
            _active.append(self)
            if len(_active) == 1:
                _install()

    def end(self) -> bytes:
        """What was said, ready to travel; empty if nothing was."""
        _current.ears = None
        with _lock:
            _active.remove(self)
            if not _active:
                _uninstall()
        return _packed(self.said) if self.said else b""


def ears_for(call: Callable[[Any], Any], here: str) -> tuple[Callable[[Any], Any], Ears | None]:
    """The function without its wrapper, and who listens to it in the process ``here``."""
    if type(call) is not Heard:
        return call, None
    if call.home == here:
        return call.user_function, None
    if call.levels != _levels:
        _adopt_levels(call.levels)
    return call.user_function, Ears()


def _listener() -> Ears | None:
    """Who listens to this thread. What items start in threads of their own counts as theirs, if
    there is no doubt whose.
    """
    ears: Ears | None = getattr(_current, "ears", None)
    if ears is None and len(_active) == 1:
        ears = _active[0]
    return ears


class _Stream:
    """Stands for a standard stream."""

    def __init__(self, kind: str, original: TextIO) -> None:
        self._kind, self._original = kind, original

    def write(self, text: str) -> int:
        """Keep the text, if somebody listens."""
        ears = _listener()
        if ears is None or not ears.take(self._kind, text, len(text)):
            return self._original.write(text)
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Keep the lines."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Have the caller's stream flushed where this one was, if somebody listens."""
        ears = _listener()
        if ears is None or not ears.take("flush", self._kind, 1):
            self._original.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)


def _install() -> None:
    global _originals
    _originals = (sys.stdout, sys.stderr, logging.Logger.callHandlers, warnings.showwarning)
    if sys.stdout is not None:
        sys.stdout = _Stream("out", sys.stdout)
    if sys.stderr is not None:
        sys.stderr = _Stream("err", sys.stderr)
    logging.Logger.callHandlers = _call_handlers  # type: ignore[assignment, method-assign]
    warnings.showwarning = _show_warning


def _uninstall() -> None:
    out, err, handlers, show = _originals
    if isinstance(sys.stdout, _Stream):
        sys.stdout = out
    if isinstance(sys.stderr, _Stream):
        sys.stderr = err
    logging.Logger.callHandlers = handlers  # type: ignore[method-assign]
    if warnings.showwarning is _show_warning:
        warnings.showwarning = show


def _call_handlers(logger: logging.Logger, record: logging.LogRecord) -> None:
    ears = _listener()
    if ears is None or not ears.take("log", record):
        _originals[2](logger, record)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    ears = _listener()
    if ears is None or file is not None:
        _originals[3](message, category, filename, lineno, file, line)
    else:
        ears.take_warning((message, category, filename, lineno))


def _forget() -> None:
    """In a child that an item has forked: the chunk's outcome is its parent's, so nobody would ever
    hear what this process keeps. It goes the engine's own way.
    """
    global _lock
    _lock = threading.Lock()
    _current.ears = None
    if _active and _originals:
        _uninstall()
    _active.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)

# -- travelling -------------------------------------------------------------------------------


def _packed(said: list[Said]) -> bytes:
    from amorsize.packing import dumps

    ready = [_portable(kind, what) for kind, what in _joined(said)]
    try:
        return dumps(ready)
    except Exception:  # something a user's record or warning holds
        return dumps([_as_text(kind, what) for kind, what in ready])


def _joined(said: list[Said]) -> list[Said]:
    """One text for each stretch on the same stream, flushed at its end if it was at all: the
    parts of a stretch are heard at once.
    """
    joined: list[Said] = []
    texts: list[str] = []
    stream, flushes = "", False

    def end_stretch() -> None:
        if texts:
            joined.append((stream, "".join(texts)))
        if flushes:
            joined.append(("flush", stream))

    for kind, what in said:
        on = what if kind == "flush" else kind if kind in ("out", "err") else ""
        if on != stream:
            end_stretch()
            stream, texts, flushes = on, [], False
        if kind == "flush":
            flushes = True
        elif on:
            texts.append(what)
        else:
            joined.append((kind, what))
    end_stretch()
    return joined


def _portable(kind: str, what: Any) -> Said:
    if kind != "log":
        return kind, what
    fields = dict(what.__dict__)
    try:
        fields["msg"] = what.getMessage()
    except Exception:  # arguments that do not fit the message
        fields["msg"] = f"{what.msg} {what.args}"
    fields["args"] = None
    if what.exc_info and not what.exc_text:
        fields["exc_text"] = logging.Formatter().formatException(what.exc_info)
    fields["exc_info"] = None
    return kind, fields


def _as_text(kind: str, what: Any) -> Said:
    """What surely can be pickled."""
    if kind == "log":
        plain = (str, int, float, type(None))
        return kind, {name: v if isinstance(v, plain) else repr(v) for name, v in what.items()}
    if kind == "warn":
        message, category, filename, lineno = what
        known = category if category.__module__ == "builtins" else UserWarning
        return kind, (str(message), known, filename, lineno)
    return kind, what


def replay(voices: bytes) -> None:
    """Let the caller hear what a chunk has said. Nothing that goes wrong here harms the run."""
    try:
        said = pickle.loads(voices)  # noqa: S301 - from our worker
    except Exception:
        logging.getLogger("amorsize").warning("output of a worker could not be read")
        return
    for kind, what in said:
        try:
            _VOICES[kind](what)
        except Exception:
            logging.getLogger("amorsize").debug("output of a worker got lost", exc_info=True)


def _print(text: str) -> None:
    if sys.stdout is not None:
        sys.stdout.write(text)


def _print_error(text: str) -> None:
    if sys.stderr is not None:
        sys.stderr.write(text)


def _flush(stream: str) -> None:
    file = sys.stdout if stream == "out" else sys.stderr
    if file is not None:
        file.flush()


def _log(fields: dict[str, Any]) -> None:
    logger = logging.getLogger(fields["name"])
    if logger.isEnabledFor(fields["levelno"]):
        logger.handle(logging.makeLogRecord(fields))


def _warn(warning: tuple[Any, ...]) -> None:
    message, category, filename, lineno = warning
    warnings.warn_explicit(message, category, filename, lineno, registry=_shown)


_VOICES: dict[str, Callable[[Any], None]] = {
    "out": _print,
    "err": _print_error,
    "flush": _flush,
    "log": _log,
    "warn": _warn,
}

# -- levels -----------------------------------------------------------------------------------


def levels_here() -> bytes:
    """Levels of this process's loggers, as far as they are set."""
    manager = logging.root.manager
    loggers = [one for one in manager.loggerDict.copy().values() if isinstance(one, logging.Logger)]
    levels = {one.name: one.level for one in loggers if one.level}
    return pickle.dumps((logging.root.level, int(manager.disable), levels))


def _adopt_levels(levels: bytes) -> None:
    """Have the caller's levels, so that what it would log is made here."""
    global _levels
    _levels = levels
    if not levels:
        return
    root, disable, named = pickle.loads(levels)  # noqa: S301
    logging.root.setLevel(root)
    logging.disable(disable)
    for name, level in named.items():
        logging.getLogger(name).setLevel(level)
