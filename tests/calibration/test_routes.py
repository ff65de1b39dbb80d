"""An engine with a store of its own: inputs arrive by either way, both are measured, and what is
measured decides.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import amorsize
from amorsize import cost_store, pricing
from amorsize.backend import Backend, Chunk, OpenRequest
from amorsize.blocks import unknown
from amorsize.calibration import calibrate
from amorsize.costs import (
    HOST_FALLBACK,
    LARGE_BYTES,
    LARGE_FIGURES,
    MEDIUM_BYTES,
    STORE_BYTES,
    STORE_MARGIN,
    BackendCosts,
    Figure,
)
from amorsize.plugins import registry
from amorsize.profile import Packing
from tests.calibration.test_quality import DEFAULT

pytestmark = [pytest.mark.measures, pytest.mark.usefixtures("store")]

SECONDS = st.floats(1e-11, 1e-7)


def costs_of(task: float, store: float, large_task: float, large_store: float) -> BackendCosts:
    return DEFAULT._replace(
        byte_in_s=Figure(task, "measured"),
        store_in_s=Figure(store, "measured"),
        byte_in_50m_s=Figure(large_task, "measured"),
        store_in_50m_s=Figure(large_store, "measured"),
    )


@given(SECONDS, SECONDS, SECONDS, SECONDS)
def test_the_cheaper_way_is_taken_at_each_size_that_was_measured(
    task: float, store: float, large_task: float, large_store: float
) -> None:
    costs = costs_of(task, store, large_task, large_store)
    dearer = 1 + STORE_MARGIN
    assert (costs.store_bytes <= LARGE_BYTES) == (large_task > dearer * large_store)
    if large_task > dearer * large_store:
        assert (costs.store_bytes <= MEDIUM_BYTES) == (task > dearer * store)
    stored = costs.store_bytes <= LARGE_BYTES
    used = large_store if stored else large_task
    assert costs.into(LARGE_BYTES) == pytest.approx(LARGE_BYTES * used)


def test_where_the_ways_meet_they_cost_as_much() -> None:
    costs = costs_of(2e-9, 3e-9, 2e-9, 1e-9)
    meet = costs.store_bytes
    assert MEDIUM_BYTES < meet < LARGE_BYTES
    assert costs.into(0.99 * meet) <= costs.into(1.01 * meet)


def test_what_is_not_known_of_large_messages_is_left_to_the_engines_advice() -> None:
    known = costs_of(1e-9, 2e-9, 1e-9, 1e-9)
    assert known._replace(byte_in_50m_s=None, store_in_50m_s=None).store_bytes == STORE_BYTES
    assert DEFAULT.store_bytes == STORE_BYTES
    assert known.store_bytes == math.inf


def test_a_store_that_is_slow_for_small_messages_gets_none() -> None:
    fast = costs_of(2e-9, 1e-9, 2e-9, 1e-9)
    slow = fast._replace(store_in_1k_s=Figure(1e-6, "measured"))
    noise = fast._replace(store_in_1k_s=Figure(1e-10, "measured"))
    assert fast.store_bytes == noise.store_bytes == MEDIUM_BYTES
    assert 100_000 < slow.store_bytes < MEDIUM_BYTES


@pytest.fixture(params=["dask", "ray"])
def engine(request: Any) -> Backend:
    pytest.importorskip({"dask": "distributed"}.get(request.param, request.param))
    request.getfixturevalue({"dask": "client"}.get(request.param, request.param))
    return registry().get(request.param)


@pytest.mark.parametrize("from_bytes", [0.0, math.inf])
def test_inputs_arrive_by_either_way_and_without_a_warning(
    engine: Backend, from_bytes: float
) -> None:
    request = OpenRequest(len, 2, store_bytes=from_bytes)
    items = [bytes(12_000_000), bytearray(300_000), b""]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        session = engine.open(request)
        try:
            futures = {session.submit(Chunk(n, ((n, n + 1),), [x])) for n, x in enumerate(items)}
            pending, found = set(futures), []
            while pending:
                for future in session.wait(pending, 30.0):
                    pending.discard(future)
                    found += future.result().unpack().values
        finally:
            session.close(cancel=False)
    assert sorted(found) == sorted(map(len, items))


def test_both_ways_are_measured_at_the_same_sizes_and_told(engine: Backend) -> None:
    costs = calibrate(engine, workers=2, full=True)
    for name in ("byte_in_s", "byte_in_50m_s", "buffer_in_s", "buffer_in_50m_s"):
        assert costs.figures()[name].checks, name
        assert costs.figures()[f"store_{name.replace('byte_', '')}"].checks, name

    pricing.measure(engine, workers=2)
    plan = amorsize.plan(len, [bytes(1_000)] * 4_000, backend=engine.name, workers=2)
    assert "engine's" in plan.explain()
    assert "store_in_s" in plan.costs[engine.name]


def test_large_figures_are_those_of_the_work() -> None:
    usual, large = Packing(nbytes=1e6), Packing(nbytes=12e6)
    work = unknown(None)._replace(item_s=0.01)

    def wanted(inputs: Packing, outputs: Packing) -> set[str]:
        return pricing.large_figures(work._replace(inputs=inputs, outputs=outputs))

    assert wanted(usual, usual) == set()
    assert wanted(large, usual) == {"byte_in_50m_s"}
    assert wanted(usual, large._replace(buffer_bytes=12e6)) == {"buffer_out_50m_s"}
    assert pricing.large_figures(work._replace(buffer_bytes=30e6)) == set(HOST_FALLBACK)
    assert pricing.large_figures(work._replace(buffer_bytes=30e4)) == set()


def test_of_large_messages_in_band_only_those_wanted_are_measured(engine: Backend) -> None:
    """Chunks of arrays become large in any case."""
    wanted, usual = {"byte_in_50m_s"}, {"buffer_in_50m_s", "buffer_out_50m_s"}
    known = calibrate(engine, workers=2, large=wanted).figures()
    assert wanted | usual == set(LARGE_FIGURES) & set(known)
    assert {"store_in_50m_s", "store_buffer_in_50m_s"} <= set(known)

    figures = {name: Figure(1e-9, "measured") for name in ("byte_in_s", "byte_out_s")}
    figures |= {"buffer_out_50m_s": Figure(1e-9, "measured")}
    figures |= {"dispatch_s": Figure(1e-3, "measured")}
    cost_store.save(engine, 2, cost_store.Stored(DEFAULT._replace(**figures)))
    merged = pricing.price(engine, workers=2, worth_s=1e6, large=wanted).figures()
    assert wanted | usual == set(LARGE_FIGURES) & set(merged)
