"""The workloads of the local suite, each made to have one quality, and a table of all there are.

Each is built in the process that runs it, before the clock starts. ``full`` sizes take 0.05 to
2.5 seconds in the plain loop (with few exceptions that a specification fixed), ``smoke`` sizes
a few milliseconds.
"""

from __future__ import annotations

import glob
import math
import os
import random
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from benchmarks import drawn
from benchmarks import functions as f
from benchmarks.everyday import EVERYDAY
from benchmarks.workload import Job, Workload, over

# -- data ------------------------------------------------------------------------------------


def _lognormal(count: int) -> list[float]:
    draw = random.Random(7)
    return [min(200.0, draw.lognormvariate(-0.4, 1.5)) for _ in range(count)]


def _ramp(count: int) -> list[float]:
    return [4.0 * (position + 0.5) / count for position in range(count)]


def _giant(count: int) -> list[float]:
    return [*[1.0] * (count - 1), 300.0 if count > 100 else 20.0]


def _blocks(nbytes: int) -> Callable[[int], list[bytes]]:
    return lambda count: [random.Random(n).randbytes(nbytes) for n in range(count)]


def _arrays(nbytes: int) -> Callable[[int], list[Any]]:
    def build(count: int) -> list[Any]:
        import numpy as np

        return [np.random.default_rng(n).random(nbytes // 8) for n in range(count)]

    return build


def _sources(count: int) -> list[str]:
    paths = sorted(glob.glob(os.path.join(os.path.dirname(os.__file__), "*.py")))
    return paths[:count]


def _documents(count: int) -> list[list[str]]:
    """Documents of random words, short and long ones alternating."""
    draw, letters = random.Random(5), "abcdefghijklmnopqrstuvwxyz"
    lengths = (1000 + (500 if n % 2 else -500) for n in range(count))
    return [["".join(draw.choices(letters, k=20)) for _ in range(n)] for n in lengths]


def _generator(count: int) -> Job:
    def numbers() -> Iterator[int]:
        yield from range(count)

    return Job(f.burn_1ms, numbers)


def _captured(count: int) -> Job:
    return Job(partial(f.look_up, random.Random(1).randbytes(40_000_000)), lambda: range(count))


def _squares(count: int) -> Job:
    return Job(lambda x: x * x, lambda: range(count))


def _convolution(count: int) -> Job:
    import numpy as np

    rng = np.random.default_rng(0)
    image = rng.random((3000, 3000))
    kernels = [rng.random((4, 4)) for _ in range(count)]
    return Job(partial(f.convolve_strided, image), lambda: kernels)


def _censored(sd: float, data_bytes: int = 0, output_bytes: int = 0) -> Callable[[int], list[Any]]:
    """Gaussian durations with mean 1 us, cut off at zero; one input for all tasks."""

    def build(count: int) -> list[Any]:
        data = None
        if data_bytes:
            import numpy as np

            data = np.ones(data_bytes, dtype=np.byte)
        draw = random.Random(42)
        return [(max(0.0, draw.gauss(1e-6, sd)), data, output_bytes) for _ in range(count)]

    return build


def _cyclic(shuffled: bool) -> Callable[[int], list[Any]]:
    """A squared sine wave of durations up to 10 ms (a tenth of joblib's)."""

    def build(count: int) -> list[Any]:
        step = (4 * math.pi - 1) / max(1, count - 1)
        jobs = [(0.01 * math.sin(1 + n * step) ** 2, None, 0) for n in range(count)]
        if shuffled:
            random.Random(42).shuffle(jobs)
        return jobs

    return build


# -- the suite -------------------------------------------------------------------------------

_ALL = (
    Workload(
        "short_100us",
        "CPU work of 0.1 ms",
        over(f.burn_100us, range),
        5000,
        40,
        cluster=3000,
        suite="",
    ),
    Workload(
        "long_100ms",
        "CPU work of 100 ms",
        over(f.burn_ms, lambda n: [100.0] * n),
        20,
        2,
        cluster=20,
        suite="",
    ),
    Workload("even_1ms", "even CPU work of 1 ms", over(f.burn_1ms, range), 1000, 20, cluster=500),
    Workload(
        "tiny_sqrt",
        "100,000 square roots: over before workers could start",
        over(math.sqrt, lambda n: [float(x) for x in range(n)]),
        100_000,
        1000,
        cluster=5000,
    ),
    Workload(
        "short_10us", "CPU work of 10 us", over(f.burn_10us, range), 50_000, 500, cluster=10000
    ),
    Workload(
        "lognormal", "heavy-tailed CPU work", over(f.burn_ms, _lognormal), 500, 20, cluster=300
    ),
    Workload(
        "ascending",
        "data sorted by cost, cheap first",
        over(f.burn_ms, _ramp),
        500,
        10,
        cluster=300,
    ),
    Workload(
        "descending",
        "data sorted by cost, expensive first",
        over(f.burn_ms, lambda n: _ramp(n)[::-1]),
        500,
        10,
    ),
    Workload(
        "giant_last",
        "1 ms each, and 300 ms at the end",
        over(f.burn_ms, _giant),
        500,
        20,
        cluster=300,
    ),
    Workload(
        "waiting", "pure waiting, 10 ms", over(f.wait_10ms, range), 200, 4, waits=True, cluster=100
    ),
    Workload(
        "half_waiting",
        "4 ms of waiting, 4 ms of CPU",
        over(f.half_waiting, range),
        150,
        4,
        waits=True,
    ),
    Workload("sha_2MB", "C code that releases the GIL", over(f.sha256, _blocks(2_000_000)), 150, 4),
    Workload("np_sort", "numpy sorts 1.6 MB", over(f.median_by_sort, _arrays(1_600_000)), 80, 4),
    Workload(
        "large_in",
        "4 MB arrays in",
        over(f.summarise, _arrays(4_000_000)),
        75,
        4,
        cluster=40,
        memory_bytes=600_000_000,
    ),
    Workload(
        "large_out",
        "4 MB arrays out",
        over(f.random_array, lambda n: [(seed, 4_000_000) for seed in range(n)], "numpy.random"),
        60,
        3,
        cluster=30,
        memory_bytes=600_000_000,
    ),
    Workload(
        "large_out_8MB",
        "8 MB arrays out",
        over(f.random_array, lambda n: [(seed, 8_000_000) for seed in range(n)], "numpy.random"),
        40,
        3,
        memory_bytes=1_000_000_000,
    ),
    Workload(
        "captured_40MB", "function with a captured 40 MB table", _captured, 300, 4, cluster=60
    ),
    Workload(
        "state_100ms",
        "100 ms of state built per worker",
        over(f.with_state, range),
        300,
        3,
        cluster=200,
    ),
    Workload(
        "real_files", "parse stdlib sources", over(f.parse_file, _sources), 150, 4, cluster=100
    ),
    Workload("generator", "1 ms, from a generator of unknown length", _generator, 500, 10),
    Workload(
        "few_long", "5 items of 300 ms", over(f.burn_ms, lambda n: [300.0] * n), 5, 1, cluster=6
    ),
    Workload("issue2_lambda", "lambda x: x*x over a million", _squares, 1_000_000, 2000),
    Workload("issue2_1ms", "4,000 x 1 ms", over(f.burn_1ms, range), 4000, 20, quick=False),
    Workload(
        "joblib_high_var",
        "joblib's bench_auto_batching: sleeps, sd 1 ms",
        over(f.sleep_noop, _censored(1e-3)),
        2500,
        20,
        waits=True,
    ),
    Workload(
        "joblib_low_var",
        "joblib's bench_auto_batching: sleeps, sd 10 us",
        over(f.sleep_noop, _censored(1e-5)),
        5000,
        50,
        waits=True,
    ),
    Workload(
        "joblib_cyclic",
        "joblib's bench_auto_batching: cyclic trend",
        over(f.sleep_noop, _cyclic(False)),
        300,
        6,
        waits=True,
    ),
    Workload(
        "joblib_shuffled",
        "joblib's bench_auto_batching: the same, shuffled",
        over(f.sleep_noop, _cyclic(True)),
        300,
        6,
        waits=True,
    ),
    Workload(
        "joblib_20MB_in",
        "joblib's bench_auto_batching: 20 MB in, 100 kB out",
        over(f.sleep_noop, _censored(2e-3, 20_000_000, 100_000)),
        200,
        2,
        waits=True,
    ),
    Workload("mp_convolution", "multiprocessing_benchmarks: one large image", _convolution, 40, 2),
    Workload(
        "mp_prefixes",
        "multiprocessing_benchmarks: per-worker state, uneven documents",
        over(f.popular_prefixes, _documents),
        100,
        2,
    ),
    Workload(
        "mp_expensive_start",
        "multiprocessing_benchmarks: a model that takes 200 ms to load",
        over(f.evaluate, range, "numpy.random"),
        60,
        2,
    ),
)

WORKLOADS = {workload.name: workload for workload in (*_ALL, *EVERYDAY)}
"""All workloads by name, but for those that are drawn."""


def find(name: str) -> Workload | None:
    """The workload of that name, drawn if it is such a name."""
    return WORKLOADS.get(name) or drawn.workload(name)


def named(name: str) -> Workload:
    """The workload of that name; ``KeyError`` if there is none."""
    found = find(name)
    if found is None:
        raise KeyError(name)
    return found
