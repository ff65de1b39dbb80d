"""What was finished when an item failed: it is handed out, and nothing of it runs again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

import amorsize
from amorsize.testing.tasks import append_line, lines_of

BACKENDS = ["auto", "serial", "threads", "multiprocessing"]
MAKE: list[Callable[[int], Iterable[int]]] = [range, lambda n: iter(range(n))]


@pytest.mark.parametrize("make", MAKE, ids=["a range", "a stream"])
@pytest.mark.parametrize("at", [3, 777, 1900])
@pytest.mark.parametrize("backend", BACKENDS)
def test_results_before_the_failing_item_come_first(backend: str, at: int, make: Any) -> None:
    def work(x: int) -> int:
        if x == at:
            raise KeyError(x)
        return -x

    arrived: list[int] = []
    with pytest.raises(KeyError):
        arrived.extend(amorsize.imap(work, make(2000), backend=backend, workers=2))
    assert arrived == [-x for x in range(at)]


@pytest.mark.parametrize("make", MAKE, ids=["a range", "a stream"])
@pytest.mark.parametrize("error", [KeyError, SystemExit])
@pytest.mark.parametrize("on_error", ["raise", "skip"])
@pytest.mark.parametrize("backend", ["auto", "serial"])
def test_no_item_runs_twice_because_another_fails(
    backend: str, on_error: Any, error: type[BaseException], make: Any, tmp_path: Path
) -> None:
    """Wherever it fails: in the sample, which runs items in blocks, or in a block of the loop."""
    for at in (0, 7, 50, 180):
        calls = str(tmp_path / f"calls{at}")

        def work(x: int, at: int = at, calls: str = calls) -> int:
            append_line(calls, x)
            if x == at:
                raise error
            return x

        how: dict[str, Any] = {"backend": backend, "on_error": on_error}
        journal = tmp_path / f"run{at}.sqlite"
        if on_error == "skip" and error is KeyError:
            assert amorsize.map(work, make(200), **how) == [x for x in range(200) if x != at]
            assert sorted(map(int, lines_of(calls))) == list(range(200))
            continue
        for _ in range(2):
            with pytest.raises(error):
                amorsize.map(work, make(200), journal=journal, **how)
        ran = sorted(map(int, lines_of(calls)))
        assert ran.count(at) == 2
        assert len(set(ran)) == len(ran) - 1
