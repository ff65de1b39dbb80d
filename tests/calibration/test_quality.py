"""What is believed of a measurement, and what a reader is told of what is not."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amorsize.backend import process_pool_fallback
from amorsize.calibration import quality
from amorsize.calibration.bounded import Budget, CalibrationFailed, bounded
from amorsize.calibration.repeats import STEADY, repeated, summary
from amorsize.costs import LARGE_BYTES, BackendCosts, Check, Figure, declared, fallback

DEFAULT = process_pool_fallback()


def measured(**figures: Figure) -> BackendCosts:
    return DEFAULT._replace(**figures)


def test_a_figure_that_passes_is_kept_with_its_checks() -> None:
    found = quality.judged(measured(latency_s=quality.figure(summary([1e-4] * 5))), DEFAULT)
    assert found.latency_s.origin == "measured"
    assert [check.name for check in found.latency_s.checks] == ["signal", "plausible"]
    assert all(check.passed for check in found.latency_s.checks)


@pytest.mark.parametrize(
    ("times", "failed"),
    [
        ([1.0, 1.0, 1.0], "plausible"),
        ([1e-9, 1e-9, 1e-9], "plausible"),
        ([1e-6, 2e-4, 9e-4, 1e-5, 5e-4], "signal"),
    ],
)
def test_a_figure_that_fails_becomes_the_default_and_says_why(
    times: list[float], failed: str
) -> None:
    found = quality.judged(measured(latency_s=quality.figure(summary(times))), DEFAULT)
    assert found.latency_s.value == DEFAULT.latency_s.value
    assert found.latency_s.origin == "fallback"
    assert f"but not {failed}" in found.latency_s.note
    again = BackendCosts.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again == found
    assert [c.name for c in again.latency_s.checks if not c.passed] == [failed]


def test_a_size_lost_in_the_noise_costs_what_the_next_size_does() -> None:
    noisy = Figure(8e-9, "measured", checks=(Check("signal", False, "noise"),))
    medium = Figure(2e-9, "measured")
    found = quality.judged(measured(byte_out_s=medium, byte_out_1k_s=noisy), DEFAULT)
    assert found.byte_out_1k_s is not None
    assert found.byte_out_1k_s.value == 2e-9
    assert found.byte_out_1k_s.origin == "fallback"


def test_two_workers_that_start_faster_than_one_are_not_believed() -> None:
    assert quality.not_cheaper("two", 0.010, "one", 0.009).passed
    check = quality.not_cheaper("two", 0.004, "one", 0.009)
    figure = quality.with_check(Figure(0.004, "measured"), check)
    assert quality.believed(figure, fallback(0.008)).value == 0.008


@pytest.mark.parametrize(("predicted", "passed"), [(0.9, True), (1.9, True), (2.1, False)])
def test_costs_must_explain_a_burst(predicted: float, passed: bool) -> None:
    assert quality.explained(predicted, 1.0) == Check(
        "explained", passed, f"{predicted:.0%} of a burst"
    )


def test_a_rate_lost_in_noise_is_not_believed_unless_it_does_not_matter() -> None:
    noisy = summary([0.010, 0.020, 0.030, 0.011, 0.025])
    assert not quality.rate(noisy, 0.0199, 1e6, negligible=1e-10).checks[0].passed
    assert quality.rate(noisy, 0.0199, 1e6, negligible=1e-6).checks[0].passed


@given(st.lists(st.floats(1e-6, 1e-3), min_size=3, max_size=40))
def test_the_median_lies_within_what_was_measured(values: list[float]) -> None:
    found = summary(values)
    assert min(values) <= found.value <= max(values)
    assert found.error >= 0


def test_repeating_ends_when_the_median_is_steady_or_the_time_is_over() -> None:
    assert len(repeated(lambda: 1.0, Budget(10.0, 10.0), least=3, most=50)) == 3
    values = iter([1.0, 30.0, 60.0, 90.0] * 50)
    assert len(repeated(lambda: next(values), Budget(10.0, 10.0), least=3, most=50)) == 50
    assert len(repeated(lambda: next(values), Budget(0.0, 10.0), least=4, most=50)) == 4
    assert STEADY == 0.15


@given(st.floats(1, 1e9), st.floats(0, 1))
def test_transfer_lies_between_the_measured_classes(nbytes: float, share: float) -> None:
    costs = DEFAULT._replace(
        byte_in_1k_s=Figure(9e-9, "measured"),
        byte_in_s=Figure(1e-9, "measured"),
        byte_in_50m_s=Figure(3e-9, "measured"),
        buffer_in_s=Figure(1e-10, "measured"),
        buffer_in_50m_s=Figure(4e-10, "measured"),
    )
    whole = costs.into(nbytes)
    assert 1e-9 * nbytes <= whole * (1 + 1e-9)
    assert whole <= 9e-9 * nbytes * (1 + 1e-9)
    assert costs.into(nbytes, share * nbytes) <= whole * (1 + 1e-9)


def test_transfer_at_and_beyond_the_classes() -> None:
    costs = DEFAULT._replace(byte_out_50m_s=Figure(4e-9, "measured"))
    assert costs.out_of(1e6) == pytest.approx(1e6 * DEFAULT.byte_out_s.value)
    assert costs.out_of(LARGE_BYTES) == pytest.approx(0.2)
    assert costs.out_of(10 * LARGE_BYTES) == pytest.approx(2.0)
    assert costs.out_of(0.0) == 0.0
    assert DEFAULT.function_s(1e6, 2) == pytest.approx(2e6 * DEFAULT.byte_in_s.value)
    told = DEFAULT._replace(function_byte_s=declared(0.0))
    assert told.function_s(1e6, 2) == 0.0


def test_a_hanging_call_is_left_and_an_error_passes_through() -> None:
    import threading

    release = threading.Event()
    budget = Budget(0.0, 0.05)
    with pytest.raises(CalibrationFailed, match=r"did not answer within 0\.05 s"):
        bounded(release.wait, budget, here=False)
    assert budget.cancelled
    with pytest.raises(CalibrationFailed):
        budget.left_s()
    release.set()
    with pytest.raises(ZeroDivisionError):
        bounded(lambda: 1 / 0, Budget(1.0, 1.0), here=False)
    assert bounded(lambda: 3, Budget(1.0, 1.0), here=False) == 3
