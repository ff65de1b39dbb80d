"""The plan in words and tables for a person."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from amorsize.costs import COUNTS, DETAILS, STORE_BYTES, BackendCosts
from amorsize.planner import NOTICEABLE_LOAD

if TYPE_CHECKING:
    from amorsize.plans import Plan
    from amorsize.profile import Profile

_SHOWN, _LONG = 8, 40
"""Rejected candidates that are shown; characters of a note that is not repeated."""


def seconds(value: float | None) -> str:
    """A duration with a unit that suits its size."""
    if value is None:
        return "unknown"
    for limit, factor, unit in ((1e-6, 1e9, "ns"), (1e-3, 1e6, "us"), (1.0, 1e3, "ms")):
        if abs(value) < limit:
            return f"{value * factor:.3g} {unit}"
    return f"{value:.3f} s" if value < 100 else f"{value:.0f} s"


def size(value: float) -> str:
    """A number of bytes with a unit that suits its size."""
    for limit, factor, unit in ((1e3, 1.0, "B"), (1e6, 1e3, "kB"), (1e9, 1e6, "MB")):
        if value < limit:
            return f"{value / factor:.3g} {unit}"
    return f"{value / 1e9:.3g} GB"


def explain(plan: Plan[object]) -> str:
    """The whole story of a plan."""
    sections = [
        _choice(plan),
        _machine(plan),
        _measured(plan),
        _terms(plan),
        _costs(plan),
        _rejected(plan),
    ]
    return "\n".join(line for section in sections for line in section)


def _choice(plan: Plan[object]) -> list[str]:
    workers = "1 worker" if plan.workers == 1 else f"{plan.workers} workers"
    lines = [f"Plan: {plan.backend}, {workers}, {_chunks(plan)}"]
    lines.append(f"  why         {plan.reason}")
    if plan.interpreters < plan.workers:
        shared = "1 interpreter" if plan.interpreters == 1 else f"{plan.interpreters} interpreters"
        lines.append(f"  GIL         the workers share {shared}: Python code takes turns there")
    if plan.predicted is None:
        lines.append("  predicted   unknown: the data does not tell its length")
    else:
        chosen = plan.decision.chosen.prediction
        lines.append(
            f"  predicted   {seconds(plan.predicted)} "
            f"({seconds(chosen.low)} to {seconds(chosen.high)}); "
            f"plain loop {seconds(plan.predicted_serial)}, speed-up {plan.speedup:.2f}"
        )
    total = "of unknown length" if plan.items is None else f"of {plan.items}"
    lines.append(f"  sampled     {plan.sampled} items {total}; their results are kept")
    return lines


def _machine(plan: Plan[object]) -> list[str]:
    limits = plan.limits
    if limits is None:
        return []
    bound = limits.binding_cpu
    lines = [f"  cores       {limits.cores:g}, by {bound.source}"]
    busy = limits.busy_cores
    if busy >= NOTICEABLE_LOAD:
        lines.append(
            f"  load        other programs keep {busy:.1f} of them busy: fewer workers pay off"
        )
    if limits.memory_bytes is not None:
        lines.append(f"  memory      {size(limits.memory_bytes)} available")
    return lines


def _chunks(plan: Plan[object]) -> str:
    schedule = plan.decision.chosen.schedule
    if schedule.kind == "whole":
        return "one loop"
    remaining = plan.profile.remaining
    if remaining is None:
        return f"chunks of {schedule.next_size(None)} items"
    shape = schedule.shape(remaining)
    if schedule.kind == "fixed":
        return f"{shape.chunks} chunks of {shape.first} items"
    return f"{shape.chunks} chunks of {shape.first} down to {shape.last} items"


def _measured(plan: Plan[object]) -> list[str]:
    profile = plan.profile
    doubt = ""
    if profile.relative_error > 0.2 and profile.items != profile.sampled:
        doubt = (
            "; uneven, the mean is doubtful" if len(profile.durations) > 1 else "; one call only"
        )
    lines = [
        "Measured here:",
        f"  item        {seconds(profile.item_s)} +- {seconds(profile.item_sd_s)}{doubt}",
        f"  first call  {seconds(profile.first_call_s)}",
        *_waiting(profile),
        *_remembered(profile),
    ]
    if profile.item_alone_s:
        lines.append(
            f"  inside      an item keeps {profile.inner_cores:.1f} cores busy; with one core, as "
            f"in a worker, it takes {seconds(profile.item_alone_s)}"
        )
    if profile.sizing is not None:
        what, points, exponent, error = profile.sizing
        power = "" if exponent == 1.0 else f" to the power of {exponent:.2g}"
        lines.append(
            f"  sizes       items take longer by their {what}{power}, seen {points} times: "
            f"mean known to {error:.0%}"
        )
    if profile.trend:
        times = f"{abs(profile.trend):.0%} of the mean"
        end = "end" if profile.trend > 0 else "front"
        lines.append(f"  trend       items take longer at the {end} of the data, by {times}")
    known = ", as an earlier plan has seen" if profile.gil_earlier else ""
    known = known if profile.gil_measured else " (assumed)"
    known = known if not profile.gil_moments else ", as it is let go for moments only"
    lines.append(f"  GIL held    {profile.gil_share:.0%} of the time{known}")
    for name, packing in (("items", profile.inputs), ("results", profile.outputs)):
        if packing.error:
            lines.append(f"  {name:<11} cannot be pickled: {packing.error}")
        elif packing.measured:
            whole = (
                f"; {seconds(packing.message_s)} more a chunk" if packing.message_s > 1e-5 else ""
            )
            lines.append(
                f"  {name:<11} {size(packing.nbytes)} each, pickled in {seconds(packing.dump_s)}, "
                f"unpickled in {seconds(packing.load_s)}{whole}"
            )
    if profile.memory_bytes:
        lines.append(f"  moved       at least {size(profile.memory_bytes)} of memory by an item")
    if profile.function_bytes is not None:
        lines.append(f"  function    {size(profile.function_bytes)} pickled, once per worker")
    return lines


def _remembered(profile: Profile) -> list[str]:
    if not profile.remembered_share:
        return []
    share = f"{profile.remembered_share:.0%} of the items left"
    return [f"  cache       {share} will be in the function's cache"]


def _waiting(profile: Profile) -> list[str]:
    lines = [f"  waiting     {profile.waiting_share:.0%} of the time"]
    if profile.waking_s:
        waking, whole = seconds(profile.waking_s), seconds(profile.item_cpu_s)
        lines.append(f"  waking up   {waking} of {whole} on an idle processor; less on a busy one")
    return lines


def _terms(plan: Plan[object]) -> list[str]:
    return [
        "Predicted time consists of:",
        *(f"  {term.name:<22} {seconds(term.seconds)}" for term in plan.terms),
    ]


def _costs(plan: Plan[object]) -> list[str]:
    costs = plan.costs.get(plan.backend)
    if not costs or plan.decision.chosen.schedule.kind == "whole":
        return []
    lines, told = [f"Costs of {plan.backend}:"], set[str]()
    for name, figure in costs.items():
        value = figure["value"]
        if figure["origin"] == "declared" and value == 0:
            continue
        if name in DETAILS and not figure.get("note"):
            continue
        shown = f"{value:.2f}" if name in COUNTS else seconds(value)
        note = f", {figure['note']}" if figure.get("note") else ""
        if note in told and len(note) > _LONG:
            note = ", as above"
        told.add(note)
        lines.append(f"  {name:<17} {shown:<10} ({figure['origin']}{note})")
    if "store_in_s" in costs:
        lines.append(f"  {route(BackendCosts.from_dict(costs))}")
    return lines


def route(costs: BackendCosts) -> str:
    """How inputs travel to an engine that has a store of its own."""
    if math.isinf(costs.store_bytes):
        return "inputs travel within their tasks: the engine's own store is no faster"
    compared = costs.store_bytes != STORE_BYTES
    why = "measured to be faster" if compared else "no faster at 1 MB, not compared above"
    return f"inputs from {size(costs.store_bytes)} a chunk on lie in the engine's store ({why})"


def _rejected(plan: Plan[object]) -> list[str]:
    lines = [
        f"  {c.backend} x {c.workers}: {seconds(c.prediction.seconds)}, {c.reason}"
        for c in plan.rejected[:_SHOWN]
    ]
    if len(plan.rejected) > _SHOWN:
        lines.append(f"  ... and {len(plan.rejected) - _SHOWN} more in plan.rejected")
    lines += [f"  {refusal.backend}: {refusal.reason}" for refusal in plan.refused]
    return ["Rejected:", *lines] if lines else []
