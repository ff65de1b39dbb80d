"""The example plugins use what every author may use, and nothing else."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PLUGINS = Path(__file__).parents[2] / "examples" / "plugins"
PUBLIC = {"amorsize", "amorsize.backend"}
SOURCES = sorted(PLUGINS.glob("*/*.py"))


def test_there_are_two_distributions() -> None:
    assert len(SOURCES) == 2
    assert all(path.with_name("pyproject.toml").exists() for path in SOURCES)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_no_private_name_is_touched(path: Path) -> None:
    import amorsize.backend

    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = {alias.name for alias in node.names if alias.name.startswith("amorsize")}
            assert names <= PUBLIC
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("amorsize"):
            assert node.module in PUBLIC
            assert {alias.name for alias in node.names} <= set(amorsize.backend.__all__)
        elif isinstance(node, ast.Attribute):
            private = node.attr.startswith("_") and not node.attr.startswith("__")
            assert not private, f"{node.attr}, line {node.lineno}"
