"""The everyday suite: what people's own loops do, mostly with the standard library.

The workloads of the local suite are made to have one quality each, and the planner was tuned on
them. These were written to find out what it makes of functions that nobody had in mind: parsers,
databases, requests, compression, caches, locks, streams. They cost what such functions cost. What
they showed has been mended since: ``locked``, ``now_and_then``, ``cached``, ``sqlite_memory`` and
the streams are no longer news to the planner.
"""

from __future__ import annotations

import atexit
import functools
import glob
import json
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

from benchmarks import everyday_functions as e
from benchmarks.workload import Job, Workload, over

# -- data ------------------------------------------------------------------------------------


def _text(draw: random.Random, words: int) -> str:
    """So many words of two to nine letters."""
    letters = "abcdefghIJKLing"
    return " ".join("".join(draw.choices(letters, k=draw.randint(2, 9))) for _ in range(words))


def _texts(words: int, different: int) -> Callable[[int], list[str]]:
    """Some different texts, again and again."""

    def build(count: int) -> list[str]:
        draw = random.Random(5)
        some = [_text(draw, words) for _ in range(min(count, different))]
        return [some[n % len(some)] for n in range(count)]

    return build


def _encoded(words: int, different: int) -> Callable[[int], list[bytes]]:
    texts = _texts(words, different)
    return lambda count: [text.encode() for text in texts(count)]


def _stream(items: Callable[[int], Iterator[Any]], fn: Callable[[Any], Any]) -> Any:
    """A workload that reads a fresh stream in each run."""
    return lambda count: Job(fn, lambda: items(count))


def _rows(count: int) -> list[str]:
    draw = random.Random(3)
    return [json.dumps({"rows": [{"x": draw.random(), "n": n} for n in range(500)]})] * count


def _pairs(count: int) -> list[tuple[str, str]]:
    texts = _texts(12, 40)(40)
    return [(texts[n % 40], texts[7 * n % 40]) for n in range(count)]


@functools.cache
def _folder() -> str:
    folder = tempfile.TemporaryDirectory(prefix="amorsize-everyday-")
    atexit.register(folder.cleanup)
    return folder.name


def _queries(count: int) -> list[tuple[str, int]]:
    path = os.path.join(_folder(), "rows.db")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript("drop table if exists t; create table t(a, b)")
        values = ((n, "x" * (n % 50)) for n in range(30_000))
        connection.executemany("insert into t values (?, ?)", values)
    return [(path, 10 * n) for n in range(count)]


def _files(count: int) -> list[str]:
    place = os.path.dirname(os.__file__)
    patterns = (os.path.join(place, "*.py"), os.path.join(place, "*", "*.py"))
    return sorted(path for pattern in patterns for path in glob.glob(pattern))[:count]


_SERVER = """
import http.server, socketserver, sys, threading, time
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        time.sleep(0.02)
        self.send_response(200)
        self.send_header("Content-Length", "500")
        self.end_headers()
        self.wfile.write(b"x" * 500)
    def log_message(self, *about): pass
class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads, request_queue_size = True, 256
server = Server(("127.0.0.1", 0), Page)
print(server.server_port, flush=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
sys.stdin.read()
"""


def _pages(count: int) -> list[str]:
    """Addresses of pages of a server in a process of its own, which ends with this one."""
    command = [sys.executable, "-c", _SERVER]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(server.kill)
    assert server.stdout is not None
    port = int(server.stdout.readline())
    return [f"http://127.0.0.1:{port}/{n}" for n in range(count)]


def _latencies(count: int) -> list[float]:
    draw = random.Random(2)
    return [min(0.5, draw.lognormvariate(-4, 1)) for _ in range(count)]


def _number_lists(count: int) -> list[list[int]]:
    draw = random.Random(4)
    return [draw.choices(range(50), k=4000) for _ in range(count)]


def _lines(count: int) -> Job:
    path = os.path.join(_folder(), f"lines-{count}.txt")
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in _texts(40, 1000)(count))
    return Job(e.sum_line, functools.partial(_read, path))


def _read(path: str) -> Iterator[str]:
    with open(path, encoding="utf-8") as file:
        yield from file


def _slowly(count: int) -> Iterator[int]:
    for number in range(count):
        sum(n * n for n in range(10_000))
        yield number


def _long_lists(count: int) -> Iterator[list[int]]:
    return ([n] * 20_000 for n in range(count))


def _with_a_table(count: int) -> Job:
    numbers = [float(n) for n in range(5_000_000)]
    return Job(lambda n: sum(numbers[1000 * n : 1000 * n + 20_000]), lambda: range(count))


def _signals(different: int, length: int) -> Callable[[int], list[Any]]:
    def build(count: int) -> list[Any]:
        import numpy as np

        some = [np.random.default_rng(n).random(length) for n in range(different)]
        return [some[n % different] for n in range(count)]

    return build


def _short_rows(count: int) -> list[str]:
    return [json.dumps({"k": n, "v": [1, 2], "n": {"a": "b"}}) for n in range(count)]


# -- the suite -------------------------------------------------------------------------------


def _workload(
    name: str, about: str, build: Callable[[int], Job], full: int, smoke: int, **more: Any
) -> Workload:
    return Workload(name, about, build, full, smoke, suite="everyday", **more)


EVERYDAY = (
    _workload("regex", "words found in texts", over(e.find_words, _texts(3000, 20)), 400, 4),
    _workload(
        "regex_short",
        "addresses matched, 0.5 us",
        over(e.is_address, lambda n: [f"user{k}@host{k % 7}.{'co'[k % 2]}om" for k in range(n)]),
        150_000,
        300,
    ),
    _workload("json_rows", "500 rows parsed and sorted", over(e.least_rows, _rows), 1500, 4),
    _workload(
        "json_short",
        "one key of a small text, 3 us",
        over(e.key_of, _short_rows),
        80_000,
        300,
    ),
    _workload(
        "csv",
        "a column of 1,500 rows added",
        over(e.sum_column, lambda n: ["\n".join(f"{k},{k * 1.5},abc" for k in range(1500))] * n),
        500,
        4,
    ),
    _workload(
        "strptime",
        "dates parsed, 6 us",
        over(
            e.parse_time, lambda n: [f"2024-05-{1 + k % 28:02} 10:{k % 60:02}:00" for k in range(n)]
        ),
        20_000,
        50,
    ),
    _workload("difflib", "texts compared", over(e.similarity, _pairs), 250, 4),
    _workload("zlib", "compression without the lock", over(e.deflate, _encoded(20_000, 5)), 120, 3),
    _workload("lzma", "the same, slower", over(e.pack, _encoded(8000, 4)), 60, 2),
    _workload(
        "sha_4kB",
        "hashes of 4 kB, 10 us, without the lock for moments",
        over(e.digest, lambda n: [random.Random(n).randbytes(4096)] * n),
        30_000,
        50,
    ),
    _workload("pbkdf2", "keys derived, without the lock", over(e.derive_key, range), 60, 2),
    _workload(
        "base64",
        "1 MB in, a third more out",
        over(e.encode, lambda n: [random.Random(n).randbytes(1_000_000)] * n),
        150,
        3,
    ),
    _workload(
        "sqlite_memory",
        "rows inserted and grouped in memory",
        over(e.group_in_memory, lambda n: random.Random(6).choices(range(500, 5000), k=n)),
        250,
        3,
    ),
    _workload("sqlite_disk", "queries to a file", over(e.count_on_disk, _queries), 300, 3),
    _workload("file_hashes", "sources read and hashed", over(e.file_digest, _files), 1500, 5),
    _workload("stat", "os.stat, 2 us", over(e.file_size, lambda n: [os.__file__] * n), 60_000, 50),
    _workload("programs", "a program started and awaited", over(e.start_program, range), 100, 2),
    _workload(
        "http", "pages of a server that takes 20 ms", over(e.request, _pages), 120, 3, waits=True
    ),
    _workload("latencies", "waiting, heavy-tailed", over(e.wait_s, _latencies), 150, 5, waits=True),
    _workload("asyncio", "event loops", over(e.sleep_together, range), 150, 3, waits=True),
    _workload("locked", "waiting with a lock held", over(e.with_a_lock, range), 200, 4, waits=True),
    _workload("threads_inside", "threads of its own", over(e.in_threads, range), 80, 2, waits=True),
    _workload("now_and_then", "one of four waits", over(e.now_and_then, range), 500, 8, waits=True),
    _workload("rarely_long", "one of 97 is 500 times as long", over(e.rarely_long, range), 800, 4),
    _workload(
        "decimal",
        "exact square roots",
        over(e.square_roots, lambda n: [150 + 60 * (k % 7) for k in range(n)]),
        900,
        4,
    ),
    _workload("mandelbrot", "rows of the set", over(e.mandelbrot, range), 160, 2),
    _workload(
        "fibonacci",
        "recursion, 5 us to 5 ms",
        over(e.fibonacci, lambda n: random.Random(8).choices([8, 10, 12, 15, 18, 20, 22], k=n)),
        600,
        5,
    ),
    _workload(
        "primes",
        "trial division, 1 to 40 us",
        over(e.is_prime, lambda n: range(1_000_000, 1_000_000 + n)),
        12_000,
        100,
    ),
    _workload("gauss", "random numbers", over(e.gaussians, range), 400, 4),
    _workload(
        "cached",
        "few different items, remembered",
        over(e.remembered, lambda n: [*range(10)] * (n // 10)),
        600,
        10,
    ),
    _workload(
        "objects_in",
        "dataclasses as items",
        over(e.distances, lambda n: [e.Place(0.1 * k, 0.2 * k, str(k)) for k in range(n)]),
        3000,
        20,
    ),
    _workload("lists_in", "lists of 4,000 counted", over(e.most_common, _number_lists), 400, 4),
    _workload(
        "dicts_in",
        "dictionaries of 800 tuples",
        over(e.word_lengths, lambda n: [{k: (k, str(k)) for k in range(800)} for _ in range(n)]),
        600,
        4,
    ),
    _workload(
        "dicts_out", "dictionaries of 3,000 lists", over(e.table, lambda n: [3000] * n), 200, 3
    ),
    _workload("texts_out", "texts of 2 MB", over(e.long_text, range), 100, 2),
    _workload("nothing", "a call of nothing", over(e.nothing, range), 1_000_000, 100),
    _workload(
        "zip",
        "pairs from two ranges, 2 us",
        _stream(lambda n: zip(range(n), range(n), strict=True), e.add_and_multiply),
        60_000,
        100,
    ),
    _workload("lines", "lines of a file, 5 us", _lines, 20_000, 50),
    _workload("pipeline", "items that take time to make", _stream(_slowly, e.squares), 300, 4),
    _workload("lists_streamed", "lists from a generator", _stream(_long_lists, e.sines), 200, 3),
    _workload("table_in_closure", "a lambda over 5 million numbers", _with_a_table, 2000, 5),
    _workload("np_small", "small matrices", over(e.tanh_of_product, range, "numpy"), 800, 3),
    _workload("np_fft", "Fourier transforms", over(e.spectrum, _signals(12, 200_000)), 120, 3),
    _workload("np_doubled", "2 us of numpy", over(e.doubled, _signals(1, 1000)), 60_000, 50),
)
"""All workloads of the everyday suite."""
