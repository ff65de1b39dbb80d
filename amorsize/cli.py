"""The command line. Prints a table, or JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from amorsize.calibrate_command import calibrate_command
from amorsize.cli_options import parse_options
from amorsize.cli_target import load
from amorsize.errors import AmorsizeError
from amorsize.tables import print_table
from amorsize.testing.command import check_backend_command

Command = TypeVar("Command", bound=Callable[..., Any])


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="amorsize")
def main() -> None:
    """Plan fn over data once, from measured costs, and run it anywhere."""


def _workload(command: Command) -> Command:
    """The arguments that plan and run share."""
    for option in reversed(
        (
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
            click.option("--json", "as_json", is_flag=True, help="Print JSON."),
        )
    ):
        command = option(command)
    return command


@main.command("plan")
@_workload
def plan_command(function: str, as_json: bool, **how: Any) -> None:
    """Sample the function, predict, decide; run nothing else."""
    with _Errors():
        made = _plan(load(function), **how)
    click.echo(json.dumps(made.to_dict()) if as_json else made.explain())


@main.command("run")
@_workload
@click.option("--output", metavar="FILE", help="Write results as JSON lines; - for stdout.")
@click.option("--compare", is_flag=True, help="Also time the plain loop.")
def run_command(
    function: str, as_json: bool, output: str | None, compare: bool, **how: Any
) -> None:
    """Plan and run; print predicted against actual, term by term."""
    with _Errors():
        call = load(function)
        made = _plan(call, **how)
        results = made.run()
    assert made.report is not None
    loop_s = _time_loop(call, how, results) if compare else None
    if output:
        _write(output, results)
    if as_json:
        found = {"plan": made.to_dict(), "report": made.report.to_dict(), "plain_loop": loop_s}
        click.echo(json.dumps(found), err=output == "-")
        return
    click.echo(f"{made.explain()}\n{made.report}", err=output == "-")
    if loop_s is not None:
        total = made.report.actual + made.profile.sample_s
        click.echo(
            f"plain loop {loop_s:.3f} s; amorsize {total:.3f} s, sample included", err=output == "-"
        )


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
        if isinstance(error, AmorsizeError):
            raise click.ClickException(str(error)) from error
        notes = [note for note in getattr(error, "__notes__", ()) if note.startswith("amorsize:")]
        if isinstance(error, Exception) and notes:
            text = "\n".join([f"{type(error).__name__}: {error}", *notes])
            raise click.ClickException(text) from error


def _plan(
    function: Callable[[Any], Any],
    path: str | None,
    span: str | None,
    options: Sequence[str],
    **how: Any,
) -> Any:
    from amorsize.api import plan

    return plan(function, _items(path, span), options=parse_options(options) or None, **how)


def _items(path: str | None, span: str | None) -> Sequence[Any]:
    if (path is None) == (span is None):
        raise click.UsageError("give the items by either --data FILE or --range N")
    if span is not None:
        try:
            return range(*(int(part) for part in span.split(":")))
        except (TypeError, ValueError) as error:
            raise click.BadParameter(f"--range {span}: {error}") from error
    assert path is not None
    try:
        with click.open_file(path, encoding="utf-8") as file:
            text = file.read()
        if path.endswith(".json"):
            items = json.loads(text)
            if not isinstance(items, list):
                raise ValueError("the file holds no JSON array")
            return items
        lines = text.splitlines()
        return [json.loads(line) for line in lines] if path.endswith(".jsonl") else lines
    except (OSError, ValueError) as error:
        raise click.BadParameter(f"--data {path}: {error}") from error


def _time_loop(call: Callable[[Any], Any], how: dict[str, Any], results: list[Any]) -> float:
    items = _items(how["path"], how["span"])
    begin = time.perf_counter()
    expected = [call(item) for item in items]
    seconds = time.perf_counter() - begin
    if expected != results:
        raise click.ClickException("the results differ from the plain loop's: is fn random?")
    return seconds


def _write(path: str, results: Sequence[Any]) -> None:
    with click.open_file(path, "w", encoding="utf-8") as file:
        for result in results:
            file.write(json.dumps(result, default=repr) + "\n")
