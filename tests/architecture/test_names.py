"""What ``import amorsize`` offers by name."""

from __future__ import annotations

import builtins
import re
import subprocess
import sys
from pathlib import Path

import pytest

import amorsize

ERRORS = Path(__file__).parents[2] / "docs" / "errors.md"


def told_errors() -> set[str]:
    """Names in the first column of the tables."""
    cells = re.findall(r"^\| (`[^|]*)", ERRORS.read_text(), re.MULTILINE)
    names = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    return {name for name in names if not hasattr(builtins, name)}


def test_errors_that_are_told_can_be_caught() -> None:
    told = told_errors() | {"AmorsizeError", "SerializationError"}
    assert len(told) > 20
    for name in told:
        assert issubclass(getattr(amorsize, name), amorsize.AmorsizeError), name
    assert told <= set(amorsize.__all__)


def test_all_names_are_there() -> None:
    for name in amorsize.__all__:
        assert getattr(amorsize, name) is not None, name


@pytest.mark.parametrize("first", ["amorsize", "amorsize_dask.session, amorsize"])
def test_events_need_no_import_of_their_own(first: str) -> None:
    code = f"import sys, {first}\nassert 'amorsize.events' not in sys.modules"
    code += "\nprint(amorsize.events.ChunkLost.__name__, amorsize.events is amorsize.events)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "ChunkLost True\n"


def test_no_other_name_is_there_nor_for_type_checkers() -> None:
    with pytest.raises(AttributeError, match="no_such_thing"):
        amorsize.no_such_thing(1)  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="no_such_thing"):
        amorsize.backend.no_such_thing(1)  # type: ignore[attr-defined]
    with pytest.raises(ImportError, match="no_such_thing"):
        from amorsize.testing import no_such_thing  # type: ignore[attr-defined]  # noqa: F401
