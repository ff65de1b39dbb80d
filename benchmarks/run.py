"""``python benchmarks/run.py ...`` is ``python -m benchmarks ...``, from any directory."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks.__main__ import main  # noqa: E402

main()
