"""Scripts that check something in a process of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def is_fine(folder: Path, script: str) -> None:
    """Run a script from a file: it prints ``fine`` at its end, and nothing else."""
    path = folder / "script.py"
    path.write_text(script)
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, timeout=60.0)
    assert done.stdout == "fine\n", done.stderr
