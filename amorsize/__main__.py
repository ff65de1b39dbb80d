"""``python -m amorsize``."""

from __future__ import annotations

from amorsize.cli import main

if __name__ == "__main__":
    main(prog_name="amorsize")
