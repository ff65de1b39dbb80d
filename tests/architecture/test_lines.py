"""Adapters stay thin: lines of code, docstrings, comments and blank lines left out."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ADAPTERS = ROOT / "adapters"
PLUGINS = ROOT / "examples" / "plugins"
ENGINE = (
    "arena", "channel", "child", "descendants", "forked", "fresh", "link", "server",
    "session", "surroundings", "team", "warm",
)  # fmt: skip
"""Modules of amorsize_local that are no adapter but an engine: pools of our own."""


def lines_of_code(path: Path) -> int:
    """Lines that hold code: docstrings, comments and blank lines left out."""
    text = path.read_text()
    documentation: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            documentation |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = enumerate(text.splitlines(), 1)
    kept = (line for number, line in lines if number not in documentation)
    return sum(1 for line in kept if line.strip() and not line.strip().startswith("#"))


def adapters() -> dict[str, list[Path]]:
    """The modules of each adapter. ``amorsize_local`` has four: one a backend, and one for what
    is up already.
    """
    local = {path.stem: path for path in (ADAPTERS / "amorsize_local").glob("*.py")}
    processes = [local.pop("processes"), local.pop("arguments")]
    found = {"serial": [local.pop("serial")], "threads": [local.pop("threads")]}
    found |= {
        "processes": processes,
        "live": [local.pop("live"), local.pop("plugin"), local.pop("__init__")],
    }
    engine = {local.pop(name) for name in list(local) if name.startswith(ENGINE)}
    assert engine
    assert not local, f"modules of no known adapter: {sorted(local)}"
    for folder in sorted(ADAPTERS.glob("amorsize_*")):
        if folder.is_dir() and folder.name != "amorsize_local":
            found[folder.name] = sorted(folder.glob("*.py"))
    return found


@pytest.mark.parametrize("adapter", adapters())
def test_adapters_stay_thin(adapter: str) -> None:
    assert sum(lines_of_code(path) for path in adapters()[adapter]) <= 250


def test_an_executor_becomes_a_backend_in_few_lines() -> None:
    assert lines_of_code(PLUGINS / "loky_backend" / "amorsize_loky.py") <= 20
