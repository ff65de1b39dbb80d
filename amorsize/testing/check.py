"""Runs the contract without pytest: a table of compliance with reasons."""

from __future__ import annotations

import inspect
import signal
import tempfile
import threading
import time
import traceback
import unittest
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from amorsize.backend import Backend
from amorsize.errors import InvalidArgument
from amorsize.testing.contract import BackendContract, requirements

Status = Literal["pass", "fail", "skip"]
LIMIT_S = 120.0
"""Seconds after which one check counts as hanging."""


@dataclass(frozen=True, slots=True)
class Row:
    """One requirement and whether the backend meets it."""

    group: str
    """What it is about."""
    check: str
    """Name of the contract's test."""
    requirement: str
    """What is required, in a line."""
    status: Status
    """``pass``, ``fail``, or ``skip`` where it does not apply."""
    reason: str
    """What is wrong, or why it does not apply; empty for a pass."""
    seconds: float
    """How long the check took."""

    def to_dict(self) -> dict[str, Any]:
        """The row as plain data."""
        return asdict(self)


class CheckTimeout(BaseException):
    """Stops a check that hangs; no code of a backend should catch it."""


def check_backend(name: str, *, limit_s: float = LIMIT_S) -> list[Row]:
    """Check the installed backend of this name.

    Raises:
        BackendNotFound: if no plugin offers it.
    """
    from amorsize.plugins import registry

    return run_contract(registry().get(name), limit_s=limit_s)


def run_contract(
    backend: Backend,
    contract: type[BackendContract] = BackendContract,
    *,
    only: Collection[str] | None = None,
    limit_s: float = LIMIT_S,
    begins: Callable[[str, str], None] | None = None,
    ends: Callable[[Row], None] | None = None,
) -> list[Row]:
    """Run the contract on a backend.

    Args:
        backend: the backend.
        contract: a subclass with other settings, if the engine needs them.
        only: names of the tests to run; all by default.
        limit_s: seconds after which a check that hangs is interrupted and has failed (where
            the system has timers, and on the main thread).
        begins: told the group and the requirement before each check.
        ends: told each row as soon as it is known.

    Raises:
        InvalidArgument: for an unknown name in ``only``.
    """
    if not __debug__:
        raise InvalidArgument("the checks are assertions: run Python without -O")
    known = requirements()
    unknown = set(only or ()) - {check for _, check, _ in known}
    if unknown:
        raise InvalidArgument(f"no such checks: {', '.join(sorted(unknown))}")
    rows = []
    for group, check, requirement in known:
        if only is None or check in only:
            if begins is not None:
                begins(group, requirement)
            rows.append(_row(contract(), backend, group, check, requirement, limit_s))
            if ends is not None:
                ends(rows[-1])
    return rows


def _row(
    tests: BackendContract,
    backend: Backend,
    group: str,
    check: str,
    requirement: str,
    limit_s: float,
) -> Row:
    begin = time.perf_counter()
    status, reason = _verdict(tests, backend, check, limit_s)
    return Row(group, check, requirement, status, reason, time.perf_counter() - begin)


def _verdict(
    tests: BackendContract, backend: Backend, check: str, limit_s: float
) -> tuple[Status, str]:
    test = getattr(tests, check)
    arguments: dict[str, Any] = {"backend": backend}
    with tempfile.TemporaryDirectory(prefix="amorsize-check-") as folder:
        if "tmp_path" in inspect.signature(test).parameters:
            arguments["tmp_path"] = Path(folder)
        try:
            with _limited(limit_s):
                test(**arguments)
        except unittest.SkipTest as skipped:
            return "skip", str(skipped)
        except CheckTimeout:
            return "fail", f"it hangs: no end after {limit_s:g} s"
        except AssertionError as error:
            return "fail", str(error).partition("\nassert ")[0]
        except Exception as error:
            return "fail", _unexpected(error)
    return "pass", ""


def _unexpected(error: Exception) -> str:
    """An exception that is no verdict of the kit, with where it came from."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(frame.filename).name}:{frame.lineno} in {frame.name}"
    return f"{type(error).__name__}: {error} ({where})"


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Interrupt the block after some seconds; an alarm that was set before goes on."""
    on_main = threading.current_thread() is threading.main_thread()
    if not on_main or not hasattr(signal, "setitimer"):
        yield
        return

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise CheckTimeout

    handler = signal.signal(signal.SIGALRM, stop)
    begin = time.monotonic()
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if left:
            left = max(0.01, left - (time.monotonic() - begin))
            signal.setitimer(signal.ITIMER_REAL, left, interval)
