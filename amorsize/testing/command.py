"""``amorsize check-backend``: the contract as a table that grows while it is checked."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from amorsize.errors import AmorsizeError

if TYPE_CHECKING:
    from amorsize.testing.check import Row

_MARKS = {"pass": "ok", "fail": "BROKEN", "skip": "-"}
_WIDTH = max(map(len, _MARKS.values()))


@click.command("check-backend")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--only", multiple=True, metavar="CHECK", help="Run this check only; repeatable.")
@click.option(
    "--engine",
    "engines",
    multiple=True,
    metavar="MODULE",
    help="Module that importing the backend must not import; repeatable.",
)
@click.option(
    "--limit", "limit_s", default=120.0, show_default=True, help="Seconds a check may take."
)
def check_backend_command(
    name: str, as_json: bool, only: Sequence[str], engines: Sequence[str], limit_s: float
) -> None:
    """Check that the backend NAME keeps the contract of amorsize.backend.

    Exit status 1 if it does not, or if it cannot be used here, so that nothing is proven.
    """
    from amorsize.plugins import registry
    from amorsize.testing.check import run_contract
    from amorsize.testing.contract import BackendContract

    try:
        backend = registry().get(name)
        state = backend.availability()
        contract = type("Contract", (BackendContract,), {"engine_modules": tuple(engines)})
        how: dict[str, Any] = {"only": only or None, "limit_s": limit_s}
        if not as_json:
            remark = f": {state.reason}" if state.reason else ""
            click.echo(f"backend {name} of plugin {registry().origins[name]}{remark}")
            table = _Table()
            how |= {"begins": table.begins, "ends": table.ends}
        rows = run_contract(backend, contract, **how)
    except AmorsizeError as error:
        raise click.ClickException(str(error)) from error
    counts = {status: sum(row.status == status for row in rows) for status in ("pass", "fail")}
    conforms = state.usable and not counts["fail"]
    if as_json:
        found = {
            "backend": name,
            "usable": state.usable,
            "conforms": conforms,
            "rows": [row.to_dict() for row in rows],
        }
        click.echo(json.dumps(found))
    else:
        excused = len(rows) - counts["pass"] - counts["fail"]
        click.echo(
            f"\n{counts['pass']} kept, {counts['fail']} broken, {excused} do not apply, "
            f"in {sum(row.seconds for row in rows):.1f} s"
        )
        click.echo(f"{name} {_verdict(conforms, state.usable, bool(only))}")
    if not conforms:
        raise click.exceptions.Exit(1)


def _verdict(conforms: bool, usable: bool, partly: bool) -> str:
    if not usable:
        return "cannot be used here, so nothing is proven"
    if not conforms:
        return "breaks the contract"
    return "keeps what was checked of the contract" if partly else "keeps the contract"


class _Table:
    """Prints each row as soon as it is known; where someone watches, what runs now as well."""

    def __init__(self) -> None:
        self._group = ""
        self._watched = sys.stdout.isatty()

    def begins(self, group: str, requirement: str) -> None:
        """A check starts."""
        if group != self._group:
            self._group = group
            click.echo(f"\n{group}")
        if self._watched:
            click.echo(f"  {'...':{_WIDTH}} {requirement}\r", nl=False)

    def ends(self, row: Row) -> None:
        """A check has ended."""
        mark = _MARKS[row.status]
        click.echo(f"  {mark:{_WIDTH}} {row.requirement}  ({row.seconds:.1f} s)")
        lines = row.reason.splitlines()
        if row.status == "fail":
            lines.append(f"alone: --only {row.check}")
        for line in lines:
            click.echo(f"  {'':{_WIDTH}}   {line}")
