"""An item forks, and its child leaves the function: the child ends, and the run is the worker's."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

STRAYS = """
import json, os, sys, threading, amorsize

home = os.getpid()
leaves, how, file = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]

def work(x):
    with open(file, "a") as lines:
        lines.write(f"{x}\\n")
    here = os.getpid() == home and threading.current_thread() is threading.main_thread()
    if x in (40, 77, 97) and not here:
        child = os.fork()
        if not child:
            if leaves == "exits":
                sys.exit(5)
            if leaves == "raises":
                raise ValueError("child")
            return -x
        assert os.WEXITSTATUS(os.waitpid(child, 0)[1]) == (5 if leaves == "exits" else 1)
    return x

def main():
    results = amorsize.map(work, range(100), workers=2, **how)
    if os.getpid() != home:
        os._exit(9)
    calls = sorted(map(int, open(file)))
    print(json.dumps([results == list(range(100)), calls == list(range(100))]))

if __name__ == "__main__":
    main()
"""


def processes(method: str, **how: Any) -> dict[str, Any]:
    return {"backend": "multiprocessing", "options": {"start_method": method}, **how}


@pytest.mark.parametrize(
    "how",
    [
        processes("fork", chunk_size=1),
        processes("fork", chunk_size=1, voices=False),
        processes("forkserver", chunk_size=1, voices=False),
        processes("fork", chunk_size=1, on_error="return", retries=2, backoff=0.0),
        {"backend": "threads"},
        {"backend": "threads", "on_error": "return", "retries": 2, "backoff": 0.0},
    ],
    ids=lambda how: " ".join(str(value) for value in how.values() if isinstance(value, str)),
)
@pytest.mark.parametrize("leaves", ["exits", "raises", "returns"])
def test_a_child_that_leaves_the_function_ends(
    how: dict[str, Any], leaves: str, tmp_path: Path
) -> None:
    (tmp_path / "driver.py").write_text(STRAYS)
    driver, calls = str(tmp_path / "driver.py"), str(tmp_path / "calls")
    command = [sys.executable, driver, leaves, json.dumps(how), calls]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [True, True], done.stderr
    said = {"exits": "", "raises": "ValueError: child", "returns": "RuntimeError: amorsize: "}
    assert said[leaves] in done.stderr
    assert bool(done.stderr) == (leaves != "exits")
