"""Workers of others see their share."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import cast

from amorsize.probes import nested_share


def module(**names: object) -> ModuleType:
    return cast(ModuleType, SimpleNamespace(**names))


def process(name: str, *, daemon: bool = False, parent: object = None) -> dict[str, ModuleType]:
    current = SimpleNamespace(name=name, daemon=daemon)
    fake = module(current_process=lambda: current, parent_process=lambda: parent)
    return {"multiprocessing.process": fake}


def shares(environ: dict[str, str], modules: dict[str, ModuleType]) -> dict[str, float]:
    return {fact.name: fact.value for fact in nested_share(environ, modules)}


def test_nobodys_worker() -> None:
    assert shares({}, {}) == {}
    assert shares({"OMP_NUM_THREADS": "3"}, process("MainProcess")) == {}


def test_amorsize() -> None:
    assert shares({"AMORSIZE_WORKER_SHARE": "1.25"}, {}) == {"amorsize-share": 1.25}
    worker = process("ForkProcess-1", daemon=True, parent=1)
    assert shares({"AMORSIZE_WORKER_SHARE": "3"}, worker) == {"amorsize-share": 3}


def test_malformed_shares_are_no_shares() -> None:
    for text in ("", "x", "0", "-1", "nan", "inf", "1e400", "1_0"):
        assert shares({"AMORSIZE_WORKER_SHARE": text}, {}) == {}


def test_loky() -> None:
    assert shares({"OMP_NUM_THREADS": "4"}, process("LokyProcess-3")) == {"loky-share": 4}
    assert shares({}, process("LokyProcess-3")) == {"loky-share": 1}


def test_joblib_over_multiprocessing() -> None:
    environ = {"JOBLIB_SPAWNED_PROCESS": "1"}
    assert shares(environ, process("ForkPoolWorker-1", parent=object())) == {"joblib-share": 1}
    assert shares(environ, process("MainProcess")) == {}


def test_a_daemonic_pool_worker() -> None:
    assert shares({}, process("ForkPoolWorker-1", daemon=True)) == {"pool-share": 1}


def test_dask() -> None:
    worker = SimpleNamespace(state=SimpleNamespace(nthreads=4))

    def outside() -> None:
        raise ValueError("No worker found")

    inside = {"distributed.worker": module(get_worker=lambda: worker)}
    assert shares({}, inside) == {"dask-share": 1}
    nanny = process("Dask Worker process (from Nanny)", daemon=True)
    assert next(iter(shares({}, {**nanny, **inside}))) == "dask-share"
    assert shares({}, {"distributed.worker": module(get_worker=outside)}) == {}


def ray_modules(mode: int, resources: dict[str, float]) -> dict[str, ModuleType]:
    context = SimpleNamespace(get_assigned_resources=lambda: resources)
    return {
        "ray": module(get_runtime_context=lambda: context),
        "ray._private.worker": module(WORKER_MODE=1, global_worker=SimpleNamespace(mode=mode)),
    }


def test_ray() -> None:
    assert shares({}, ray_modules(1, {"CPU": 0.5})) == {"ray-share": 0.5}
    assert shares({}, ray_modules(1, {})) == {"ray-share": 1}
    assert shares({}, ray_modules(0, {})) == {}


def test_a_framework_that_changed_inside_tells_nothing() -> None:
    broken = {"ray": module(), "ray._private.worker": module(), "distributed.worker": module()}
    assert shares({}, broken) == {}
