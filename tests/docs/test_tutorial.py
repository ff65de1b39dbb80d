"""The tutorial for authors of backends, followed to the letter in a fresh environment: its files
are written, its commands are run, its output is compared.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.measures

ROOT = Path(__file__).parents[2]
TUTORIAL = ROOT / "docs" / "plugin-tutorial.md"
BLOCK = re.compile(
    r"(?:^`(?P<named>[\w.]+)`:|`(?P<inline>[\w.]+)`:)?\n\n```(?P<kind>\w+)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
ATTEMPTS = 8
"""Times a command is run whose output is not yet as told: a machine with no core to spare makes
other plans, and says so."""


def steps() -> Iterator[tuple[str, str]]:
    """The tutorial's files and console blocks, in order: file name (or ``$``) and text."""
    for found in BLOCK.finditer(TUTORIAL.read_text()):
        if found["kind"] == "console":
            yield "$", found["text"]
        else:
            name = found["named"] or found["inline"]
            assert name, f"no file name before this block:\n{found['text']}"
            yield name, found["text"]


def commands(console: str) -> Iterator[tuple[str, list[str]]]:
    """Each command of a console block with the output that the tutorial shows."""
    for part in re.split(r"^\$ ", console, flags=re.MULTILINE)[1:]:
        command, *expected = part.rstrip("\n").split("\n")
        yield command, expected


def matches(expected: list[str], output: str) -> bool:
    """Whether the output is the one shown, where ``...`` stands for anything."""
    pattern = re.escape("\n".join(expected)).replace(r"\.\.\.", ".*").replace(r"\ ", r" +")
    return re.search(pattern, output, re.DOTALL) is not None


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """amorsize as a wheel."""
    if given := os.environ.get("AMORSIZE_WHEEL"):
        return Path(given)
    out = tmp_path_factory.mktemp("dist")
    source = tmp_path_factory.mktemp("source") / "amorsize"
    tracked = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True
    )
    for name in tracked.stdout.decode().splitlines():
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).exists():
            target.write_bytes((ROOT / name).read_bytes())
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(out)]
    subprocess.run([*pip, str(source)], check=True)
    return next(out.glob("amorsize-*.whl"))


@pytest.mark.timeout(600)
def test_the_tutorial_works_as_written(tmp_path: Path, wheel: Path) -> None:
    if not index_answers():
        pytest.skip("no package index can be reached")
    (tmp_path / "cache").mkdir()
    constraint = tmp_path / "constraints"
    constraint.write_text(f"amorsize @ {wheel.as_uri()}\n")
    folder = tmp_path / "tutorial"
    folder.mkdir()
    environ = {
        **{k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")},
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PIP_CONSTRAINT": str(constraint),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "AMORSIZE_CACHE_DIR": str(tmp_path / "cache"),
    }
    seen = 0
    activated = ""
    for name, text in steps():
        if name != "$":
            (folder / name).write_text(text)
            continue
        for command, expected in commands(text):
            if command.startswith(". "):
                activated = f"{command} && "
                continue
            follow(activated + command, expected, folder, environ)
            seen += 1
    assert seen >= 8


def follow(command: str, expected: list[str], folder: Path, environ: dict[str, str]) -> None:
    """Run a command of the tutorial; its output must be the one shown."""
    for attempt in range(1, ATTEMPTS + 1):
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=folder,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        told = f"$ {command}\n{done.stdout}"
        assert done.returncode == 0, told
        if matches(expected, done.stdout):
            return
        shown = "\n".join(expected)
        assert attempt < ATTEMPTS, f"{told}\nis not what the tutorial shows:\n{shown}"


def index_answers() -> bool:
    """Whether packages can be installed here."""
    if os.environ.get("PIP_INDEX_URL") or os.environ.get("PIP_FIND_LINKS"):
        return True
    try:
        socket.create_connection(("pypi.org", 443), timeout=5).close()
    except OSError:
        return False
    return True
