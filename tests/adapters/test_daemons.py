"""The pool of daemon threads behind the backend ``threads``."""

from __future__ import annotations

import threading

from amorsize_local.daemons import DaemonThreads


def test_threads_without_work_leave_while_the_last_job_runs() -> None:
    pool, release = DaemonThreads(3), threading.Event()
    last = pool.submit(release.wait, 30.0)
    others = [pool.submit(abs, -number) for number in range(3)]
    assert [future.result(10.0) for future in others] == [0, 1, 2]
    pool.all_out()
    busy = [thread for thread in pool._threads if not _ends(thread)]
    release.set()
    assert last.result(10.0)
    assert len(busy) == 1
    pool.shutdown()
    assert not any(thread.is_alive() for thread in pool._threads)


def _ends(thread: threading.Thread) -> bool:
    thread.join(0.5)
    return not thread.is_alive()


def test_a_job_that_comes_when_all_have_left_still_runs() -> None:
    pool = DaemonThreads(2)
    early = [pool.submit(abs, -number) for number in range(20)]
    pool.all_out()
    for thread in list(pool._threads):
        thread.join(10.0)
    assert pool.submit(abs, -99).result(10.0) == 99
    assert [future.result(10.0) for future in early] == list(range(20))
    pool.shutdown()
    assert not any(thread.is_alive() for thread in pool._threads)
