"""Copies of large items: memory is used again, but never while anybody can see it."""

from __future__ import annotations

import sys
import threading

import pytest

from amorsize.rooms import LARGE_BYTES, LEAST_BYTES, Pages, Rooms, copied

SIZE = 2 * LEAST_BYTES


def filled(number: int) -> bytes:
    return bytes([number]) * SIZE


@pytest.mark.parametrize("size", [0, 7, LARGE_BYTES, LARGE_BYTES + 4097])
def test_copies_are_equal_and_writable(size: int) -> None:
    content = bytes(range(256)) * (size // 256) + bytes(size % 256)
    copy = copied(memoryview(content))
    assert copy == content
    copy += b"more"  # nothing of ours holds it
    assert len(copy) == size + 4


@pytest.mark.parametrize("quick", [True, False])
def test_pages_are_those_that_took_less_time_lately(quick: bool) -> None:
    """Both are tried, now and then again: what was slow may be quick later."""
    pages, taken = Pages(), list[bool]()

    def copy(better: bool) -> None:
        taken.append(pages.huge())
        pages.took(taken[-1], 1.0 if taken[-1] == better else 4.0, 1)

    for _ in range(200):
        copy(quick)
    assert 2 <= 200 - taken.count(quick) <= 10
    for _ in range(600):
        copy(not quick)
    assert taken[-50:].count(not quick) >= 48


def test_a_copy_of_an_array_in_order_of_columns_is_what_lies_in_memory() -> None:
    np = pytest.importorskip("numpy")
    array = np.asfortranarray(np.arange(1_000_000.0).reshape(1000, 1000))
    assert copied(array) == array.tobytes(order="F")


def test_what_is_held_stays_as_it_is() -> None:
    rooms = Rooms()
    held = rooms.copied(filled(1))
    view = memoryview(rooms.copied(filled(2)))[5:7]
    others = [rooms.copied(filled(number)) for number in range(3, 20)]
    assert held == filled(1)
    assert bytes(view) == b"\2\2"
    assert others == [filled(number) for number in range(3, 20)]


@pytest.mark.skipif(
    sys.implementation.name != "cpython" or not getattr(sys, "_is_gil_enabled", lambda: True)(),
    reason="memory is used again only where references are counted as they are taken",
)
def test_memory_that_nobody_holds_is_used_again() -> None:
    rooms = Rooms()
    for number in range(50):
        copy = rooms.copied(filled(number))
        assert copy == filled(number)
        copy[0] = 77  # the caller's own
    assert rooms.nbytes <= 2 * SIZE


def test_no_more_is_kept_than_allowed() -> None:
    rooms = Rooms(most_bytes=3 * SIZE)
    held = [rooms.copied(filled(number)) for number in range(10)]
    assert rooms.nbytes <= 3 * SIZE
    assert held == [filled(number) for number in range(10)]
    small = rooms.copied(b"small")
    assert small == b"small"


def test_threads_never_share_a_copy() -> None:
    rooms, wrong = Rooms(), list[int]()

    def work(number: int) -> None:
        for _ in range(200):
            copy = rooms.copied(filled(number))
            if copy != filled(number):
                wrong.append(number)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not wrong
