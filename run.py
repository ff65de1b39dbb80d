"""Sets up and runs this project: ``python3 run.py demo`` or ``python3 run.py test``.

Needs Python 3.11 or later with pip, and nothing else: what is missing is installed into a
virtual environment in the folder ``.venv``, once, and again when pyproject.toml has changed.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
USAGE = """usage: python3 run.py COMMAND [arguments]

  demo    parse every source file of the standard library, planned and compared with the loop
  test    run the tests (arguments go to pytest)
  lint    check format, lint and types
"""


def ensure_venv() -> None:
    """Create the virtual environment, anew if it belongs to another Python."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    config = VENV / "pyvenv.cfg"
    if PYTHON.exists() and f"version = {version}." in config.read_text():
        return
    print(f"creating {VENV.name} for Python {version}", flush=True)
    venv.create(VENV, with_pip=True, clear=True)


def ensure_installed(extras: str) -> None:
    """Install this checkout with some extras, unless that is done and nothing has changed."""
    wanted = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()
    stamp = VENV / f"installed-{extras or 'core'}"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    target = f"{ROOT}[{extras}]" if extras else str(ROOT)
    print(f"installing amorsize{f'[{extras}]' if extras else ''}", flush=True)
    quiet = ["--quiet", "--disable-pip-version-check"]
    subprocess.run([PYTHON, "-m", "pip", "install", *quiet, "-e", target], check=True)
    stamp.write_text(wanted)


def python(*arguments: str) -> int:
    """Run the environment's Python in the project's root; its exit status."""
    return subprocess.run([PYTHON, *arguments], cwd=ROOT, check=False).returncode


def demo(arguments: list[str]) -> int:
    """The main job on real input."""
    ensure_installed("")
    return python("examples/parse_stdlib.py", *arguments)


def test(arguments: list[str]) -> int:
    """The tests, on real Dask and real Ray."""
    ensure_installed("test")
    return python("-m", "pytest", *arguments)


def lint(arguments: list[str]) -> int:
    """Format, lint, types."""
    ensure_installed("test")
    checks = (["ruff", "format", "--check", "."], ["ruff", "check", "."], ["mypy", *arguments])
    return max(python("-m", *check) for check in checks)


def main() -> int:
    """Run the command named on the command line."""
    commands = {"demo": demo, "test": test, "lint": lint}
    if sys.version_info < (3, 11):
        print("amorsize needs Python 3.11 or later", file=sys.stderr)
        return 2
    if len(sys.argv) < 2 or sys.argv[1] not in commands:
        print(USAGE, file=sys.stderr)
        return 2
    ensure_venv()
    return commands[sys.argv[1]](sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
