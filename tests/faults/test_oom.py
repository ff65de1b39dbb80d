"""Memory that really runs out: the kernel kills workers in a control group that is too small."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

DRIVER = """
import time, amorsize
home = os.getpid()

def hungry(x):
    if os.getpid() != home:
        block = bytearray(150 << 20)
        block[::4096] = b"x" * len(block[::4096])
        time.sleep(0.1)
    return x

def main():
    plan = amorsize.plan(
        hungry, iter(range(24)), backend="multiprocessing", workers=4, chunk_size=1,
        options={"start_method": "fork"},
    )
    assert plan.run() == list(range(24))
    print("lost", plan.report.lost_workers)
    print(*plan.report.remarks, sep="\\n")

if __name__ == "__main__":
    main()
"""


def test_workers_killed_for_memory_are_fewer_afterwards_and_nothing_is_lost(cgroups: Any) -> None:
    name = f"amorsize-oom-{os.getpid()}"
    try:
        cgroups.make(name, memory=440 << 20)
    except OSError as error:
        pytest.skip(f"this limit cannot be set here: {error}")
    done = subprocess.run(
        [sys.executable, "-c", f"{cgroups.entry(name)}\n{DRIVER}"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lost = int(done.stdout.split()[1])
    assert lost >= 1, "no worker was killed: four of them should not have fitted"
    assert "memory ran out and a worker was killed: from 4 to 2 workers" in done.stdout
