"""Declarations: name, traits, availability, capacity, options, translation, light import."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from amorsize.backend import (
    CONTRACT_VERSION,
    Availability,
    Backend,
    BackendUnavailable,
    Capacity,
    OpenRequest,
    Traits,
    TranslationUnsupported,
)
from amorsize.costs import BackendCosts
from amorsize.errors import InvalidArgument
from amorsize.testing.driving import Settings, chunk, chunks_of, needs
from amorsize.testing.lifetimes import belongings
from amorsize.testing.tasks import Meeting, itself, square


class Declarations(Settings):
    """Declarations"""

    def test_name(self, backend: Backend) -> None:
        """The name is one plain word"""
        name = backend.name
        assert isinstance(name, str), f"the name is {name!r}, not a string"
        assert name, "the name is empty"
        plain = name.replace("_", "").replace("-", "")
        assert plain.isalnum(), f"the name {name!r} is not one plain word"
        assert name != "auto", "the name 'auto' means that amorsize chooses"

    def test_contract_version(self, backend: Backend) -> None:
        """The backend is written for this version of the contract"""
        assert backend.contract_version == CONTRACT_VERSION, (
            f"the backend states contract version {backend.contract_version}, "
            f"this amorsize has {CONTRACT_VERSION}"
        )

    def test_traits(self, backend: Backend) -> None:
        """Traits do not contradict each other"""
        traits = backend.traits
        assert isinstance(traits, Traits), f"traits is {traits!r}, not a Traits"
        assert backend.traits == traits, "traits change from one reading to the next"
        shared = traits.shares_memory
        assert shared or not traits.inline, "inline work happens in the caller: it shares memory"
        assert shared or not traits.shares_gil, "one interpreter lock means one process's memory"
        assert not (shared and traits.remote), "workers on other hosts cannot share memory"
        assert not (shared and traits.inherits_memory), "shared memory need not be inherited"
        assert not (shared and traits.survives_worker_death), (
            "a worker that shares the caller's memory dies together with the caller"
        )
        assert traits.rank >= 0, f"rank is {traits.rank}"

    def test_availability_is_cheap(self, backend: Backend) -> None:
        """Asking for availability starts nothing"""
        before = belongings()
        state = backend.availability()
        assert isinstance(state, Availability), f"availability() returned {state!r}"
        after = belongings()
        assert after.processes <= before.processes, "availability() started a process"
        assert after.threads <= before.threads, "availability() started a thread"

    def test_availability_is_honest(self, backend: Backend) -> None:
        """What is called usable opens and works; what is not says why and refuses to open"""
        state = backend.availability()
        request = OpenRequest(itself, self._workers(backend), options=self.options)
        if state.usable:
            try:
                with self._open(backend, itself) as driver:
                    (outcome,) = driver.run([chunk([1])])
            except BackendUnavailable as error:
                raise AssertionError(f"called usable, but open() failed: {error}") from error
            assert outcome.values == [1], f"called usable, but it returned {outcome.values!r}"
            return
        assert state.reason, "called not usable without a reason"
        assert state.remedy, f"called not usable ({state.reason}) without a remedy"
        try:
            session = backend.open(request)
        except (BackendUnavailable, ImportError):  # users are told of either as the former
            return
        session.close(cancel=True)
        raise AssertionError(f"called not usable ({state.reason}), but it opened")

    def test_capacity(self, backend: Backend) -> None:
        """Capacity is at least one worker"""
        from amorsize.probes import limits

        self._usable(backend)
        capacity = backend.capacity(limits())
        assert isinstance(capacity, Capacity), f"capacity() returned {capacity!r}"
        workers = capacity.workers
        assert isinstance(workers, int) and workers >= 1, f"capacity is {workers!r} workers"
        assert capacity.cores > 0, f"capacity is {capacity.cores!r} cores"
        memory = capacity.memory_per_worker_bytes
        assert memory is None or memory > 0, f"memory per worker is {memory!r} bytes"

    def test_interpreters(self, backend: Backend, tmp_path: Path) -> None:
        """Workers that share an interpreter, and its lock, say so"""
        from amorsize.probes import limits

        self._usable(backend)
        capacity, traits = backend.capacity(limits()), backend.traits
        slots = capacity.workers
        said = capacity.interpreters_of(slots, traits)
        declared = capacity.interpreters
        assert declared is None or declared >= 1, f"capacity has {declared!r} interpreters"
        workers = self._workers(backend)
        meeting = Meeting(str(tmp_path / "meeting"), workers, self.patience_s / 6)
        with self._open(backend, meeting) as driver:
            outcomes = driver.run(chunks_of(range(workers), 1))
        met, places = zip(*(outcome.values[0] for outcome in outcomes), strict=True)
        needs(all(met), f"{workers} chunks did not run at once")
        found = len(set(places))
        assert found <= said, f"{workers} chunks ran in {found} interpreters, not in {said}"
        assert found == workers or said < slots, (
            f"{workers} chunks ran at once in {found} interpreters, whose locks they share: "
            "capacity(...) must say how many there are, or the traits that there is one"
        )

    def test_options(self, backend: Backend) -> None:
        """Unknown options are refused by name, known ones are described"""
        for name, meaning in backend.options.items():
            assert meaning, f"option {name!r} has no description"
        assert backend.bind({}).name == backend.name, "bind({}) returned another backend"
        try:
            backend.bind({"no_such_option": 1})
        except InvalidArgument as error:
            assert "no_such_option" in str(error), f"the error does not name the option: {error}"
        else:
            raise AssertionError("bind() accepted an option called no_such_option")

    def test_translation(self, backend: Backend) -> None:
        """arguments(plan) unpacks into positive numbers, or is refused"""
        plan = self._plan(backend, square, range(300))
        try:
            arguments = backend.arguments(plan)
        except TranslationUnsupported:
            needs(False, "it offers no arguments of its own")
            return
        unpacked = _unpacked(arguments)
        assert unpacked, "arguments unpack into nothing"
        for name, value in unpacked.items():
            assert isinstance(name, str), f"the argument {name!r} is not a keyword"
            wrong = isinstance(value, int | float) and not (value > 0 and math.isfinite(value))
            assert not wrong, f"argument {name} is {value!r}"

    def test_fallback_costs(self, backend: Backend) -> None:
        """Fallback costs are complete and marked as such"""
        costs = backend.fallback_costs()
        BackendCosts.from_dict(costs.to_dict())  # checks the range of every figure
        for name, figure in costs.figures().items():
            assert figure.origin in ("fallback", "declared"), (
                f"{name} is a default but calls itself {figure.origin}"
            )
        assert costs.slowdown.value >= 1, f"slowdown is {costs.slowdown.value}, below 1"

    def test_import_is_light(self, backend: Backend) -> None:
        """Importing the backend and asking whether it is available import no engine"""
        module = type(backend).__module__
        needs(bool(self.engine_modules), "engine_modules is not set: nothing to look for")
        needs(module != "__main__", "the backend is defined in __main__")
        loaded = _modules_loaded_by(module, backend.name)
        heavy = sorted(set(self.engine_modules) & loaded)
        assert not heavy, f"importing {module} also imported {', '.join(heavy)}"


def _unpacked(arguments: Any) -> dict[str, Any]:
    """What ``**arguments`` gives."""
    mapping = isinstance(arguments, Mapping) or hasattr(arguments, "keys")
    assert mapping, f"arguments of type {type(arguments).__name__} do not unpack with **"
    return dict(**arguments)


_LOAD = """
import importlib, sys
importlib.import_module({module!r})
from amorsize.plugins import registry
known = registry().backends.get({name!r})
if known is not None:
    known.availability()
print(*sys.modules)
"""


def _modules_loaded_by(module: str, name: str) -> set[str]:
    """Modules in a fresh interpreter after it has imported a backend's module."""
    code = _LOAD.format(module=module, name=name)
    path = f"import sys; sys.path[:] = {sys.path!r}\n"
    done = subprocess.run(
        [sys.executable, "-c", path + code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"importing {module} failed:\n{done.stderr}"
    return set(done.stdout.split())
