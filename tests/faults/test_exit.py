"""A program that ends with a stream still open: nothing hangs, nothing is said, nothing stays."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

LEAVES = """
import sys, time, amorsize
from amorsize_local.processes import ProcessBackend

def work(x):
    time.sleep(0.001)
    return x

def main():
    global stream
    name = sys.argv[1]
    backend = ProcessBackend(name) if name in ("fork", "forkserver", "spawn") else name
    stream = amorsize.imap(work, iter(range(100_000)), backend=backend, workers=2, chunk_size=9)
    for _ in range(500):
        next(stream)

if __name__ == "__main__":
    main()
"""


@pytest.mark.parametrize("name", ["threads", "fork", "forkserver", "spawn", "dask"])
def test_a_program_may_end_with_a_stream_open(name: str, tmp_path: Path) -> None:
    if name == "dask" and find_spec("distributed") is None:
        pytest.skip("distributed is not installed")
    script = tmp_path / "leaves.py"
    script.write_text(LEAVES)
    done = subprocess.run(
        [sys.executable, str(script), name], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0
    assert not done.stderr


GOES = """
import sys, threading, time, amorsize
from amorsize_local.processes import ProcessBackend

begun = threading.Event()

def work(x):
    time.sleep(0.01)
    return x

def map_on():
    stream = amorsize.imap(work, range(10_000), backend=ProcessBackend(sys.argv[1]), workers=2)
    for number, _ in enumerate(stream):
        if number == 100:
            begun.set()

if __name__ == "__main__":
    threading.Thread(target=map_on, daemon=True).start()
    begun.wait()
"""


@pytest.mark.parametrize("name", ["fork", "forkserver", "spawn"])
def test_a_program_may_end_while_a_daemon_thread_maps(name: str, tmp_path: Path) -> None:
    """The thread ends with it, and does not complain of workers that are gone."""
    script = tmp_path / "goes.py"
    script.write_text(GOES)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(script), name],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0
    assert not done.stderr
