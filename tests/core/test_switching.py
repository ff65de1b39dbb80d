"""The switch interval is the caller's own again, whoever has shortened it meanwhile."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from amorsize.monitor import Monitor
from amorsize.switching import switching

OWN_S, SHORT_S = 0.003, 0.00005


@pytest.fixture(autouse=True)
def _own_interval() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(OWN_S)
    yield
    sys.setswitchinterval(before)


def test_the_last_one_restores_what_the_first_one_found() -> None:
    first, second = ExitStack(), ExitStack()
    first.enter_context(switching.shortened(SHORT_S))
    second.enter_context(switching.shortened(SHORT_S))
    first.close()
    assert sys.getswitchinterval() < OWN_S / 2
    second.close()
    assert sys.getswitchinterval() == pytest.approx(OWN_S)


def test_watches_side_by_side_leave_it_as_it_was() -> None:
    """What is done beside the first one begins before that of the second, and ends before it."""
    begun, second_begun, first_over = (threading.Event() for _ in range(3))

    def first() -> None:
        begun.set()
        second_begun.wait(30)

    def second() -> None:
        second_begun.set()
        first_over.wait(30)

    monitors = Monitor(meanwhile=[first]), Monitor(meanwhile=[second])
    monitors[0]._stop.acquire()
    monitors[1]._stop.acquire()
    threads = [threading.Thread(target=monitor._do_meanwhile) for monitor in monitors]
    threads[0].start()
    assert begun.wait(30)
    threads[1].start()
    threads[0].join()
    first_over.set()
    threads[1].join()
    assert sys.getswitchinterval() == pytest.approx(OWN_S)


def test_a_watch_is_judged_by_the_callers_own() -> None:
    with switching.shortened(SHORT_S):
        assert Monitor.needed_s() == pytest.approx(OWN_S)
        assert Monitor()._interval_s == pytest.approx(OWN_S)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_the_callers_own_and_waits_for_nobody() -> None:
    held, over = threading.Event(), threading.Event()

    def hold() -> None:
        with switching._lock:
            held.set()
            over.wait(30)

    thread = threading.Thread(target=hold)
    with switching.shortened(SHORT_S):
        thread.start()
        assert held.wait(30)
        child = os.fork()
        if child == 0:
            same = sys.getswitchinterval() > OWN_S / 2 and switching.usual_s() > OWN_S / 2
            with switching.shortened(SHORT_S):
                pass
            os._exit(0 if same and sys.getswitchinterval() > OWN_S / 2 else 1)
        over.set()
        thread.join()
    assert os.waitpid(child, 0)[1] == 0
