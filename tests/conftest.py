"""Settings shared by all tests: a private cache, no memory of costs between tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def _private_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests neither read nor write the user's stored costs."""
    patch = pytest.MonkeyPatch()
    patch.setenv("AMORSIZE_CACHE_DIR", str(tmp_path_factory.mktemp("amorsize-cache")))
    yield
    patch.undo()


@pytest.fixture
def calls(tmp_path: Path) -> CallLog:
    """Counts calls across processes."""
    return CallLog(tmp_path / "calls")


class CallLog:
    """A file to which each call appends one line; appending is atomic between processes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, item: object) -> object:
        with self.path.open("a") as file:
            file.write(f"{item}\n")
        return item

    @property
    def items(self) -> list[int]:
        """The items of all calls, sorted."""
        return sorted(int(line) for line in self.path.read_text().splitlines())
