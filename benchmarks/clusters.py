"""On running clusters: ``python -m benchmarks clusters``.

A Dask ``LocalCluster`` and a Ray session with two workers each are started once. Each run is a
fresh process that connects to them; ``dask_map`` and ``ray_map`` and the naive uses of the
engines take turns. Start-up of the engines is in no figure.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.engines import running
from benchmarks.harness import Cell, Lab, geometric_mean, machine, warm_costs
from benchmarks.peers import CONTESTANTS
from benchmarks.suite import (
    Outcome,
    Settings,
    arguments,
    chosen,
    compare,
    place,
    save,
    take_turns,
)
from benchmarks.summary import prediction_errors
from benchmarks.workloads import WORKLOADS

ENGINES = ("dask", "ray")
SMALL_ITEM_S = 0.002
"""Items shorter than this are small: ours has to be ahead of every naive use."""
TIMEOUT_S = 60.0


def contestants(engine: str) -> tuple[str, list[str]]:
    """Our call on an engine, and the naive uses of it."""
    names = [name for name, contestant in CONTESTANTS.items() if contestant.cluster == engine]
    return f"{engine}_map", [name for name in names if name != f"{engine}_map"]


def run(engine: str, names: Sequence[str], lab: Lab, repeats: int) -> list[Outcome]:
    """Measure the named workloads on an engine that is up."""
    ours, naive = contestants(engine)
    outcomes = []
    for name in names:
        outcome = Outcome(name, Cell(name, "loop"), Cell(name, ours))
        outcome.peers = [Cell(name, peer) for peer in naive]
        take_turns(outcome, lab, Settings(repeats), TIMEOUT_S)
        compare(outcome)
        outcomes.append(outcome)
        print(_row(engine, outcome), file=sys.stderr, flush=True)
    return outcomes


def _row(engine: str, outcome: Outcome) -> str:
    ours, facts = outcome.ours, outcome.ours.facts
    cells = [engine, outcome.workload, f"{_item_s(outcome) * 1e3:.3f}", _s(outcome.loop), _s(ours)]
    cells += [f"{_s(peer)} ({_times(peer, ours)})" for peer in outcome.peers]
    predicted, actual = facts.get("predicted_s"), facts.get("actual_s")
    known = facts.get("predicted_after_s", 0.0)
    told = predicted and actual
    cells.append(f"{predicted / actual - 1:+.0%} (at {known / actual:.0%})" if told else "n/a")
    cells.append(str(sum(cell.noisy for cell in (ours, *outcome.peers))))
    return "| " + " | ".join(cells) + " |"


def _s(cell: Cell) -> str:
    if cell.at_least_s:
        return f"> {cell.at_least_s:.0f}"
    return f"{cell.seconds:.4f}" if cell.seconds else f"n/a: {cell.error}"


def _times(peer: Cell, ours: Cell) -> str:
    ratio = _ratio(peer, ours)
    return "n/a" if ratio is None else f"{ratio:.2f}"


def _ratio(peer: Cell, ours: Cell) -> float | None:
    seconds = peer.seconds or peer.at_least_s
    return seconds / ours.seconds if seconds and ours.seconds else None


def text(engine: str, outcomes: Sequence[Outcome]) -> str:
    """Table and summary of an engine."""
    ours, naive = contestants(engine)
    head = ["engine", "workload", "ms an item", "loop s", f"{ours} s"]
    head += [f"{name} s (/ ours)" for name in naive] + ["prediction", "disturbed"]
    rows = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    rows += [_row(engine, outcome) for outcome in outcomes]
    return "\n".join([*rows, "", *_summary(engine, outcomes)])


def _summary(engine: str, outcomes: Sequence[Outcome]) -> list[str]:
    ours, naive = contestants(engine)
    rows = []
    for position, name in enumerate(naive):
        small, long = {}, {}
        for outcome in outcomes:
            ratio = _ratio(outcome.peers[position], outcome.ours)
            if ratio is not None:
                (small if _item_s(outcome) < SMALL_ITEM_S else long)[outcome.workload] = ratio
        behind = [w for w, r in {**small, **long}.items() if r < 1 / 1.1]
        rows.append(
            f"- {ours} against {name}: small items {_span(small)}, others {_span(long)}; "
            f"over 10 % behind on: {', '.join(behind) or 'none'}"
        )
    rows += _predictions(ours, [run for outcome in outcomes for run in outcome.ours.runs])
    failed = [f"{o.workload} ({o.ours.error})" for o in outcomes if o.ours.error]
    return [*rows, f"- {ours} failed: {'; '.join(failed)}"] if failed else rows


def _predictions(ours: str, runs: Sequence[dict[str, Any]]) -> list[str]:
    """How good the predictions of our runs were, and when they were made: these maps sample
    nothing, and predict when their first items have told what the others take.
    """
    rows = []
    for what, to_come in (("of the whole run", False), ("of what was still to come", True)):
        errors = prediction_errors(runs, to_come=to_come)
        if errors["runs"]:
            rows.append(
                f"- {ours}, predicted against actual, {what}: median {errors['median']:.1%}, "
                f"p90 {errors['p90']:.1%} ({errors['runs']} runs)"
            )
    shares = [
        facts["predicted_after_s"] / facts["actual_s"]
        for facts in (run["facts"] for run in runs)
        if facts.get("predicted_s")
    ]
    if shares:
        rows.append(f"- {ours} predicts after {statistics.median(shares):.0%} of the run (median)")
    return rows


def _item_s(outcome: Outcome) -> float:
    """Seconds of an item in the loop; fingerprints begin with the number of results."""
    if not outcome.loop.runs:
        return 0.0
    count = int(outcome.loop.runs[0]["fingerprint"].partition(":")[0])
    return (outcome.loop.seconds or 0.0) / max(1, count)


def _span(ratios: dict[str, float]) -> str:
    if not ratios:
        return "none"
    return f"{geometric_mean(ratios.values()):.2f}x (least {min(ratios.values()):.2f}x)"


def main(argv: Sequence[str] | None = None) -> None:
    """Run the cluster suite."""
    parser = argparse.ArgumentParser(prog="benchmarks clusters", description=__doc__)
    arguments(parser)
    parser.add_argument("--engines", nargs="*", default=ENGINES)
    options = parser.parse_args(argv)
    names = [name for name in chosen(options) if WORKLOADS[name].cluster]
    repeats = options.repeats or (1 if options.smoke else 3)
    found: dict[str, Any] = {"machine": machine()}
    parts = []
    for engine in options.engines:
        with tempfile.TemporaryDirectory(prefix="amorsize-bench-") as cache, running(engine) as at:
            size = "smoke" if options.smoke else "cluster"
            lab = Lab(size, Path(cache), {engine: at}, [os.getpid()], gate=not options.no_gate)
            failed = warm_costs(lab, [f"{engine}={at}"])
            if failed:
                print(f"costs were not measured beforehand: {failed}", file=sys.stderr)
            outcomes = run(engine, names, lab, repeats)
        found[engine] = [outcome.to_dict() for outcome in outcomes]
        parts.append(text(engine, outcomes))
    told = "\n\n".join(parts)
    print(told)
    if not options.no_save:
        print(f"\nwritten: {save(place('clusters'), told, found)}", file=sys.stderr)


if __name__ == "__main__":
    main()
