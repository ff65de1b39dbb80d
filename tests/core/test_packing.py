"""What travels arrives equal, writable, and whole whatever the carrier's protocol."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle
import pytest

from amorsize.errors import FunctionNotLoaded, UnpicklableFunction, UnpicklableItem
from amorsize.packing import FunctionPayload, Packed, pack, pack_function, pack_items
from amorsize.worker import run_packed
from tests.scripts import is_fine


class Carried:
    """A value with a large buffer, as arrays of numpy have."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Carried, (pickle.PickleBuffer(self.data) if protocol >= 5 else bytes(self.data),)


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("out_of_band", [False, True])
def test_packed_values_survive_any_carrier(protocol: int, out_of_band: bool) -> None:
    packed = pack([Carried(bytearray(b"abc"))])
    assert packed.nbytes >= 3
    buffers: list[Any] = []
    callback = buffers.append if out_of_band and protocol == 5 else None
    message = pickle.dumps(packed, protocol=protocol, buffer_callback=callback)
    arrived = pickle.loads(message, buffers=buffers)
    assert isinstance(arrived, Packed)
    (value,) = arrived.unpack()
    assert bytes(value.data) == b"abc"


def test_a_large_stream_is_not_copied_into_the_carriers_own() -> None:
    words = [str(number) for number in range(50_000)]
    buffers: list[Any] = []
    message = pickle.dumps(pack(words), protocol=5, buffer_callback=buffers.append)
    assert len(message) < 1000
    assert pickle.loads(message, buffers=buffers).unpack() == words
    assert pickle.loads(pickle.dumps(pack(words), protocol=5)).unpack() == words


def test_what_arrives_is_writable() -> None:
    packed = pack(Carried(bytearray(b"abc")))
    arrived = Packed(packed.data, tuple(bytes(buffer) for buffer in packed.buffers)).unpack()
    memoryview(arrived.data)[0] = 0


def test_errors_keep_the_large_buffers_they_hold() -> None:
    def fail(x: int) -> None:
        raise ValueError(Carried(bytearray(b"abc")))

    error = run_packed(fail, [1]).unpack().failures[0].exception
    assert isinstance(error, ValueError)
    assert bytes(error.args[0].data) == b"abc"


def test_functions_load_once_per_process() -> None:
    offset = 3
    payload = pack_function(lambda x: x + offset)
    assert payload.load() is payload.load()
    assert payload.load()(4) == 7


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_function_with_a_large_table_survives_any_carrier(protocol: int) -> None:
    table = bytes(200_000)
    payload = pack_function(lambda x: len(table) + x)
    arrived = pickle.loads(pickle.dumps(payload, protocol=protocol))
    assert (arrived.digest, arrived.nbytes) == (payload.digest, payload.nbytes)
    assert arrived.load()(1) == 200_001


def test_a_large_function_is_not_copied_into_the_carriers_own() -> None:
    table = bytes(300_000)
    payload = pack_function(lambda x: len(table) + x)
    buffers: list[Any] = []
    message = pickle.dumps(payload, protocol=5, buffer_callback=buffers.append)
    assert len(message) < 1000
    arrived = pickle.loads(message, buffers=[memoryview(buffers[0]).toreadonly()])
    assert arrived.nbytes == payload.nbytes
    assert arrived.load()(1) == 300_001


def test_errors_name_what_cannot_travel() -> None:
    with pytest.raises(UnpicklableItem) as caught:
        pack_items([1, (x for x in "a"), 2], [10, 20, 30])
    assert caught.value.index == 20
    generator = (x for x in "a")
    with pytest.raises(UnpicklableFunction, match="generator"):
        pack_function(lambda x: generator)
    with pytest.raises(FunctionNotLoaded):
        FunctionPayload("none", b"cnowhere\nnothing\n.").load()


def test_a_remote_traceback_survives_libraries_that_pickle_tracebacks() -> None:
    pytest.importorskip("distributed", reason="Dask is not installed")  # installs tblib's hooks

    def fail(x: int) -> None:
        raise ValueError(x)

    outcome = run_packed(fail, [1]).unpack()
    error = outcome.failures[0].exception
    assert isinstance(error, ValueError)
    assert "in fail" in str(error.__cause__)


def test_an_error_of_a_deep_stack_travels_where_pickle_keeps_tracebacks() -> None:
    # It installs tblib, which teaches that to pickle.
    pytest.importorskip("distributed", reason="Dask is not installed")

    def deep(x: int) -> int:
        return deep(x) + 1

    assert type(run_packed(deep, [1]).unpack().failures[0].exception) is RecursionError


def test_plain_items_do_not_wait_for_an_import() -> None:
    script = """
import sys
from fractions import Fraction
from amorsize.packing import pack_items
items = [(1, "a"), {2: Fraction(1, 2)}, len]
assert pack_items(items, [0, 1, 2]).unpack() == items
print("cloudpickle" in sys.modules)

class Here:
    number = 2

def here(x):
    return x + 1

packed = pack_items([here], [0]), pack_items([Here()], [0])
del here, Here
print(packed[0].unpack()[0](1), packed[1].unpack()[0].number)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "2", "2"]


def test_items_of_modules_that_are_to_travel_by_value_do() -> None:
    module = ModuleType("amorsize_no_such_module")
    exec("class Kind:\n    number = 3\n", module.__dict__)
    sys.modules[module.__name__] = module
    cloudpickle.register_pickle_by_value(module)
    try:
        packed = pack_items([module.Kind()], [0])
    finally:
        cloudpickle.unregister_pickle_by_value(module)
        del sys.modules[module.__name__]
    (item,) = packed.unpack()
    assert item.number == 3


CACHED = """
import copy, functools, pickle, amorsize

@functools.lru_cache(maxsize=5)
def twice(x):
    return 2 * x

@functools.cache
def fibonacci(n):
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)

fibonacci.offset = 1

def uses(x):
    return twice(x) + fibonacci(5) + fibonacci.offset

if __name__ == "__main__":
    how = dict(backend="multiprocessing", options={"start_method": "forkserver"}, workers=2)
    local = functools.cache(lambda x: twice(x))
    for function in (twice, fibonacci, uses, local):
        assert amorsize.map(function, range(40), **how) == [function(x) for x in range(40)]
    assert pickle.loads(pickle.dumps(twice)) is twice and copy.copy(twice) is twice
    print("fine")
"""


def test_functions_with_a_cache_travel_from_a_script(tmp_path: Path) -> None:
    is_fine(tmp_path, CACHED)
