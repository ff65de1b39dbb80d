"""The suites of one machine: ``python -m benchmarks``, and with ``--suite everyday`` or ``--suite
drawn`` the others (``--quick`` for three repeats and no long workloads).

For each workload: the plain loop, ``amorsize.map``, other libraries by their defaults and the
best settings of an exhaustive search take turns, each run in a fresh process. Prints tables and
a summary, writes them with a plot and all raw figures to ``benchmarks/results/``.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from amorsize.monitor import usable_cores
from benchmarks import drawn, memory, oracle, overhead, summary
from benchmarks.harness import RESULTS, Cell, Lab, machine, warm_costs
from benchmarks.peers import CONTESTANTS, LOCAL_PEERS
from benchmarks.workload import Workload
from benchmarks.workloads import WORKLOADS, find, named

SUITES = ("local", "everyday", "drawn")
SLOW_S, VERY_SLOW_S = 4.0, 10.0
"""Runs longer than this are repeated twice, once."""
DUELS = 2
"""Rounds of the best two alone, for each of all contestants."""


@dataclass
class Outcome:
    """All measurements of one workload."""

    workload: str
    loop: Cell
    ours: Cell
    first_ever: Cell | None = None
    """``amorsize.map`` without stored costs."""
    peers: list[Cell] = field(default_factory=list)
    finalists: list[Cell] = field(default_factory=list)
    """The best settings of the grid, measured like the rest."""
    grid: list[Cell] = field(default_factory=list)
    """All settings tried, once each."""
    duel: tuple[Cell, Cell] | None = None
    """``amorsize.map`` and the best of its rivals once more, only these two in turns."""

    def cells(self) -> list[Cell]:
        """All that take turns."""
        extra = [self.first_ever] if self.first_ever else []
        return [self.loop, self.ours, *extra, *self.peers, *self.finalists]

    def to_dict(self) -> dict[str, Any]:
        """The outcome as plain data."""
        found: dict[str, Any] = {"workload": self.workload}
        for name in ("loop", "ours", "first_ever"):
            cell = getattr(self, name)
            found[name] = None if cell is None else cell.to_dict()
        for name in ("peers", "finalists", "grid"):
            found[name] = [cell.to_dict() for cell in getattr(self, name)]
        found["duel"] = [cell.to_dict() for cell in self.duel or ()]
        return found


@dataclass(frozen=True)
class Settings:
    """What a run of the suite does."""

    repeats: int = 5
    search: bool = True
    """Whether to search the grid."""
    peers: Sequence[str] = LOCAL_PEERS


def measure(workload: Workload, lab: Lab, settings: Settings) -> Outcome:
    """Measure one workload with all contestants in turns."""
    name = workload.name
    outcome = Outcome(name, Cell(name, "loop"), Cell(name, "amorsize"))
    outcome.first_ever = Cell(name, "amorsize", bare=True)
    for peer in settings.peers:
        reason = CONTESTANTS[peer].unsuited.get(name, "")
        outcome.peers.append(Cell(name, peer, error=reason))
    lab.run(outcome.loop)
    loop_s = outcome.loop.seconds or 1.0
    if settings.search:
        outcome.grid = oracle.search(workload, lab, usable_cores(), 10 + 4 * loop_s)
        best = outcome.grid[: oracle.FINALISTS]
        outcome.finalists = [Cell(name, cell.contestant, cell.settings) for cell in best]
    take_turns(outcome, lab, settings, 15 + 20 * loop_s)
    compare(outcome)
    fight(outcome, lab, settings, 15 + 20 * loop_s)
    compare(outcome)
    return outcome


def take_turns(outcome: Outcome, lab: Lab, settings: Settings, timeout_s: float) -> None:
    """Run all contestants once a round, another one first in each."""
    for turn in range(settings.repeats):
        cells = outcome.cells()
        for cell in cells[turn % len(cells) :] + cells[: turn % len(cells)]:
            if not _often_enough(cell):
                calls = 2 if cell is outcome.ours else 1
                lab.run(cell, calls=calls, timeout_s=timeout_s)


def fight(outcome: Outcome, lab: Lab, settings: Settings, timeout_s: float) -> None:
    """Run amorsize and the best of its rivals once more, one after the other. The least of so many
    medians is less than its contestant takes: how much less shows only in runs that did not choose
    it.
    """
    rival = summary.best(outcome)
    if rival is None or not outcome.ours.runs:
        return
    ours = Cell(outcome.workload, "amorsize")
    other = Cell(outcome.workload, rival.contestant, rival.settings)
    for turn in range(DUELS * settings.repeats):
        for cell in (ours, other) if turn % 2 else (other, ours):
            if not _often_enough(cell):
                lab.run(cell, timeout_s=timeout_s)
    outcome.duel = ours, other


def _often_enough(cell: Cell) -> bool:
    seconds = cell.seconds or 0.0
    return bool(cell.error) or len(cell.runs) >= (
        1 if seconds > VERY_SLOW_S else 2 if seconds > SLOW_S else 99
    )


def compare(outcome: Outcome) -> None:
    """Results must be those of the loop; what differs does not count."""
    if not outcome.loop.runs:
        return
    expected = outcome.loop.runs[0]["fingerprint"]
    for cell in (*outcome.cells(), *outcome.grid, *(outcome.duel or ())):
        if any(run["fingerprint"] != expected for run in cell.runs):
            cell.runs, cell.error = [], "WRONG RESULTS"


def run(
    names: Sequence[str], lab: Lab, settings: Settings, keep: Path | None = None
) -> list[Outcome]:
    """Measure the named workloads, telling each on stderr when it is done; ``keep`` gets the
    raw figures of each at once, a line of JSON a workload.
    """
    outcomes = []
    for name in names:
        begin = time.perf_counter()
        outcome = measure(named(name), lab, settings)
        outcomes.append(outcome)
        if keep is not None:
            with keep.open("a", encoding="utf-8") as file:
                file.write(json.dumps(outcome.to_dict()) + "\n")
        spent = time.perf_counter() - begin
        print(f"{summary.one_line(outcome)}  [{spent:.0f} s]", file=sys.stderr, flush=True)
    return outcomes


def place(kind: str) -> Path:
    """Path without suffix of the files of this run."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    return RESULTS / f"{kind}-{time.strftime('%Y%m%d-%H%M%S')}"


def save(base: Path, text: str, found: dict[str, Any]) -> Path:
    """Write raw figures and text; returns the path of the former."""
    base.with_suffix(".json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    base.with_suffix(".md").write_text(text + "\n", encoding="utf-8")
    return base.with_suffix(".json")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the suites."""
    parser.add_argument("--quick", action="store_true", help="3 repeats, no long workloads")
    parser.add_argument("--repeats", type=int, help="runs of each contestant (default: 5)")
    parser.add_argument("--only", nargs="*", help="names of workloads")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes: only that it works")
    parser.add_argument("--no-gate", action="store_true", help="do not wait for a quiet machine")
    parser.add_argument("--no-plot", action="store_true", help="no picture")
    parser.add_argument("--no-save", action="store_true", help="only print")


def chosen(options: argparse.Namespace) -> list[str]:
    """Names of the workloads that the options ask for."""
    unknown = [name for name in options.only or () if find(name) is None]
    if unknown:
        raise SystemExit(f"no such workload: {', '.join(sorted(unknown))}")
    return options.only or [n for n, w in WORKLOADS.items() if w.quick or not options.quick]


def main(argv: Sequence[str] | None = None) -> None:
    """Run a suite on this machine."""
    parser = argparse.ArgumentParser(prog="benchmarks local", description=__doc__)
    arguments(parser)
    parser.add_argument(
        "--suite", choices=SUITES, default="local", help="which workloads (default: local)"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the drawn suite (default: 1)")
    parser.add_argument("--count", type=int, default=20, help="drawn workloads (default: 20)")
    parser.add_argument("--peers", nargs="*", choices=LOCAL_PEERS, help="only these libraries")
    parser.add_argument("--no-oracle", action="store_true", help="do not search the grid")
    parser.add_argument("--no-peers", action="store_true", help="no other libraries")
    parser.add_argument("--no-extras", action="store_true", help="no overhead, no memory")
    options = parser.parse_args(argv)
    if options.suite == "drawn" and not options.only:
        options.only = drawn.names(options.seed, options.count)
    names = [name for name in chosen(options) if named(name).suite == options.suite]
    settings = Settings(
        repeats=options.repeats or (1 if options.smoke else 3 if options.quick else 5),
        search=not options.no_oracle,
        peers=() if options.no_peers else options.peers or LOCAL_PEERS,
    )
    size = "smoke" if options.smoke else "full"
    base = None if options.no_save else place(options.suite)
    with tempfile.TemporaryDirectory(prefix="amorsize-bench-") as cache:
        lab = Lab(size, Path(cache), gate=not options.no_gate)
        failed = warm_costs(lab)
        if failed:
            print(f"costs were not measured beforehand: {failed}", file=sys.stderr)
        found: dict[str, Any] = {"machine": machine(), "size": size}
        outcomes = run(names, lab, settings, base and base.with_suffix(".jsonl"))
        if options.suite == "local" and not options.no_extras:
            found["overhead"] = overhead.survey(lab, settings.repeats)
            found["memory"] = memory.survey(lab)
    found["workloads"] = [outcome.to_dict() for outcome in outcomes]
    found["summary"] = summary.figures(outcomes)
    text = summary.text(outcomes, found)
    print(text)
    if base is None:
        return
    save(base, text, found)
    base.with_suffix(".jsonl").unlink()  # all of it is in the JSON now
    if not options.no_plot:
        from benchmarks import plot

        plot.ratios(outcomes, base.with_suffix(".png"))
    print(f"\nwritten: {base.with_suffix('.json')}", file=sys.stderr)


if __name__ == "__main__":
    main()
