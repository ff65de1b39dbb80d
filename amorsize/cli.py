"""The command line. Prints a table, or JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from amorsize import cli_output
from amorsize.calibrate_command import calibrate_command
from amorsize.cli_compare import Comparison, compared
from amorsize.cli_target import load
from amorsize.cli_workload import planned, reader, workload
from amorsize.errors import AmorsizeError
from amorsize.exceptions import notes_of
from amorsize.tables import print_table
from amorsize.testing.command import check_backend_command

if TYPE_CHECKING:
    from amorsize.plans import Plan


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="amorsize")
def main() -> None:
    """Plan fn over data once, from measured costs, and run it anywhere."""


@main.command("plan")
@workload
def plan_command(
    function: str, as_json: bool, path: str | None, span: str | None, **how: Any
) -> None:
    """Sample the function, predict, decide; run nothing else."""
    with _Errors():
        made = planned(load(function), reader(path, span)(), **how)
    click.echo(json.dumps(made.to_dict()) if as_json else made.explain())


@main.command("run")
@workload
@click.option(
    "--progress/--no-progress", default=False, help="Show on standard error how far the run is."
)
@click.option("--output", metavar="FILE", help="Write results as JSON lines; - for stdout.")
@click.option("--compare", is_flag=True, help="Also time the plain loop.")
def run_command(
    function: str,
    as_json: bool,
    progress: bool,
    output: str | None,
    compare: bool,
    path: str | None,
    span: str | None,
    **how: Any,
) -> None:
    """Plan and run; print predicted against actual, term by term."""
    if compare and how["on_error"] not in (None, "raise"):
        raise click.UsageError("--compare: the plain loop neither skips nor returns errors")
    if output is not None:
        cli_output.check(output)
    with _Errors():
        call, items = load(function), reader(path, span)
        made = planned(call, items(), **how)
        results = made.run(progress=progress)
    if output is not None:  # first of all: what comes then may fail
        cli_output.write(output, results)
    found = compared(call, items(), results, how["seed"]) if compare else None
    _tell(made, found, as_json=as_json, err=output == "-")
    if found is not None and found.problem:
        raise click.ClickException(found.problem)


def _tell(made: Plan[Any], found: Comparison | None, *, as_json: bool, err: bool) -> None:
    """Print the plan, what became of it, and how the plain loop did."""
    assert made.report is not None
    loop_s = None if found is None else found.seconds
    if as_json:
        told = {"plan": made.to_dict(), "report": made.report.to_dict(), "plain_loop": loop_s}
        click.echo(json.dumps(told), err=err)
        return
    click.echo(f"{made.explain()}\n{made.report}", err=err)
    if loop_s is not None:
        total = made.report.actual + made.profile.sample_s
        click.echo(f"plain loop {loop_s:.3f} s; amorsize {total:.3f} s, sample included", err=err)


@main.command("backends")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def backends_command(as_json: bool) -> None:
    """List the backends found, and the plugins that could not be loaded."""
    from amorsize.plugins import registry, state_of

    known = registry()
    rows = []
    for name, backend in sorted(known.backends.items()):
        state = state_of(backend)
        rows.append(
            {
                "name": name,
                "plugin": known.origins[name],
                "usable": state.usable,
                "running": state.running,
                "reason": state.reason,
                "remedy": state.remedy,
                "options": dict(backend.options),
            }
        )
    errors = {name: str(error) for name, error in known.errors.items()}
    if as_json:
        click.echo(json.dumps({"backends": rows, "errors": errors}))
        return
    table: list[tuple[str, ...]] = [("name", "plugin", "usable", "running", "remark")]
    for row in rows:
        remark = f"{row['reason']}. {row['remedy']}" if row["remedy"] else str(row["reason"])
        flags = ("yes" if row[key] else "no" for key in ("usable", "running"))
        table.append((str(row["name"]), str(row["plugin"]), *flags, remark))
    print_table(table)
    for name, error in errors.items():
        click.echo(f"plugin {name} could not be loaded: {error}")


@main.command("probe")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def probe_command(as_json: bool) -> None:
    """Show what this process may use of the machine, and which limit binds."""
    from amorsize.probes import limits

    found = limits()
    if as_json:
        click.echo(json.dumps(found.to_dict()))
        return
    table = [("limit", "value", "source", "binds")]
    for fact in found.facts:
        value = f"{fact.value:g}" if isinstance(fact.value, float) else str(fact.value)
        table.append(
            (fact.name, f"{value} {fact.unit}".strip(), fact.source, "*" if fact.binds else "")
        )
    print_table(table)
    memory = "unknown" if found.memory_bytes is None else f"{found.memory_bytes / 1e6:.0f} MB"
    click.echo(f"usable: {found.cores:g} cores, {found.workers} workers, {memory} of memory")


main.add_command(check_backend_command)
main.add_command(calibrate_command)


class _Errors:
    """Turns errors into short messages: ours, and a user's with the item's index."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is None or isinstance(error, click.ClickException | click.exceptions.Exit):
            return
        notes = [note for note in notes_of(error) if note.startswith("amorsize:")]
        if isinstance(error, AmorsizeError):
            raise click.ClickException("\n".join([str(error), *notes])) from error
        if isinstance(error, Exception) and notes:
            text = "\n".join([f"{type(error).__name__}: {error}", *notes])
            raise click.ClickException(text) from error
