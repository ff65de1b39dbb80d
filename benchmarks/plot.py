"""The picture: each contestant's time over the best of a workload. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.summary import best, ratio

if TYPE_CHECKING:
    from benchmarks.suite import Outcome

_SHAPES = "ov^sDPX*"


def ratios(outcomes: Sequence[Outcome], path: Path) -> None:
    """Draw one line of dots for each workload; says so if matplotlib is missing."""
    try:
        import matplotlib
    except ImportError:
        print("no picture: matplotlib is not installed")
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    shown = sorted((o for o in outcomes if ratio(o)), key=lambda o: ratio(o) or 0.0)
    figure, axes = pyplot.subplots(figsize=(9, 1.5 + 0.3 * len(shown)), layout="constrained")
    names = ["loop", *dict.fromkeys(cell.contestant for o in shown for cell in o.peers)]
    for number, name in enumerate(names):
        points = [_point(outcome, name) for outcome in shown]
        marker = _SHAPES[number % len(_SHAPES)]
        axes.scatter(points, range(len(shown)), label=name, marker=marker, s=28, alpha=0.7)
    ours = [ratio(outcome) or float("nan") for outcome in shown]
    axes.scatter(ours, range(len(shown)), label="amorsize", marker="|", s=220, color="black")
    axes.axvline(1, color="grey", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_yticks(range(len(shown)), [outcome.workload for outcome in shown])
    axes.set_xlabel("time / best of an exhaustive search and all contestants")
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _point(outcome: Outcome, name: str) -> float:
    rival = best(outcome)
    cells = [outcome.loop, *outcome.peers]
    cell = next((c for c in cells if c.contestant == name), None)
    if rival is None or cell is None or not cell.seconds or not rival.seconds:
        return float("nan")
    return cell.seconds / rival.seconds
