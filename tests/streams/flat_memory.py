"""Streams endless data to a slow consumer and prints the memory of this process as it goes.

python tests/streams/flat_memory.py --seconds 60 --backend multiprocessing
"""

from __future__ import annotations

import argparse
import itertools
import os
import time

import psutil

import amorsize


def work(x: int) -> bytes:
    """A result of a tenth of a megabyte."""
    return bytes(100_000) + x.to_bytes(8)


def main() -> int:
    """0 if memory grew by less than 20 MB after the first fifth of the time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--backend", default="multiprocessing")
    wanted = parser.parse_args()
    process, begin = psutil.Process(os.getpid()), time.monotonic()
    stream = amorsize.imap(work, itertools.count(), backend=wanted.backend, workers=2)
    early, most, taken = 0, 0, 0
    for _ in stream:
        taken += 1
        time.sleep(0.001)
        elapsed, rss = time.monotonic() - begin, process.memory_info().rss
        if elapsed < wanted.seconds / 5:
            early = max(early, rss)
        most = max(most, rss)
        if elapsed > wanted.seconds:
            break
    grown = (most - early) / 1e6
    print(f"{wanted.backend}: {taken} results; {early / 1e6:.0f} MB, then {grown:+.1f} MB")
    return 0 if grown < 20 else 1


if __name__ == "__main__":
    raise SystemExit(main())
