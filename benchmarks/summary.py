"""Tables and summaries of the local suite."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from benchmarks import memory, overhead
from benchmarks.drawn import workload
from benchmarks.harness import Cell, geometric_mean

if TYPE_CHECKING:
    from benchmarks.suite import Outcome

LONG_LOOP_S = 0.1
"""From here on the plain loop's time is compared as a ratio, below as a difference."""
LOST = 1.10
"""Ratio to the best above which a workload is marked as lost."""


def best(outcome: Outcome) -> Cell | None:
    """The fastest of the oracle's finalists, the peers and the plain loop."""
    rivals = [c for c in (outcome.loop, *outcome.peers, *outcome.finalists) if c.seconds]
    return min(rivals, key=lambda cell: cell.seconds or 0.0, default=None)


def ratio(outcome: Outcome) -> float | None:
    """``amorsize.map`` over the best."""
    rival = best(outcome)
    if rival is None or not rival.seconds or not outcome.ours.seconds:
        return None
    return outcome.ours.seconds / rival.seconds


def least_ratio(outcome: Outcome) -> float | None:
    """The same by the fastest run of each instead of the median."""
    rivals = [c.least_s for c in (outcome.loop, *outcome.peers, *outcome.finalists) if c.least_s]
    return outcome.ours.least_s / min(rivals) if rivals and outcome.ours.least_s else None


def duel_ratio(outcome: Outcome) -> float | None:
    """The same in the runs of these two alone, which did not choose the best."""
    if outcome.duel is None:
        return None
    ours, rival = outcome.duel
    return ours.seconds / rival.seconds if ours.seconds and rival.seconds else None


def one_line(outcome: Outcome) -> str:
    """What a finished workload gave."""
    rival, against = best(outcome), ratio(outcome)
    if rival is None or against is None:
        return f"{outcome.workload:<20} {outcome.ours.error or outcome.loop.error}"
    facts = outcome.ours.facts
    return (
        f"{outcome.workload:<20} loop {outcome.loop.seconds or 0.0:.4f} s, amorsize "
        f"{outcome.ours.seconds:.4f} s ({facts['ran_on']} x {facts['workers']}), best "
        f"{rival.seconds:.4f} s ({rival.label}): {against:.2f}, in the duel "
        f"{duel_ratio(outcome) or math.nan:.2f}"
    )


def figures(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The summary as plain data."""
    done = [outcome for outcome in outcomes if ratio(outcome) is not None]
    ratios = {outcome.workload: ratio(outcome) or 0.0 for outcome in done}
    duels = {o.workload: against for o in done if (against := duel_ratio(o))}
    worst = max(ratios, key=lambda name: ratios[name], default=None)
    worst_duel = max(duels, key=lambda name: duels[name], default=None)
    return {
        "against_best": {
            "geometric_mean": geometric_mean(ratios.values()),
            "worst": ratios[worst] if worst else None,
            "worst_workload": worst,
            "geometric_mean_of_fastest_runs": geometric_mean(
                against for outcome in done if (against := least_ratio(outcome))
            ),
        },
        "duel_with_best": {
            "geometric_mean": geometric_mean(duels.values()),
            "worst": duels[worst_duel] if worst_duel else None,
            "worst_workload": worst_duel,
        },
        "against_loop": _against_loop(done),
        "against_peers": {name: _against(done, name) for name in _peer_names(done)},
        "prediction_chosen": prediction_errors(_chosen_runs(done)),
        "prediction_grid": prediction_errors(run for o in done for c in o.grid for run in c.runs),
        "noise": noise(done),
        "wrong_or_failed": [
            o.workload for o in outcomes if o.ours.error or (o.duel and o.duel[0].error)
        ],
    }


def _against_loop(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    long = {
        o.workload: (o.ours.seconds or 0.0) / o.loop.seconds
        for o in outcomes
        if o.loop.seconds and o.loop.seconds >= LONG_LOOP_S
    }
    short = {
        o.workload: ((o.ours.seconds or 0.0) - o.loop.seconds) * 1e3
        for o in outcomes
        if o.loop.seconds and o.loop.seconds < LONG_LOOP_S
    }
    return {
        "worst_ratio": max(long.items(), key=lambda entry: entry[1], default=None),
        "worst_more_ms": max(short.items(), key=lambda entry: entry[1], default=None),
    }


def _peer_names(outcomes: Sequence[Outcome]) -> list[str]:
    return list(dict.fromkeys(cell.contestant for o in outcomes for cell in o.peers))


def _against(outcomes: Sequence[Outcome], name: str) -> dict[str, Any]:
    """One peer's times over ours; what it did not finish counts with the time it was given."""
    times, failed = {}, []
    for outcome in outcomes:
        cell = next(cell for cell in outcome.peers if cell.contestant == name)
        seconds = cell.seconds or cell.at_least_s
        if seconds:
            times[outcome.workload] = seconds / (outcome.ours.seconds or 1.0)
        else:
            failed.append(outcome.workload)
    return {
        "geometric_mean": geometric_mean(times.values()),
        "faster_by_10_percent": [name for name, t in times.items() if t < 1 / LOST],
        "workloads": len(times),
        "not_applicable": failed,
    }


def _chosen_runs(outcomes: Sequence[Outcome]) -> Iterable[dict[str, Any]]:
    ours = (cell for o in outcomes for cell in (o.ours, *(o.duel or ())[:1]))
    return (run for cell in ours for run in cell.runs)


def prediction_errors(runs: Iterable[dict[str, Any]], *, to_come: bool = False) -> dict[str, Any]:
    """Median and 90th percentile of |predicted / actual - 1|, of runs that had a prediction;
    ``to_come`` leaves out the seconds that had been when it was made.
    """
    errors = sorted(
        abs((facts["predicted_s"] - been_s) / max(facts["actual_s"] - been_s, 1e-9) - 1)
        for facts in (run["facts"] for run in runs)
        if facts.get("predicted_s") and facts["actual_s"]
        for been_s in [facts["predicted_after_s"] if to_come else 0.0]
    )
    return _middle_and_tail(errors)


def _middle_and_tail(errors: Sequence[float]) -> dict[str, Any]:
    """Of sorted errors."""
    if not errors:
        return {"runs": 0, "median": None, "p90": None}
    p90 = errors[min(len(errors) - 1, int(0.9 * len(errors)))]
    return {"runs": len(errors), "median": statistics.median(errors), "p90": p90}


def noise(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Median and 90th percentile of |previous run / this run - 1|, of the same contestant with the
    same settings on the same workload: the error of who knows all but what the machine does next.
    """
    errors = sorted(
        abs(before["seconds"] / run["seconds"] - 1)
        for outcome in outcomes
        for cell in (outcome.loop, *outcome.peers, *outcome.finalists, *(outcome.duel or ())[1:])
        for before, run in itertools.pairwise(cell.runs)
        if run["seconds"]
    )
    return _middle_and_tail(errors)


# -- text ------------------------------------------------------------------------------------


def text(outcomes: Sequence[Outcome], found: dict[str, Any]) -> str:
    """Everything, as markdown."""
    parts = [_facts(found["machine"]), table(outcomes), rivals(outcomes), predictions(outcomes)]
    parts.append(_drawn(outcomes))
    parts.append("\n".join(_summary_lines(found["summary"])))
    if "overhead" in found:
        parts.append("\n".join(["### Planning beyond the sample", ""]))
        parts[-1] += "\n" + "\n".join(overhead.lines(found["overhead"]))
    if "memory" in found:
        parts.append("### Memory of the caller\n\n" + "\n".join(memory.lines(found["memory"])))
    return "\n\n".join(parts)


def _drawn(outcomes: Sequence[Outcome]) -> str:
    """What the workloads are that were drawn: of others, their names say it."""
    drawn = (workload(outcome.workload) for outcome in outcomes)
    return "\n".join(f"- {one.name}: {one.about}" for one in drawn if one is not None)


def _facts(machine: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB, "
        f"{machine['system']}, Python {machine['python']}, {versions}; commit "
        f"{machine['commit']}, load {machine['load']}"
    )


def table(outcomes: Sequence[Outcome]) -> str:
    """amorsize against the loop and the best, worst first, losses marked."""
    rows = [
        "| workload | loop s | amorsize s | second call s | first ever s | best s | by | "
        "amorsize / best | in the duel | by fastest runs | ran on | disturbed |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for outcome in sorted(outcomes, key=lambda o: -(ratio(o) or 99.0)):
        rows.append(_row(outcome))
    return "\n".join(rows)


def _row(outcome: Outcome) -> str:
    rival, against, ours = best(outcome), ratio(outcome), outcome.ours
    if rival is None or against is None:
        return f"| {outcome.workload} | {ours.error or outcome.loop.error} |" + " |" * 10
    facts = ours.facts
    mark = " **lost**" if against > LOST else ""
    moved = "; moved" if facts["moves"] else ""
    first = outcome.first_ever.seconds if outcome.first_ever else None
    cells = [
        outcome.workload,
        _s(outcome.loop.seconds),
        _s(ours.seconds),
        _s(ours.later_s),
        _s(first),
        _s(rival.seconds),
        rival.label,
        f"{against:.2f}{mark}",
        f"{duel_ratio(outcome) or math.nan:.2f}",
        f"{least_ratio(outcome) or 0.0:.2f}",
        f"{facts['ran_on']} x {facts['workers']}{moved}",
        str(sum(cell.noisy for cell in outcome.cells())),
    ]
    return "| " + " | ".join(cells) + " |"


def rivals(outcomes: Sequence[Outcome]) -> str:
    """Each peer's time over ours."""
    names = _peer_names(outcomes)
    if not names:
        return ""
    rows = ["| workload (time / amorsize) | loop | " + " | ".join(names) + " |"]
    rows.append("|---" * (len(names) + 2) + "|")
    for outcome in outcomes:
        cells = [_times(outcome.loop, outcome.ours)]
        cells += [_times(cell, outcome.ours) for cell in outcome.peers]
        rows.append(f"| {outcome.workload} | " + " | ".join(cells) + " |")
    reasons = {
        f"- {cell.workload}, {cell.label}: {cell.error}"
        for outcome in outcomes
        for cell in outcome.cells()
        if cell.error and not cell.at_least_s
    }
    return "\n".join([*rows, "", *sorted(reasons)])


def _times(cell: Cell, ours: Cell) -> str:
    if not ours.seconds:
        return "n/a"
    if cell.at_least_s:
        return f"> {cell.at_least_s / ours.seconds:.1f}"
    return f"{cell.seconds / ours.seconds:.2f}" if cell.seconds else "n/a"


def predictions(outcomes: Sequence[Outcome]) -> str:
    """Predicted against actual of the chosen plan."""
    rows = ["| workload | chosen | predicted s | actual s | error |", "|---|---|---|---|---|"]
    for outcome in outcomes:
        facts = outcome.ours.facts
        predicted, actual = facts.get("predicted_s"), facts.get("actual_s")
        if not actual:
            continue
        error = f"{predicted / actual - 1:+.0%}" if predicted else "length unknown"
        chosen = f"{facts['backend']} x {facts['workers']}"
        if facts["moves"]:
            chosen += f" (moved: {'; '.join(facts['moves'])})"
        rows.append(f"| {outcome.workload} | {chosen} | {_s(predicted)} | {_s(actual)} | {error} |")
    return "\n".join(rows)


def _summary_lines(found: dict[str, Any]) -> list[str]:
    best_, loop = found["against_best"], found["against_loop"]
    rows = ["### Summary", ""]
    if best_["worst"] is not None:
        rows.append(
            f"- against the best of oracle, peers and loop: geometric mean "
            f"{best_['geometric_mean']:.3f} (to be <= 1.08), worst {best_['worst']:.2f} "
            f"({best_['worst_workload']}; to be <= 1.25); by the fastest run of each instead of "
            f"the median {best_['geometric_mean_of_fastest_runs']:.3f}"
        )
    duel = found["duel_with_best"]
    if duel["worst"] is not None:
        rows.append(
            f"- against that best once more, in runs that did not choose it: geometric mean "
            f"{duel['geometric_mean']:.3f}, worst {duel['worst']:.2f} ({duel['worst_workload']})"
        )
    if loop["worst_ratio"]:
        name, value = loop["worst_ratio"]
        rows.append(f"- against loops of >= 100 ms: worst {value:.3f} ({name}; to be <= 1.03)")
    if loop["worst_more_ms"]:
        name, value = loop["worst_more_ms"]
        rows.append(f"- against shorter loops: at most {value:+.1f} ms ({name}; to be <= 3)")
    for name, peer in found["against_peers"].items():
        faster = ", ".join(peer["faster_by_10_percent"]) or "none"
        rows.append(
            f"- {name}: {peer['geometric_mean']:.2f} times our time (geometric mean of "
            f"{peer['workloads']}, to be >= 1.5); over 10 % faster than us on: {faster}"
        )
    for key, what in (("prediction_chosen", "chosen plan"), ("prediction_grid", "forced settings")):
        errors = found[key]
        if errors["runs"]:
            rows.append(
                f"- predicted against actual, {what}: median {errors['median']:.1%}, p90 "
                f"{errors['p90']:.1%} of {errors['runs']} runs (to be <= 12 %, 30 %)"
            )
    unknowable = found["noise"]
    if unknowable["runs"]:
        rows.append(
            f"- what the run before would have predicted, loop and rivals: median "
            f"{unknowable['median']:.1%}, p90 {unknowable['p90']:.1%} of {unknowable['runs']} "
            f"pairs (what no prediction can know on this machine)"
        )
    if found["wrong_or_failed"]:
        rows.append(f"- WRONG or failed: {', '.join(found['wrong_or_failed'])}")
    return rows


def _s(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.4f}"
