"""The caller forks in the middle of a run: the child does no harm to it, however it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

FORKS = """
import json, os, sys, amorsize
method, end, folder = sys.argv[1:]

def work(x):
    with open(f"{folder}/calls", "a") as file:
        file.write(f"{x}\\n")
    return x

def fork(stream):
    child = os.fork()
    if not child:
        if end == "closes":
            stream.close()
            os._exit(0)
        if end == "goes on":
            try:
                next(value for value in stream if value > 1000)
            except RuntimeError:
                os._exit(0)
            os._exit(3)
        sys.exit(0)
    assert os.waitpid(child, 0)[1] == 0

def main():
    how = {"backend": "multiprocessing", "options": {"start_method": method}}
    plan = amorsize.plan(work, range(2000), workers=2, chunk_size=5, **how)
    stream = plan.stream(journal=f"{folder}/journal")
    got = [next(stream) for _ in range(200)]
    fork(stream)
    there = os.path.exists(f"{folder}/journal-wal")
    got += [next(stream) for _ in range(200)]
    fork(stream)
    got += list(stream)
    with open(f"{folder}/calls") as file:
        calls = sorted(map(int, file))
    fine = got == list(range(2000))
    print(json.dumps([fine, calls == got, plan.report.lost_workers, there]))

if __name__ == "__main__":
    main()
"""


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
@pytest.mark.parametrize("end", ["exits", "closes", "goes on"])
def test_a_child_of_the_caller_does_no_harm(method: str, end: str, tmp_path: Path) -> None:
    (tmp_path / "driver.py").write_text(FORKS)
    command = [sys.executable, str(tmp_path / "driver.py"), method, end, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [True, True, 0, True], done.stderr
    assert not done.stderr
