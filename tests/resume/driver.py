"""A run with a journal, to be killed: ``driver.py BACKEND FOLDER ITEMS KIND``; the backend may be
a start method of multiprocessing.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import amorsize

WORKERS, CHUNK = 2, 4


def work(folder: str, x: int) -> int:
    """Note the call, then take some milliseconds; the note is one write."""
    log = os.open(f"{folder}/calls", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(log, b"%d\n" % x)
    os.close(log)
    time.sleep(0.001 * random.Random(x).uniform(0.5, 4.0))
    return x * x


def generator(count: int) -> Iterator[int]:
    yield from range(count)


def main(backend: str, folder: str, items: int, kind: str) -> None:
    """Run, and write the results down."""
    data: Any = range(items) if kind == "range" else generator(items)
    how: dict[str, Any] = {"backend": backend, "workers": WORKERS, "chunk_size": CHUNK}
    if backend in ("fork", "forkserver", "spawn"):
        how |= {"backend": "multiprocessing", "options": {"start_method": backend}}
    function = partial(work, folder)
    results = amorsize.map(function, data, journal=f"{folder}/run.sqlite", **how)
    with open(f"{folder}/results.part", "w") as file:
        json.dump(results, file)
    os.rename(f"{folder}/results.part", f"{folder}/results")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])
