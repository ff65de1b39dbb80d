"""What sending items and results takes, measured on those of the sample."""

from __future__ import annotations

import mmap
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from amorsize.judge import is_placeholder
from amorsize.packing import pack
from amorsize.profile import Packing

if TYPE_CHECKING:
    from amorsize.sampler import Sample

_PACK_BUDGET_S = 0.002
_LARGE_BYTES = 256_000
"""Smaller buffers may stay in the caches of a core."""
_SMALL_BYTES = 50_000
"""Messages of one item up to this size are tried again, to tell the item's from the message's."""
_MOMENT_S, _FEW = 5e-6, 20
"""Seconds in which no item moves so many bytes through memory, and items that are looked at."""
_TRIAL_BYTES = 1 << 20
"""Of a larger buffer only so much is copied in a trial: the rest takes its time in proportion."""


def measure_packing(sample: Sample, *, inputs: bool) -> tuple[Packing, Packing]:
    """What sending an item and a result takes, measured on sampled ones. Pickling an item has
    effects of its own for some classes: it happens here only if ``inputs`` asks for it.
    """
    values = [value for _, block in sample.results[-3:] for value in block[:200]]
    if sample.errors:
        values = [value for value in values if not is_placeholder(value)]
    outputs = _packing(values, by_value=False)
    if not inputs:
        return Packing(), outputs
    return _packing(list(sample.recent_items[:200]), by_value=True), outputs


def large_buffers(sample: Sample) -> float:
    """Bytes of the large buffers that an item and its result consist of, on average, as far as they
    can be seen without running code of theirs.
    """
    if sample.profile.item_s < _MOMENT_S:
        return 0.0
    results = [value for _, block in sample.results[-_FEW:] for value in block[:_FEW]]
    return _mean_buffers(sample.recent_items[:_FEW]) + _mean_buffers(results)


def _mean_buffers(values: Sequence[Any]) -> float:
    return sum(map(_buffers, values)) / len(values) if values else 0.0


def _buffers(value: Any) -> int:
    """Bytes of an array or bytes object, or of those in a tuple; what fits into caches is none."""
    kind = type(value)
    if kind is tuple:
        return sum(_buffers(part) for part in value if type(part) is not tuple)
    if kind is bytes or kind is bytearray:
        nbytes = len(value)
    elif kind.__name__ == "ndarray" and kind.__module__ == "numpy" and value.flags.forc:
        nbytes = int(value.nbytes)
    else:
        return 0
    return nbytes if nbytes >= _LARGE_BYTES else 0


def _packing(values: list[Any], *, by_value: bool) -> Packing:
    """Time round trips, packed as they will be, of as many values as the budget allows: what a
    round trip costs whatever it holds is the chunk's, not the item's.
    """
    if not values:
        return Packing(measured=True)
    try:
        found, fixed = _timed(values[-1:], by_value), Packing()
        if by_value and len(values) > 1 and found.nbytes < _SMALL_BYTES:
            fixed = _of_any_message(values[-2:])
            found = _timed(values[-1:], by_value)  # the first one had things to load
        one_s = found.dump_s - fixed.dump_s + found.load_s - fixed.load_s
        count = int(_PACK_BUDGET_S / max(one_s, 1e-9))
        if len(values) > 1 and count > 1:
            found = _timed(values[-count:], by_value)
    except Exception as error:  # whatever a user's __reduce__ raises
        return Packing(error=f"{type(error).__name__}: {error}", measured=True)
    count = min(max(1, count), len(values))
    return found._replace(
        dump_s=max(0.0, found.dump_s - fixed.dump_s / count),
        load_s=max(0.0, found.load_s - fixed.load_s / count),
        message_s=fixed.dump_s,
    )


def _of_any_message(pair: list[Any]) -> Packing:
    """What two messages of one value each take longer than one of both: classes of a script travel
    whole with each message.
    """
    first, last, both = _timed(pair[:1], True), _timed(pair[1:], True), _timed(pair, True)

    def fixed(one_s: float, other_s: float, both_s: float) -> float:
        return max(0.0, min(one_s, other_s, one_s + other_s - 2 * both_s))

    return Packing(
        dump_s=fixed(first.dump_s, last.dump_s, both.dump_s),
        load_s=fixed(first.load_s, last.load_s, both.load_s),
    )


def _copied_s(buffer: memoryview) -> float:
    """Seconds that a copy of a buffer takes, into memory that the system has just given if that is
    what a large one gets.
    """
    part = buffer[:_TRIAL_BYTES]
    begin = time.perf_counter()
    if part.nbytes < _TRIAL_BYTES:
        bytearray(part)
        return time.perf_counter() - begin
    with mmap.mmap(-1, part.nbytes) as fresh:
        fresh[:] = part
        seconds = time.perf_counter() - begin
    return seconds * buffer.nbytes / part.nbytes


def _timed(values: list[Any], by_value: bool) -> Packing:
    begin = time.perf_counter()
    packed = pack(values, by_value=by_value)
    packed_at = time.perf_counter()
    packed.unpack(lambda buffer: buffer)
    unpacked_at = time.perf_counter()
    # What arrives has been copied into buffers of its own: so must the trial be.
    buffers, copied_s = 0, 0.0
    for buffer in packed.buffers:
        buffers += buffer.raw().nbytes
        copied_s += _copied_s(buffer.raw())
    count = len(values)
    dump_s, load_s = packed_at - begin, unpacked_at - packed_at + copied_s
    return Packing(
        packed.nbytes / count,
        dump_s / count,
        load_s / count,
        buffer_bytes=buffers / count,
        measured=True,
    )
