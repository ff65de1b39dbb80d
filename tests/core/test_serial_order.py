"""The caller's loop over what workers have left: the error is the plain loop's."""

from __future__ import annotations

from amorsize.feed import Feed
from amorsize.judge import Judge
from amorsize.report import RunReport
from amorsize.schedule import fixed
from amorsize.serial import SerialRun
from amorsize.source import source_of


def test_an_item_before_the_one_that_has_raised_may_raise_too() -> None:
    ran: list[int] = []

    def fails_late(x: int) -> int:
        ran.append(x)
        if x >= 5:
            raise ValueError(x)
        return x

    report = RunReport("serial", 1)
    judge, feed = Judge(report), Feed(source_of(range(20)), [], fixed(4, 2), item_s=1.0)
    giant = feed.from_all_over([15])
    assert giant is not None
    feed.put_back([giant])
    loop = SerialRun(fails_late, feed, report, judge, 1e-3)
    assert [value for _, values in loop.pieces() for value in values] == [0, 1, 2, 3, 4]
    assert judge.failure.index == 5
    assert ran == [15, 0, 1, 2, 3, 4, 5]
    assert loop.ran.items == len(ran)
