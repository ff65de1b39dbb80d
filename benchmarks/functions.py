"""What the workloads call: module-level functions of one item, so that every library can pickle
them. CPU work is a fixed number of iterations, never a wait for the clock: the results are the
same everywhere, and what disturbs a run shows in its time.
"""

from __future__ import annotations

import ast
import hashlib
import os
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

ITERATIONS_PER_MS = 10_000
"""Iterations of :func:`burn` that take about a millisecond on a server core of 2020."""


def burn(iterations: int, seed: int = 1) -> int:
    """Pure-Python work of so many iterations; returns a number that depends on all of them."""
    value = seed & 0x7FFFFFFF
    for _ in range(iterations):
        value = (value * 1103515245 + 12345) & 0x7FFFFFFF
    return value


def burn_1ms(item: int) -> int:
    """One millisecond of CPU, whatever the item."""
    return burn(ITERATIONS_PER_MS, item)


def burn_10us(item: int) -> int:
    """Ten microseconds of CPU."""
    return burn(ITERATIONS_PER_MS // 100, item)


def burn_100us(item: int) -> int:
    """A tenth of a millisecond of CPU."""
    return burn(ITERATIONS_PER_MS // 10, item)


def burn_ms(duration: float) -> int:
    """As many milliseconds of CPU as the item says."""
    return burn(int(duration * ITERATIONS_PER_MS))


def wait_10ms(item: int) -> int:
    """Ten milliseconds of waiting, as for a slow service."""
    time.sleep(0.01)
    return item * 2


def half_waiting(item: int) -> int:
    """Four milliseconds of waiting, then four of CPU."""
    time.sleep(0.004)
    return burn(4 * ITERATIONS_PER_MS, item)


def sha256(block: bytes) -> str:
    """A hash in C that releases the GIL."""
    return hashlib.sha256(block).hexdigest()


def median_by_sort(array: np.ndarray) -> float:
    """Sorts a copy in C, which releases the GIL; returns one number."""
    import numpy as np

    return float(np.sort(array)[len(array) // 2])


def summarise(array: np.ndarray) -> tuple[float, float]:
    """Reads a large array twice, returns two numbers: bound by memory."""
    import numpy as np

    return float((array * array).sum()), float(np.sqrt(array).sum())


def random_array(job: tuple[int, int]) -> np.ndarray:
    """Makes a large array from a seed: what it costs is less than sending it."""
    import numpy as np

    seed, nbytes = job
    return np.random.default_rng(seed).random(nbytes // 8)


def look_up(table: bytes, item: int) -> int:
    """A millisecond of CPU with a large table at hand."""
    step = len(table) // 997
    return burn(ITERATIONS_PER_MS, item) + sum(table[item % step :: step])


_STATE: dict[str, Any] = {}


def with_state(item: int) -> int:
    """Two milliseconds of CPU, after building a state of 100 ms once per process."""
    if "secret" not in _STATE:
        _STATE["secret"] = burn(100 * ITERATIONS_PER_MS, 7)
    secret: int = _STATE["secret"]
    return burn(2 * ITERATIONS_PER_MS, item) ^ secret


def parse_file(path: str) -> tuple[str, int, int]:
    """Parses a source file: its name, its number of functions and of nodes."""
    with open(path, encoding="utf-8", errors="replace") as file:
        nodes = list(ast.walk(ast.parse(file.read())))
    functions = sum(isinstance(node, ast.FunctionDef) for node in nodes)
    return os.path.basename(path), functions, len(nodes)


def sleep_noop(job: tuple[float, Any, int]) -> Any:
    """joblib's stand-in for a task: sleeps, ignores its input, returns so many bytes."""
    duration, _, output_bytes = job
    time.sleep(duration)
    if not output_bytes:
        return None
    import numpy as np

    return np.ones(output_bytes, dtype=np.byte)


def convolve_strided(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Valid 4 x 4 convolution of a large image, every fifth row and column of it."""
    import numpy as np

    stride, width = 5, kernel.shape[0]
    rows = (image.shape[0] - width) // stride + 1
    columns = (image.shape[1] - width) // stride + 1
    out = np.zeros((rows, columns))
    for i in range(width):
        for j in range(width):
            window = image[i : i + rows * stride : stride, j : j + columns * stride : stride]
            out += kernel[width - 1 - i, width - 1 - j] * window
    return out


def popular_prefixes(words: list[str]) -> list[tuple[str, int]]:
    """Counts all prefixes of a document's words, with a table of rare ones kept per process."""
    rare = _STATE.get("rare")
    if rare is None:
        rare = _STATE["rare"] = {chr(97 + n % 26) + chr(97 + n % 7) for n in range(100)}
    counts: Counter[str] = Counter()
    for word in words:
        for end in range(1, len(word) + 1):
            counts[word[:end]] += 1
    common = ((p, n) for p, n in counts.items() if n > 3 and p not in rare)
    return sorted(common, key=lambda pair: (-pair[1], pair[0]))[:20]


def evaluate(seed: int) -> int:
    """Classifies a random batch with a model that takes long to load, once per process."""
    import numpy as np

    if "model" not in _STATE:
        burn(200 * ITERATIONS_PER_MS, 3)
        rng = np.random.default_rng(0)
        _STATE["model"] = [rng.standard_normal(s) for s in ((784, 128), (128, 10))]
    hidden, output = _STATE["model"]
    batch = np.random.default_rng(seed).standard_normal((500, 784))
    return int((np.maximum(batch @ hidden, 0) @ output).argmax(axis=1).sum())
