"""What ``amorsize plan`` and ``amorsize run`` share: a function, its items and wishes."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click

from amorsize.cli_options import parse_options
from amorsize.policy import OnError

if TYPE_CHECKING:
    from amorsize.plans import Plan

Command = TypeVar("Command", bound=Callable[..., Any])

_WHERE = (
    click.argument("function", metavar="PKG.MOD:FN"),
    click.option(
        "--data",
        "path",
        metavar="FILE",
        help="Items: one a line, .json, .jsonl; - for stdin.",
    ),
    click.option("--range", "span", metavar="N|A:B[:S]", help="Items: a range of numbers."),
    click.option("--backend", default="auto", show_default=True, help="Where to run."),
    click.option("--workers", type=int, help="Exact number of workers."),
    click.option("--chunk-size", type=int, help="Exact number of items per chunk."),
    click.option(
        "--option",
        "options",
        multiple=True,
        metavar="KEY=VALUE",
        help="Option of the backend; repeatable.",
    ),
)
# Without defaults of their own: those are the library's. All matter to plans, too: the sample
# follows them, and not each backend can keep a time limit or seed its items.
_WISHES = (
    click.option(
        "--on-error",
        type=click.Choice(get_args(OnError)),
        help="What an item's error does: end the run (raise, the default), leave the item out, "
        "or stand in its place.",
    ),
    click.option("--retries", type=int, metavar="N", help="Further attempts at items that raise."),
    click.option("--timeout", type=float, metavar="SECONDS", help="Limit of one attempt."),
    click.option("--deadline", type=float, metavar="SECONDS", help="Limit of the whole run."),
    click.option("--seed", type=int, metavar="N", help="Random numbers of each item's own."),
    click.option("--journal", metavar="FILE", help="Keep what is done; continue from there."),
)


def workload(command: Command) -> Command:
    """The arguments that plan and run share."""
    as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    for option in reversed((*_WHERE, *_WISHES, as_json)):
        command = option(command)
    return command


def planned(
    function: Callable[[Any], Any], items: Sequence[Any], options: Sequence[str], **how: Any
) -> Plan[Any]:
    """The plan for the arguments of :func:`workload`; those not given are left to the library."""
    from amorsize.api import plan

    given = {name: value for name, value in how.items() if value is not None}
    return plan(function, items, options=parse_options(options) or None, **given)


def reader(path: str | None, span: str | None) -> Callable[[], Sequence[Any]]:
    """Gives the items, anew each time: a function may change them. Files are read once, because
    standard input can be.
    """
    if (path is None) == (span is None):
        raise click.UsageError("give the items by either --data FILE or --range N")
    if span is not None:
        return partial(_numbers, span)
    assert path is not None
    try:
        with click.open_file(path, encoding="utf-8-sig") as file:
            return partial(_parsed, path, file.read())
    except (OSError, ValueError) as error:
        raise click.BadParameter(f"--data {path}: {error}") from error


def _numbers(span: str) -> Sequence[Any]:
    try:
        return range(*(int(part) for part in span.split(":")))
    except (TypeError, ValueError) as error:
        raise click.BadParameter(f"--range {span}: {error}") from error


def _parsed(path: str, text: str) -> Sequence[Any]:
    try:
        if path.endswith(".json"):
            items = json.loads(text)
            if not isinstance(items, list):
                raise ValueError("the file holds no JSON array")
            return items
        # Text has more ends of lines than files have, and JSON may hold those as they are.
        lines = text.removesuffix("\n").split("\n") if text else []
        return list(map(_value, count(1), lines)) if path.endswith(".jsonl") else lines
    except ValueError as error:
        raise click.BadParameter(f"--data {path}: {error}") from error


def _value(number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise ValueError(f"line {number} is no JSON value: {error}") from error
