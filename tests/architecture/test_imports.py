"""Who may import whom, and what an import may cost."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = {
    "dask",
    "distributed",
    "ray",
    "numpy",
    "pandas",
    "rich",
    "matplotlib",
    "psutil",
    "multiprocessing.pool",
    "concurrent.futures.process",
    "cloudpickle",
    "statistics",
}
ENGINES = {"dask", "distributed", "ray", "joblib", "loky", "mpire"}
ADAPTERS = {"amorsize_local", "amorsize_dask", "amorsize_ray", "amorsize_joblib"}
PUBLIC = {
    "amorsize",
    "amorsize.backend",
    "amorsize.errors",
    "amorsize.hookspecs",
    "amorsize.probes",
}


def loaded_after(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "code",
    [
        "import amorsize",
        "import amorsize; amorsize.plan; amorsize.ray_map; amorsize.Plan",
        "import amorsize; amorsize.map(abs, range(1000))",
        "import amorsize; amorsize.plan(abs, range(10)).explain()",
        "from amorsize.plugins import registry as r\n"
        "[b.availability() for b in r().backends.values()]",
        "import amorsize, amorsize_local, amorsize_dask, amorsize_ray",
    ],
)
def test_nothing_heavy_is_loaded(code: str) -> None:
    assert not loaded_after(code) & HEAVY


def test_what_a_first_map_needs_is_loaded_before() -> None:
    code = "import sys, amorsize; before = set(sys.modules)\nfrom amorsize.plugins import registry"
    code += "\nregistry(); assert set(sys.modules) == before, set(sys.modules) - before"
    assert loaded_after(code) >= ADAPTERS - {"amorsize_joblib"}


@pytest.mark.parametrize("module", ["amorsize_local.server", "amorsize_dask.session"])
def test_what_a_worker_loads_first_leaves_out_the_planner(module: str) -> None:
    assert not loaded_after(f"import {module}") & {"amorsize.api", "amorsize.planner"}


def test_items_may_plan_in_a_worker() -> None:
    code = "import amorsize_dask.session\nfrom amorsize import *\nassert map(abs, [-1]) == [1]"
    assert "amorsize.planner" in loaded_after(code)


def modules(folder: str) -> Iterator[tuple[Path, set[str]]]:
    for path in sorted((ROOT / folder).rglob("*.py")):
        names: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module)
        yield path, names


def test_the_core_knows_no_engine_and_no_adapter() -> None:
    for path, names in modules("amorsize"):
        tops = {name.partition(".")[0] for name in names}
        assert not tops & (ENGINES | ADAPTERS), path
        assert "multiprocessing.pool" not in names, path


def test_adapters_use_public_modules_only() -> None:
    for path, names in modules("adapters"):
        ours = {name for name in names if name.partition(".")[0] == "amorsize"}
        assert ours <= PUBLIC, path
        other = ADAPTERS - {path.parent.name}
        assert not {name.partition(".")[0] for name in names} & other, path


def test_modules_stay_readable() -> None:
    for folder in ("amorsize", "adapters"):
        for path, _ in modules(folder):
            assert len(path.read_text().splitlines()) <= 500, path
