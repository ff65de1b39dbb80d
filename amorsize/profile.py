"""What the sample found out about the user's function and data. All times in seconds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from amorsize.backend import Traits


class Packing(NamedTuple):
    """What it takes to send one item or one result, measured on the sample."""

    nbytes: float = 0.0
    """Bytes per item when pickled, out-of-band buffers included."""
    dump_s: float = 0.0
    """Seconds to pickle one, on the sending side."""
    load_s: float = 0.0
    """Seconds to unpickle one, on the receiving side."""
    message_s: float = 0.0
    """Seconds to pickle what each message holds besides: classes of a script travel whole."""
    error: str = ""
    """Why it cannot be pickled; empty if it can."""
    buffer_bytes: float = 0.0
    """Bytes of these that are pickled out of band (arrays of numpy)."""
    measured: bool = False
    """False if nothing was measured because it could not change the decision."""

    def times(self, factor: float) -> Packing:
        """The same where it takes so many times as long."""
        return self._replace(
            dump_s=self.dump_s * factor,
            load_s=self.load_s * factor,
            message_s=self.message_s * factor,
        )


UNMEASURED = Packing()


class Sizing(NamedTuple):
    """That seconds follow a size of the items, which tells of those that did not run."""

    what: str
    """The size: ``length``, ``value``, ``bytes``, ``file size``, perhaps of a part."""
    points: int
    """Sampled blocks that show it."""
    exponent: float
    """Power of the size that seconds follow; 1 for a straight line."""
    error: float
    """Standard error of the mean item time that is left, relative to it."""


class Profile(NamedTuple):
    """The measured workload."""

    items: int | None
    """Items in the data, ``None`` if the data does not tell."""
    sampled: int
    """Items already run by the sample; their results are kept."""
    sample_s: float
    """Seconds the sampled items took together."""
    item_s: float
    """Mean seconds per item, the first call left out where others were measured."""
    item_cpu_s: float
    """Mean CPU seconds per item, of all threads and children of the process."""
    item_sd_s: float
    """Standard deviation of the seconds per item, around their trend if there is one."""
    longest_s: float
    """Longest time of one sampled item, the first left out where others were measured."""
    durations: tuple[float, ...]
    """Seconds per item of each timed block, in order of position in the data; where seconds follow
    a size, those expected of items all over the data, in ascending order."""
    first_call_s: float
    """Seconds of the very first call."""
    warmup_s: float
    """Seconds of the first call beyond a usual one: what a fresh worker pays again."""
    gil_share: float
    """Part of the time in which no other thread of the process could run Python code."""
    gil_measured: bool
    """False if the sample was too short to tell and the GIL is assumed held."""
    waiting_share: float
    """Part of the time spent off the processor (I/O, sleep), 0 to 1."""
    inner_cores: float
    """Cores one call keeps busy by itself; above 1 if the function is parallel inside."""
    item_rss_bytes: int
    """Memory that running an item takes beyond what the process had, in bytes."""
    inputs: Packing = UNMEASURED
    """What sending an item takes."""
    outputs: Packing = UNMEASURED
    """What sending a result takes."""
    function_bytes: int | None = None
    """Size of the pickled function in bytes, ``None`` if it was not needed."""
    function_error: str = ""
    """Why the function cannot be pickled; empty if it can or was not tried."""
    trend: float = 0.0
    """Change of the seconds per item from the first item to the last, over their mean: 1 if the
    last takes three times as long as the first. 0 where none shows, and for streams, of which
    only the front is seen."""
    resumed: int = 0
    """Items with a result in a journal when the sample began."""
    fault_s: float = 0.0
    """Seconds of an item in which the system gives it memory, page by page: threads of one process
    get theirs in turns. 0 where it takes little, or where the system does not tell."""
    item_alone_s: float = 0.0
    """Mean seconds per item where numerical libraries may use one thread only, as in a worker with
    one core. 0 if they use no more anyway, or if that was not measured."""
    sizing: Sizing | None = None
    """The size of the items that their seconds follow, ``None`` if they follow none."""
    new_bytes: float = 0.0
    """Bytes of new memory that the system gives an item, and fills with zeros; 0 where that is
    little, or where the system does not tell."""
    buffer_bytes: float = 0.0
    """Bytes of the large buffers (arrays) that an item and its result consist of."""
    gil_earlier: bool = False
    """Whether the GIL share is that of an earlier plan of this process, whose items were alike."""
    streamed: bool = False
    """Whether only the caller can read items, as from a stream: they travel to workers that see its
    memory, too."""
    gil_moments: bool = False
    """Whether the function lets go of the lock so often, and for so short, that threads would wait
    for each other more than they run: it counts as held all the time then."""
    remembered_share: float = 0.0
    """Part of the items left that the function's own cache will know by then; item times are means
    over these, too."""
    waking_s: float = 0.0
    """CPU seconds that a wait as long as an item's took by itself beside the sample; 0 where items
    do not wait, or where that plays no part."""

    @property
    def remaining(self) -> int | None:
        """Items still to run."""
        return None if self.items is None else max(0, self.items - self.sampled - self.resumed)

    @property
    def serial_s(self) -> float | None:
        """Predicted seconds of the plain loop over the remaining items."""
        return None if self.remaining is None else self.remaining * self.item_s

    def times(self, factor: float) -> Profile:
        """The same of items that take so many times as long, on average and around it."""
        return self._replace(
            item_s=self.item_s * factor,
            item_cpu_s=self.item_cpu_s * factor,
            item_alone_s=self.item_alone_s * factor,
            item_sd_s=self.item_sd_s * factor,
        )

    def travels_to(self, traits: Traits) -> bool:
        """Whether items are sent to the workers of such an engine."""
        return not traits.shares_memory and (self.streamed or not traits.inherits_memory)

    @property
    def memory_bytes(self) -> float:
        """Bytes that an item moves through memory at least: each buffer read or written once,
        each new page filled with zeros once.
        """
        return self.new_bytes + self.buffer_bytes

    @property
    def relative_error(self) -> float:
        """Standard error of the mean item time, relative to it; 1 if only one call was seen."""
        if self.sizing is not None:
            return self.sizing.error
        if len(self.durations) < 2 or self.item_s <= 0:
            return 1.0
        return self.item_sd_s / self.item_s / math.sqrt(len(self.durations))

    def to_dict(self) -> dict[str, Any]:
        """The profile as plain data."""
        told = {"inputs": self.inputs._asdict(), "outputs": self.outputs._asdict()}
        sizing = None if self.sizing is None else self.sizing._asdict()
        return self._asdict() | told | {"sizing": sizing}
