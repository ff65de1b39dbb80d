"""Order of the contract tests."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that fork come first: Dask and Ray leave threads behind in this process, and forking
    a process with threads is what no engine can make safe.
    """
    items.sort(key=lambda item: 0 if "test_multiprocessing_fork.py" in item.nodeid else 1)
