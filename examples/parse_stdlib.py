"""Parse every source file of Python's standard library, as fast as this machine can.

Prints the plan with its reasons, what it predicted and what it took, and the plain loop's time.

    python examples/parse_stdlib.py                  amorsize chooses
    python examples/parse_stdlib.py --backend dask   or you do
    python examples/parse_stdlib.py --all            every backend that is installed
"""

from __future__ import annotations

import argparse
import ast
import sysconfig
import time
from pathlib import Path

import amorsize
from amorsize.errors import BackendUnavailable

BACKENDS = ["auto", "serial", "threads", "multiprocessing", "dask", "ray"]


def parse(path: str) -> tuple[int, int, int]:
    """Lines, functions and classes of a source file; zeros for one that is no valid Python."""
    try:
        source = Path(path).read_bytes()
        tree = ast.parse(source)
    except (SyntaxError, ValueError):  # the test data of the standard library has some
        return 0, 0, 0
    nodes = list(ast.walk(tree))
    functions = sum(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) for node in nodes)
    classes = sum(isinstance(node, ast.ClassDef) for node in nodes)
    return source.count(b"\n"), functions, classes


def sources() -> list[str]:
    """Every Python file of the standard library, installed packages left out."""
    root = Path(sysconfig.get_paths()["stdlib"])
    found = (path for path in root.rglob("*.py") if "site-packages" not in path.parts)
    return sorted(str(path) for path in found)


def run(files: list[str], backend: str, expected: list[tuple[int, int, int]]) -> None:
    """Plan and run on one backend, and compare with the loop's results."""
    plan = amorsize.plan(parse, files, backend=backend)
    results = plan.run()
    print(f"\n== backend={backend!r}\n{plan}\n{plan.report}")
    if results != expected:
        raise SystemExit(f"{backend}: the results differ from the plain loop's")
    print("the results equal the plain loop's")


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--all", action="store_true", help="run on every installed backend")
    parser.add_argument("--limit", type=int, help="parse only this many files")
    chosen = parser.parse_args()
    files = sources()[: chosen.limit]

    begin = time.perf_counter()
    expected = [parse(path) for path in files]
    loop_s = time.perf_counter() - begin
    lines, functions, classes = (sum(column) for column in zip(*expected, strict=True))
    print(f"{len(files)} files, {lines} lines, {functions} functions, {classes} classes")
    print(f"the plain loop takes {loop_s:.3f} s")

    for backend in BACKENDS if chosen.all else [chosen.backend]:
        try:
            begin = time.perf_counter()
            run(files, backend, expected)
            total = time.perf_counter() - begin
            print(f"plan and run: {total:.3f} s, {loop_s / total:.2f} times the plain loop's speed")
        except BackendUnavailable as error:
            print(f"\n== backend={backend!r}\nskipped: {error}")


if __name__ == "__main__":
    main()
