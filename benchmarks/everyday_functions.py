"""What the everyday workloads call: functions as people write them, of the standard library and
numpy. They belong to a module, so that every library can pickle them.
"""

from __future__ import annotations

import asyncio
import base64
import collections
import csv
import dataclasses
import datetime
import decimal
import difflib
import functools
import hashlib
import io
import json
import lzma
import math
import os
import random
import re
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


def find_words(text: str) -> int:
    """How many words a regular expression finds."""
    return len(re.findall(r"(\w+)ing\b|\b[A-Z]\w*", text))


_ADDRESS = re.compile(r"^(\w+)@(\w+)\.com$")


def is_address(text: str) -> bool:
    """Whether a short text matches: a microsecond."""
    return bool(_ADDRESS.match(text))


def least_rows(text: str) -> list[Any]:
    """The least five of the rows in a JSON text."""
    return sorted(json.loads(text)["rows"], key=lambda row: row["x"])[:5]


def key_of(text: str) -> Any:
    """One key of a small JSON text: some microseconds."""
    return json.loads(text)["k"]


def sum_column(text: str) -> float:
    """The sum of a column of a CSV text."""
    return sum(float(row[1]) for row in csv.reader(io.StringIO(text)))


def parse_time(text: str) -> datetime.datetime:
    """A date and time from text."""
    return datetime.datetime.strptime(text, "%Y-%m-%d %H:%M:%S")


def similarity(pair: tuple[str, str]) -> float:
    """How alike two texts are."""
    return difflib.SequenceMatcher(None, *pair).ratio()


def deflate(data: bytes) -> bytes:
    """C code that lets go of the interpreter's lock."""
    return zlib.compress(data, 6)


def pack(data: bytes) -> int:
    """The same, for longer."""
    return len(lzma.compress(data, preset=1))


def digest(data: bytes) -> bytes:
    """A hash of a few kilobytes: lets go of the lock for some microseconds."""
    return hashlib.sha256(data).digest()


def derive_key(number: int) -> str:
    """A key from a password."""
    return hashlib.pbkdf2_hmac("sha256", b"p%d" % number, b"salt", 20_000).hex()


def encode(data: bytes) -> bytes:
    """A megabyte in, a third more out."""
    return base64.b64encode(data)


def group_in_memory(rows: int) -> list[Any]:
    """Rows inserted into a database in memory, and grouped."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("create table t(a, b)")
        values = ((n, 7 * n % 13) for n in range(rows))
        connection.executemany("insert into t values (?, ?)", values)
        return connection.execute("select b, sum(a) from t group by b").fetchall()


def count_on_disk(query: tuple[str, int]) -> list[Any]:
    """A query to a database on disk."""
    path, least = query
    with closing(sqlite3.connect(path)) as connection:
        text = "select count(*), sum(length(b)) from t where a > ? and a < ?"
        return connection.execute(text, (least, least + 2000)).fetchall()


def file_digest(path: str) -> str:
    """The hash of a file."""
    with open(path, "rb") as file:
        return hashlib.md5(file.read()).hexdigest()


def file_size(path: str) -> int:
    """What the system tells of a file: a microsecond or two."""
    return os.stat(path).st_size


def start_program(number: int) -> int:
    """A program that does nothing."""
    return subprocess.run(
        [sys.executable, "-S", "-c", f"raise SystemExit({number % 2})"]
    ).returncode


def request(url: str) -> int:
    """A page from a server that takes 20 ms."""
    with urllib.request.urlopen(url) as answer:
        return len(answer.read())


def wait_s(seconds: float) -> float:
    """Nothing, for so many seconds."""
    time.sleep(seconds)
    return seconds


def sleep_together(number: int) -> int:
    """Coroutines that wait five milliseconds, in an event loop of their own."""

    async def both() -> int:
        await asyncio.gather(asyncio.sleep(0.005), asyncio.sleep(0.004))
        return number

    return asyncio.run(both())


_ONE_AT_A_TIME = threading.Lock()


def with_a_lock(number: int) -> int:
    """Two milliseconds of waiting with a lock held, which a function of a library might hold."""
    with _ONE_AT_A_TIME:
        time.sleep(0.002)
    return number


def in_threads(number: int) -> int:
    """Eight short waits, by four threads of its own."""

    def wait(part: int) -> int:
        time.sleep(0.002)
        return part

    with ThreadPoolExecutor(4) as pool:
        return number + sum(pool.map(wait, range(8)))


def now_and_then(number: int) -> int:
    """Each fourth item waits, the others compute."""
    if number % 4 == 0:
        time.sleep(0.01)
        return number
    return sum(n * n for n in range(8000))


def rarely_long(number: int) -> int:
    """One item of a hundred takes 500 times as long."""
    return sum(n * n for n in range(1_500_000 if number % 97 == 96 else 3000))


def square_roots(terms: int) -> decimal.Decimal:
    """Exact arithmetic."""
    with decimal.localcontext() as context:
        context.prec = 60
        return sum((decimal.Decimal(1) / (n + 1)).sqrt() for n in range(terms)) + decimal.Decimal(0)


def mandelbrot(row: int) -> list[int]:
    """One row of the set: rows differ by far."""
    found = []
    for column in range(200):
        value, steps, point = 0j, 0, complex(column / 80 - 2, row / 80 - 1)
        while abs(value) < 2 and steps < 60:
            value, steps = value * value + point, steps + 1
        found.append(steps)
    return found


def fibonacci(number: int) -> int:
    """Calls of calls."""
    return number if number < 2 else fibonacci(number - 1) + fibonacci(number - 2)


def is_prime(number: int) -> bool:
    """By trial."""
    return all(number % n for n in range(2, int(number**0.5) + 1))


def gaussians(seed: int) -> float:
    """Random numbers."""
    draw = random.Random(seed)
    return sum(draw.gauss(0, 1) for _ in range(1500))


@functools.cache
def remembered(number: int) -> int:
    """Computed once for each of few different items, in each process."""
    return sum(n * n for n in range(60_000 + number))


@dataclasses.dataclass
class Place:
    """An item that is an object."""

    x: float
    y: float
    name: str


def distances(place: Place) -> float:
    """To many points."""
    return sum(math.hypot(place.x - n, place.y + n) for n in range(400))


def most_common(numbers: list[int]) -> list[Any]:
    """Of a list of 4,000."""
    return collections.Counter(numbers).most_common(3)


def table(rows: int) -> dict[str, list[int]]:
    """A dictionary of lists."""
    return {f"k{n}": [n] * 3 for n in range(rows)}


def long_text(number: int) -> str:
    """Two megabytes."""
    return "x" * 2_000_000 + str(number)


def word_lengths(table: dict[int, tuple[int, str]]) -> int:
    """Of a dictionary of 800 tuples."""
    return sum(len(word) for _, word in table.values())


def nothing(number: int) -> None:
    """A call and no more."""


def add_and_multiply(pair: tuple[int, int]) -> int:
    """A microsecond or two."""
    return sum(range(pair[0] % 300)) * pair[1] % 1009


def sum_line(line: str) -> int:
    """Of the letters of a line."""
    return len(line.split()) * sum(map(ord, line)) % 97


def squares(number: int) -> int:
    """One and a half milliseconds, of items that take one to make."""
    return sum(n * n for n in range(14_000 + number))


def sines(numbers: list[int]) -> float:
    """Of a long list that a generator made."""
    return sum(math.sin(n) for n in numbers)


def tanh_of_product(number: int) -> float:
    """Small matrices."""
    import numpy as np

    matrix = np.full((120, 120), 0.01 * number)
    for _ in range(6):
        matrix = np.tanh(matrix @ matrix / 120)
    return float(matrix.sum())


def spectrum(signal: np.ndarray) -> Any:
    """A Fourier transform of 1.6 MB."""
    import numpy as np

    return np.abs(np.fft.rfft(signal))[:100]


def doubled(numbers: np.ndarray) -> Any:
    """A thousand numbers: two microseconds."""
    return numbers * 2 + 1
