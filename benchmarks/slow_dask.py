"""A slow engine is seen as slow: ``python -m benchmarks slow_dask``.

The same Dask cluster with and without a proxy before its scheduler, which delays each message of
workers and client by 5 ms. Both are calibrated through the same adapter; shown are the costs,
and the chunks of a plan for items of a millisecond.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from benchmarks.engines import WORKERS
from benchmarks.harness import ROOT

DELAY_S = 0.005
ITEMS = 200_000
READ_BYTES = 1 << 20
_WORKER = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--death-timeout", "30")


class DelayProxy:
    """Passes a port's traffic on to another one of this host; what arrives together is a message
    and waits before it goes on, while others may arrive.

    Args:
        port: where the messages go.
        delay_s: seconds that each waits.
    """

    def __init__(self, port: int, delay_s: float = DELAY_S) -> None:
        self._target, self._delay_s = port, delay_s
        self.port = 0
        """Where the proxy listens."""
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="delay-proxy", daemon=True)

    def __enter__(self) -> DelayProxy:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        server = self._loop.run_until_complete(
            asyncio.start_server(self._connect, "127.0.0.1", 0, limit=READ_BYTES)
        )
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        server.close()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._target, limit=READ_BYTES)
        with contextlib.suppress(OSError):
            await asyncio.gather(self._pass(reader, back), self._pass(there, writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Messages keep their order and their distance; each is late by the delay."""
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def send() -> None:
            while True:
                due, data = await queue.get()
                await asyncio.sleep(max(0.0, due - self._loop.time()))
                if not data:
                    writer.close()
                    return
                writer.write(data)
                await writer.drain()

        sender = asyncio.ensure_future(send())
        data = b"."
        while data:
            data = await reader.read(READ_BYTES)
            queue.put_nowait((self._loop.time() + self._delay_s, data))
        await sender


@contextlib.contextmanager
def cluster(delay_s: float) -> Iterator[str]:
    """A scheduler and two workers, and a proxy before the scheduler; yields the address."""
    from distributed import LocalCluster

    with contextlib.ExitStack() as stack:
        local = stack.enter_context(
            LocalCluster(n_workers=0, dashboard_address=":0", host="127.0.0.1", silence_logs=50)
        )
        port = int(local.scheduler_address.rpartition(":")[2])
        if delay_s:
            port = stack.enter_context(DelayProxy(port, delay_s)).port
        address = f"tcp://127.0.0.1:{port}"
        path = f"{ROOT}{os.pathsep}{ROOT / 'adapters'}"
        for _ in range(WORKERS):
            worker = subprocess.Popen(
                [sys.executable, "-m", "distributed.cli.dask_worker", address, *_WORKER],
                env={**os.environ, "PYTHONPATH": path},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            stack.callback(worker.wait)
            stack.callback(worker.terminate)
        yield address


def a_millisecond(item: int) -> int:
    """Compute for a millisecond."""
    end = time.thread_time() + 0.001
    while time.thread_time() < end:
        pass
    return item


def measured(delay_s: float) -> dict[str, Any]:
    """Costs of the cluster, and the chunks planned with them."""
    from distributed import Client

    import amorsize
    from amorsize import pricing
    from amorsize.plugins import registry
    from amorsize.probes import limits

    with cluster(delay_s) as address, Client(address) as client:
        client.wait_for_workers(WORKERS, timeout=30)
        backend = registry().resolve(client)
        costs = pricing.measure(backend, workers=backend.capacity(limits()).workers)
        plan = amorsize.plan(a_millisecond, range(ITEMS), backend=client)
        schedule = plan.decision.chosen.schedule
        return {
            "delay_s": delay_s,
            "dispatch_s": costs.dispatch_s.value,
            "latency_s": costs.latency_s.value,
            "slot_s": costs.slot_s.value,
            "smallest_chunk": schedule.smallest,
            "largest_chunk": schedule.largest,
            "origin": costs.latency_s.origin,
            "note": costs.latency_s.note,
        }


def main() -> None:
    """Measure both and print them side by side."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks slow_dask", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    wanted = parser.parse_args()
    rows = [measured(0.0), measured(DELAY_S)]
    if wanted.json:
        print(json.dumps(rows))
        return
    for name in rows[0]:
        print(f"{name:<16}" + "".join(f"{row[name]!s:>24.10}" for row in rows))


if __name__ == "__main__":
    main()
