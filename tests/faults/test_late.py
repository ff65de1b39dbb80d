"""A deadline that comes between two items: what is finished is kept all the same."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

import amorsize
from amorsize import guard
from amorsize.errors import DeadlineExceeded
from amorsize.policy import Policy
from amorsize.sampler import _Recorder
from amorsize.source import source_of

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no alarm rings here")

COUNT, AT = 400, 317


class Endless(Sequence[int]):
    """One item never comes: the alarm rings while the loop reads it."""

    def __init__(self, at: int = AT) -> None:
        self.at = at

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: Any) -> Any:
        while index == self.at:
            signal.pause()
        return index


class Interrupted(list[int]):
    """Before the third item is there an alarm rings."""

    def __iter__(self) -> Iterator[int]:
        for position, item in enumerate(super().__iter__()):
            if position == 2:
                signal.raise_signal(signal.SIGALRM)
            yield item


@pytest.mark.parametrize("at", [AT, 1, COUNT // 2], ids=["in the run", "early", "in the sample"])
def test_what_is_finished_is_kept(at: int) -> None:
    how: dict[str, Any] = {"backend": "serial", "deadline": 0.3}
    results = amorsize.map(abs, Endless(at), on_error="return", **how)
    assert results[:at] == list(range(at))
    late: Any = results[at]
    assert isinstance(late, amorsize.ItemError)
    assert isinstance(late.exception, DeadlineExceeded)
    assert len(results) == COUNT
    assert amorsize.map(abs, Endless(at), on_error="skip", **how)[:at] == list(range(at))


def test_an_error_that_is_not_forgiven_is_told() -> None:
    with pytest.raises(DeadlineExceeded):
        amorsize.map(abs, Endless(), backend="serial", deadline=0.3)


def test_a_sample_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = _Recorder(abs, source_of(range(5)), Policy(on_error="return", deadline=60.0))
    monkeypatch.setattr(recorder, "is_late", lambda error: isinstance(error, DeadlineExceeded))
    loop = recorder._loop(0, Interrupted(range(5)))
    assert loop.values == [0, 1, 2, 3, 4]
    assert loop.error is None


def test_an_alarm_beside_the_loop_takes_no_results(monkeypatch: pytest.MonkeyPatch) -> None:
    alarmed = guard.alarmed

    def rung(
        seconds: float, error: Any, function: Callable[..., Any], *args: Any, **how: Any
    ) -> Any:
        alarmed(seconds, error, function, *args, **how)
        raise error()

    monkeypatch.setattr(guard, "alarmed", rung)
    loop, failures = guard.forgiving_in_time(60.0, 60.0, abs, [1, -2, None], 7)
    assert loop.values == [1, 2, None]
    assert [failure[0] for failure in failures] == [2]
    assert isinstance(loop.error, DeadlineExceeded)
    assert loop.position == 3


def test_the_loop_between_two_items_counts_none_twice() -> None:
    loop, failures = guard.forgiving_in_time(60.0, 60.0, abs, Interrupted(range(5)))
    assert loop.values == [0, 1]
    assert failures == []
    assert isinstance(loop.error, DeadlineExceeded)
