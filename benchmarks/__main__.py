"""``python -m benchmarks [local | clusters | quick | overhead | memory | truth ...] [options]``."""

from __future__ import annotations

import importlib
import sys

from benchmarks.harness import end_cleanly

COMMANDS = {
    "local": "benchmarks.suite",
    "clusters": "benchmarks.clusters",
    "quick": "benchmarks.quick",
    "overhead": "benchmarks.overhead",
    "memory": "benchmarks.memory",
    "plugins": "benchmarks.plugins",
    "truth": "benchmarks.truth",
    "repeatability": "benchmarks.repeatability",
    "slow_dask": "benchmarks.slow_dask",
    "safety": "benchmarks.safety",
    "regret": "benchmarks.regret",
    "crowds": "benchmarks.crowds",
}


def main() -> None:
    """Run the named benchmark, the local suite by default."""
    name = "local"
    if len(sys.argv) > 1 and not sys.argv[1].startswith("-"):
        name = sys.argv.pop(1)
    if name not in COMMANDS:
        raise SystemExit(f"no benchmark {name!r}; there are {', '.join(COMMANDS)}")
    end_cleanly()
    importlib.import_module(COMMANDS[name]).main()


if __name__ == "__main__":
    main()
