"""A slow consumer keeps little in flight, a fast one and one that comes in bursts keep enough."""

from __future__ import annotations

from collections import deque

from amorsize.backlog import Backlog

WORKERS = 2


def stream(backlog: Backlog, taken: list[float], trip: float, window: int) -> tuple[float, int]:
    """Simulate a consumer that is busy for ``taken`` seconds with each chunk, on workers that send
    each chunk back ``trip`` seconds after it was sent. Returns the seconds that the consumer
    waited, and the chunks that are in flight or ready at the end.
    """
    now, waited, alive = 0.0, 0.0, deque[float]()
    for busy in taken:
        while len(alive) < max(1, min(window, backlog.most)):
            alive.append(now + trip)
        if alive[0] > now:
            backlog.found_none()
            waited += alive[0] - now
            now = alive[0]
        alive.popleft()
        now += busy
        if ready := sum(end <= now for end in alive):
            backlog.found(ready, len(alive))
    return waited, len(alive)


def test_a_slow_consumer_needs_few() -> None:
    waited, alive = stream(Backlog(WORKERS), [0.1] * 100, trip=0.05, window=34)
    assert waited <= 0.05  # for the first one
    assert alive <= 8


def test_a_fast_consumer_gets_the_whole_window() -> None:
    _, alive = stream(Backlog(WORKERS), [0.0] * 100, trip=0.05, window=34)
    assert alive == 33


def test_bursts_find_what_they_need() -> None:
    bursts = ([0.0] * 20 + [1.0]) * 40
    most, _ = stream(Backlog(WORKERS), bursts, trip=0.05, window=34)
    before, _ = stream(Backlog(1 << 20), bursts, trip=0.05, window=34)
    assert most < before + 0.5


def test_a_consumer_that_becomes_slow_and_fast_again() -> None:
    backlog = Backlog(WORKERS)
    stream(backlog, [0.0] * 100, trip=0.05, window=34)
    assert stream(backlog, [0.1] * 300, trip=0.05, window=34)[1] <= 8
    assert stream(backlog, [0.0] * 100, trip=0.05, window=34)[1] == 33
