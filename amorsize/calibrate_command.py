"""``amorsize calibrate``: measure ahead of time what plans would measure when they need it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import click

from amorsize.backend import Backend
from amorsize.cli_options import parse_options
from amorsize.costs import BackendCosts
from amorsize.errors import AmorsizeError
from amorsize.explain import route
from amorsize.tables import print_table


@click.command("calibrate")
@click.option("--backend", "names", multiple=True, help="Backend to measure; repeatable.")
@click.option(
    "--option",
    "options",
    multiple=True,
    metavar="KEY=VALUE",
    help="Option of the named backend (start_method=spawn); repeatable.",
)
@click.option("--refresh", is_flag=True, help="Measure anew what is stored already.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def calibrate_command(
    names: Sequence[str], options: Sequence[str], refresh: bool, as_json: bool
) -> None:
    """Measure what backends cost, ahead of time and with large messages, too.

    Dask and Ray are measured only if named. A backend that cannot be measured does not stop the
    others; the exit status is then 1.
    """
    try:
        backends = _backends(names, parse_options(options))
    except AmorsizeError as error:
        raise click.ClickException(str(error)) from error
    found: dict[str, Any] = {}
    failures: dict[str, str] = {}
    for backend in _shown(backends):
        try:
            found[backend.name] = _measured(backend, refresh=refresh).to_dict()
        except Exception as error:  # of the measurement, or a plugin's own
            failures[backend.name] = str(error)
    if as_json:
        click.echo(json.dumps(found | {name: {"error": why} for name, why in failures.items()}))
    else:
        _print(found)
        for name, why in failures.items():
            click.echo(f"{name} could not be measured: {why}; its documented defaults are used")
    if failures:
        raise click.exceptions.Exit(1)


def _backends(names: Sequence[str], options: dict[str, Any]) -> list[Backend]:
    from amorsize.plugins import registry

    if names:
        return [registry().resolve(name).bind(options) for name in names]
    if options:
        raise click.UsageError("options belong to one backend: name it with --backend")
    usable = registry().usable()
    return [b for b in usable if not (b.traits.remote or b.traits.inline)]


def _shown(backends: Sequence[Backend]) -> Any:
    """The backends, with a bar on a terminal."""
    if not sys.stderr.isatty():
        return backends
    return _with_bar(backends)


def _with_bar(backends: Sequence[Backend]) -> Any:
    with click.progressbar(
        backends,
        label="measuring",
        file=sys.stderr,
        item_show_func=lambda backend: None if backend is None else backend.name,
    ) as bar:
        yield from bar


def _measured(backend: Backend, *, refresh: bool) -> BackendCosts:
    from amorsize import cost_store, pricing
    from amorsize.probes import limits

    workers = backend.capacity(limits()).workers
    stored = None if refresh else cost_store.load(backend, workers)
    if stored is not None and stored.costs is not None:
        return stored.costs
    return pricing.measure(backend, workers=workers, full=True)


def _print(found: dict[str, dict[str, Any]]) -> None:
    table = [("backend", "cost", "value", "origin", "spread", "checks")]
    for name, figures in found.items():
        for cost, figure in figures.items():
            spread = f"{figure['spread']:.0%}" if "spread" in figure else ""
            checks = figure.get("checks", ())
            failed = [f"not {c['name']} ({c['detail']})" for c in checks if not c["passed"]]
            told = "; ".join(failed) or ("passed" if checks else figure.get("note", ""))
            table.append((name, cost, f"{figure['value']:.3g}", figure["origin"], spread, told))
    print_table(table)
    for name, figures in found.items():
        if "store_in_s" in figures:
            click.echo(f"{name}: {route(BackendCosts.from_dict(figures))}")
