"""Costs: measured through the contract, kept as data, never trusted from strangers."""

from __future__ import annotations

import json
import os
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest

from amorsize import cost_store, pricing
from amorsize.backend import Backend, OpenRequest, Session
from amorsize.calibration import CalibrationFailed, calibrate
from amorsize.cost_store import CostStoreWarning, Stored
from amorsize.costs import BackendCosts
from amorsize_local.processes import ProcessBackend
from amorsize_local.threads import ThreadBackend


@pytest.mark.measures
@pytest.mark.parametrize(
    "backend", [ThreadBackend(), ProcessBackend("fork"), ProcessBackend("spawn")]
)
def test_measured_costs_are_measured(backend: Backend) -> None:
    wanted = ("dispatch_s", "latency_s", "slot_s")
    for _ in range(20):  # a busy machine may spoil one
        costs = calibrate(backend, workers=2)
        if all(costs.figures()[name].origin == "measured" for name in wanted):
            break
    assert costs.startup_s.value + costs.startup_worker_s.value > 0
    for name in wanted:
        figure = costs.figures()[name]
        assert figure.origin == "measured", figure.note
        assert figure.value > 0
    assert costs.byte_in_s.origin == (
        "measured" if backend.configuration() == "spawn" else "declared"
    )


class Broken(ThreadBackend):
    name = "broken"

    def open(self, request: OpenRequest) -> Session:
        raise OSError("no")


def test_a_backend_that_fails_falls_back_and_says_so(store: Path) -> None:
    with pytest.raises(CalibrationFailed, match="no"):
        calibrate(Broken(), workers=2)
    costs = pricing.price(Broken(), workers=2, worth_s=1e6)
    assert costs.startup_s.origin == "fallback"
    assert "no" in costs.startup_s.note


def test_nothing_is_measured_that_cannot_pay(store: Path) -> None:
    costs = pricing.price(ProcessBackend("spawn"), workers=2, worth_s=0.01)
    assert costs.startup_s.origin == "fallback"
    assert not store.exists()


def test_costs_are_kept_for_later_processes(store: Path) -> None:
    measured = pricing.price(ThreadBackend(), workers=2, worth_s=100.0)
    pricing.forget()
    cached = pricing.price(ThreadBackend(), workers=2, worth_s=0.0)
    believed = {n: f.value for n, f in measured.figures().items() if f.origin == "measured"}
    assert believed  # on a busy machine some figures fail their checks
    assert believed == {n: f.value for n, f in cached.figures().items() if f.origin == "cached"}
    (file,) = store.iterdir()
    assert file.stat().st_mode & 0o077 == 0


def corrupt(file: Path) -> None:
    file.write_text('{"identity": ')


def empty(file: Path) -> None:
    file.write_text("")


def shared(file: Path) -> None:
    file.chmod(0o666)


def negative(file: Path) -> None:
    record = json.loads(file.read_text())
    record["costs"]["dispatch_s"]["value"] = -1
    file.write_text(json.dumps(record))


def a_list(file: Path) -> None:
    file.write_text("[]")


@pytest.mark.parametrize("damage", [corrupt, empty, shared, negative, a_list])
def test_damaged_or_shared_files_are_ignored_with_a_warning(store: Path, damage: Any) -> None:
    cost_store.save(ThreadBackend(), 2, Stored(ThreadBackend().fallback_costs()))
    (file,) = store.iterdir()
    damage(file)
    with pytest.warns(CostStoreWarning, match="ignored"):
        assert cost_store.load(ThreadBackend(), 2) is None


def test_an_unwritable_cache_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("AMORSIZE_CACHE_DIR", str(tmp_path / "file"))
    with pytest.warns(CostStoreWarning):
        cost_store.save(ThreadBackend(), 2, Stored(ThreadBackend().fallback_costs()))


def test_writers_at_once_leave_one_valid_file(store: Path) -> None:
    costs = ThreadBackend().fallback_costs()
    threads = [
        threading.Thread(target=cost_store.save, args=(ThreadBackend(), 2, Stored(costs)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cost_store.load(ThreadBackend(), 2) == Stored(costs)
    assert len(os.listdir(store)) == 1


def test_costs_survive_json() -> None:
    costs = ProcessBackend("fork").fallback_costs()
    assert BackendCosts.from_dict(json.loads(json.dumps(costs.to_dict()))) == costs
