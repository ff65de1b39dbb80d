"""What to believe of a measurement: named checks, whose outcome is kept with each figure. Pure.

``plausible``   at most a hundred times the backend's documented default, and what is never free
                at least a hundredth
``signal``      the median of the repeats stands within 50 %; how well it does is told
``consistent``  does not contradict another figure: two workers start no faster than one, an item
                of a large chunk is no dearer than a chunk of one item, spawn no cheaper than fork
``explained``   the costs together predict a burst they were not taken from, within a factor of two

A figure that fails is replaced by the documented default, and says so.
"""

from __future__ import annotations

from amorsize.calibration.repeats import Repeats
from amorsize.costs import BackendCosts, Check, Figure, declared

PLAUSIBLE = 100.0
"""Factor by which a measured figure may differ from the documented default."""
LOST = 0.5
"""Relative standard error of a median beyond which noise has buried the signal."""
SLACK = 0.6
"""Share of the smaller figure that the larger one must reach: measurements are noisy."""
START_NOISE_S = 0.001
"""Seconds of a start that nobody misses: of so little noise may make anything."""
EXPLAINED = 2.0
"""Factor within which the costs must predict a burst."""


def signal(found: Repeats) -> Check:
    """Whether the repeats agree well enough."""
    detail = f"+-{found.error:.0%} over {found.number}"
    return Check("signal", found.error <= LOST, detail)


def figure(found: Repeats, note: str = "") -> Figure:
    """The median of some repeats as a figure that has been checked for its signal."""
    return Figure(max(0.0, found.value), "measured", found.spread, note, (signal(found),))


def rate(whole: Repeats, less_s: float, per: float, negligible: float) -> Figure:
    """A figure per unit (byte, item): what repeats take beyond ``less_s``, over ``per``. Its
    noise must be ``negligible`` or small against it.
    """
    value, noise = max(0.0, whole.value - less_s) / per, whole.error * whole.value / per
    detail = f"{value:.2g} +- {noise:.1g} over {whole.number}"
    check = Check("signal", noise <= max(negligible, LOST * value), detail)
    return Figure(value, "measured", whole.spread, "", (check,))


def plausible(measured: Figure, default: Figure | None, *, least: bool = False) -> Check | None:
    """Whether a figure is of the order of the documented default, ``None`` if there is none; with
    ``least`` it may not be too small either.
    """
    if default is None or default.value <= 0:
        return None
    times = measured.value / default.value
    passed = (1 / PLAUSIBLE if least else 0.0) <= times <= PLAUSIBLE
    return Check("plausible", passed, f"{times:.2g} times the default")


def not_cheaper(this: str, value: float, other: str, least: float, noise_s: float = 0.0) -> Check:
    """Whether something costs at least what it should cost more than, but for some noise."""
    detail = f"{this} {value:.3g} s, {other} {least:.3g} s"
    return Check("consistent", value >= SLACK * least - noise_s, detail)


def explained(predicted_s: float, actual_s: float) -> Check:
    """Whether the costs together predict what they were not taken from."""
    share = predicted_s / max(actual_s, 1e-9)
    detail = f"{share:.0%} of a burst"
    return Check("explained", 1 / EXPLAINED <= share <= EXPLAINED, detail)


def with_check(measured: Figure, check: Check | None) -> Figure:
    """The figure with another check."""
    return measured if check is None else measured._replace(checks=(*measured.checks, check))


NEVER_FREE = ("dispatch_s", "latency_s", "slot_s")
"""What cannot be next to nothing; parts of a start may be."""
AS_GOOD_AS = {
    "byte_in_1k_s": "byte_in_s",
    "byte_in_50m_s": "byte_in_s",
    "buffer_in_s": "byte_in_s",
    "buffer_in_50m_s": "byte_in_s",
    "store_in_1k_s": "byte_in_s",
    "store_in_s": "byte_in_s",
    "store_in_50m_s": "byte_in_50m_s",
    "store_buffer_in_s": "buffer_in_s",
    "store_buffer_in_50m_s": "buffer_in_50m_s",
    "function_byte_s": "byte_in_s",
    "byte_out_1k_s": "byte_out_s",
    "byte_out_50m_s": "byte_out_s",
    "buffer_out_s": "byte_out_s",
    "buffer_out_50m_s": "byte_out_s",
}
"""What stands in for a figure for which backends document no default."""


def judged(measured: BackendCosts, default: BackendCosts) -> BackendCosts:
    """The costs with a plausibility check each, and defaults in place of what fails a check."""
    found: dict[str, Figure] = {}
    defaults = default.figures()
    for name, value in measured.figures().items():  # those that stand in for others come first
        if value.origin != "measured":
            found[name] = value
            continue
        check = plausible(value, defaults.get(name), least=name in NEVER_FREE)
        checked = with_check(value, check)
        found[name] = believed(checked, defaults.get(name) or found.get(AS_GOOD_AS.get(name, "")))
    return measured._replace(**found)


def believed(measured: Figure, default: Figure | None) -> Figure:
    """The figure, or the default if it fails a check, with the reason."""
    failed = [check for check in measured.checks if not check.passed]
    if not failed:
        return measured
    reasons = "; ".join(f"{check.name}: {check.detail}" for check in failed)
    note = f"measured {measured.value:.3g}, but not {reasons}"
    instead = declared() if default is None else default
    return instead._replace(origin="fallback", note=note, checks=measured.checks)
