"""What sending items and results takes, measured on those of the sample."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from amorsize.judge import is_placeholder
from amorsize.packing import Packed, pack
from amorsize.profile import Packing

if TYPE_CHECKING:
    from amorsize.sampler import Sample

_PACK_BUDGET_S = 0.002


def measure_packing(sample: Sample, *, inputs: bool) -> tuple[Packing, Packing]:
    """What sending an item and a result takes, measured on sampled ones. Pickling an item has
    effects of its own for some classes: it happens here only if ``inputs`` asks for it.
    """
    values = [value for _, block in sample.results[-3:] for value in block[:200]]
    if sample.errors:
        values = [value for value in values if not is_placeholder(value)]
    outputs = _packing(values)
    return _packing(list(sample.recent_items[:200])) if inputs else Packing(), outputs


def _packing(values: list[Any]) -> Packing:
    """Time pickle round trips of as many values as the budget allows: what a round trip costs
    whatever it holds is the chunk's, not the item's.
    """
    if not values:
        return Packing(measured=True)
    try:
        found = _timed(values[-1:])
        count = int(_PACK_BUDGET_S / max(found.dump_s + found.load_s, 1e-9))
        if len(values) > 1 and count > 1:
            found = _timed(values[-count:])
    except Exception as error:  # whatever a user's __reduce__ raises
        return Packing(error=f"{type(error).__name__}: {error}", measured=True)
    return found


def _timed(values: list[Any]) -> Packing:
    begin = time.perf_counter()
    packed = pack(values)
    packed_at = time.perf_counter()
    # What arrives has been copied into buffers of its own: so must the trial be.
    Packed(packed.data, tuple(memoryview(b).toreadonly() for b in packed.buffers)).unpack()
    end = time.perf_counter()
    count = len(values)
    dump_s, load_s = packed_at - begin, end - packed_at
    buffers = sum(memoryview(buffer).nbytes for buffer in packed.buffers)
    return Packing(
        packed.nbytes / count,
        dump_s / count,
        load_s / count,
        buffer_bytes=buffers / count,
        measured=True,
    )
