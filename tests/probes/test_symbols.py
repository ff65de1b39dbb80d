"""Symbols of real libraries, found in their files; nothing in files that are none."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amorsize.probes.openblas import Library
from amorsize.probes.symbols import offsets

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux only")

SIZE = "blas_cpu_number"


@pytest.fixture(scope="module")
def openblas() -> Path:
    numpy = pytest.importorskip("numpy")
    numpy.ones(1)
    folder = Path(numpy.__file__).parent.parent / "numpy.libs"
    found = [*folder.glob("*openblas*")] if folder.is_dir() else []
    if not found:
        pytest.skip("numpy brings no OpenBLAS")
    return found[0]


def test_a_variable_is_as_far_from_a_function_as_in_the_file(openblas: Path) -> None:
    """Read where the file says, the size of the pool follows what the library is told."""
    library = Library(str(openblas))
    getter = library._function("get_num_threads")
    known = offsets(str(openblas), (getter.__name__, SIZE))
    if SIZE not in known:
        pytest.skip("this build was stripped")
    here = ctypes.cast(getter, ctypes.c_void_p).value
    assert here is not None
    number = ctypes.c_int.from_address(here - known[getter.__name__] + known[SIZE])
    before = getter()
    try:
        for count in (1, before):
            library._call("set_num_threads", count)
            assert number.value == count
    finally:
        library._call("set_num_threads", before)


def test_a_pool_tells_whether_it_is_up_whatever_it_exports(openblas: Path) -> None:
    library = Library(str(openblas))
    if not offsets(str(openblas), (SIZE,)):
        pytest.skip("this build was stripped")
    size = library.size
    assert size is not None
    assert library.pool_threads() >= size - 1


def test_what_is_not_there_is_not_found(openblas: Path, tmp_path: Path) -> None:
    assert offsets(str(openblas), ("no_such_symbol_at_all",)) == {}
    assert offsets(str(tmp_path / "missing"), (SIZE,)) == {}
    (tmp_path / "empty").touch()
    assert offsets(str(tmp_path / "empty"), (SIZE,)) == {}
    assert offsets(__file__, (SIZE,)) == {}


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_do_no_harm(openblas: Path, tmp_path: Path, data: st.DataObject) -> None:
    head = bytearray(openblas.read_bytes()[:4096])
    for at in data.draw(st.lists(st.integers(6, 100), max_size=8)):
        head[at] = data.draw(st.integers(0, 255))
    damaged = tmp_path / f"damaged-{len(list(tmp_path.iterdir()))}"
    damaged.write_bytes(bytes(head))
    assert isinstance(offsets(str(damaged), (SIZE,)), dict)
