"""A run on a Dask cluster: one task a chunk, one opaque object a result."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import dask
import distributed

from amorsize import backend as contract

_EMBED_BYTES = 10_000
"""Functions up to this size travel inside each task; larger ones are scattered to the workers
once. Workers load either just once."""
_QUIET = {"distributed.admin.large-graph-warning-threshold": 1 << 60}
"""Large inputs are part of a task only if that was measured to be faster."""
_MOMENT_S, _SETTLE_S, _INTERVAL_S = 0.02, 0.5, 0.001
"""Seconds between two looks at whether a chunk may go; and after a worker's death, until all its
tasks are known, which are told at once. Seconds after which a new worker has settled in. Seconds
between two messages of a client of our own: Dask's 0.01 are a third of a chunk's round trip."""
_PATIENT = {"distributed.deploy.lost-worker-timeout": "1 day"}
"""Dask's cluster drops a worker that is just starting again 15 s after an earlier death of it."""
_own = contract.jointly((dask.config.set, _PATIENT), (distributed.utils.silence_logging_cmgr, 50))
"""While clusters of our own are up, several of them or one."""
_SENDING, _LARGE_BYTES = 2, 1_000_000
"""Chunks whose inputs are on their way to a worker's store at a time: of those sent all at once all
are late. What is smaller goes through the scheduler in any case, which takes no longer for it."""
_RESENDS, _CAREFUL = 3, 100
"""Times a chunk that was lost without its fault is sent again; chunks after a worker's death that
are sent at most one a worker."""


class Box(contract.Parcel):
    """Passes the scheduler as it is: that talks a pickle which copies large buffers at both ends,
    but hands on what a serializer of Dask's own kind has made. A worker that gets a box before
    anything else finds the serializer with this class.
    """


distributed.protocol.dask_serialize.register(Box, lambda box: ({}, box.frames()))
distributed.protocol.dask_deserialize.register(Box, Box.arrived)


def run(*call: Any) -> Box:
    """What a chunk is to Dask. That its module is no part of amorsize itself tells a worker, which
    looks for this first, to leave the planner out.
    """
    return Box(contract.run_packed(*call))


class OneDeath(distributed.SchedulerPlugin):  # type: ignore[misc]
    """Has the scheduler give up tasks of one group at the first death of their worker, whatever
    its ``allowed-failures``: it would give an item that kills workers three more of them.
    """

    def __init__(self, group: str) -> None:
        self.name = self._group = group

    def update_graph(self, scheduler: Any, *, tasks: list[Any], **_: Any) -> None:
        """Called in the scheduler for each graph; ours have a single task."""
        if len(tasks) == 1 and tasks[0][0] == self._group:
            scheduler.tasks[tasks[0]].suspicious = scheduler.allowed_failures


@dataclass(eq=False)
class _Flight:
    """A chunk on its way: its inputs, where they are in the data, and Dask's future."""

    packed: contract.Packed
    rest: tuple[Any, ...]
    task: Any = None
    resends: int = 0


class DaskSession(contract.RelaySession):
    """Chunks as impure tasks of a client, without retries of Dask's own.

    Args:
        client: a connected client, or ``None`` to start a local cluster.
        request: what to run.
    """

    def __init__(self, client: Any, request: contract.OpenRequest) -> None:
        super().__init__("dask")
        self._request, self._function = request, request.payload  # its error before a long start
        self._group = group = f"amorsize-{uuid.uuid4().hex}"
        self._one_goes, self._sending, self._at = asyncio.Lock(), asyncio.Semaphore(_SENDING), ""
        self._dead, self._born, self._size = dict[str, set[_Flight]](), dict[str, float](), 0
        self._careful, self._hurry, self._wait_s = 0, True, float(request.options.get("wait_s", 30))
        with ExitStack() as stack:
            with suppress(ValueError, KeyError, AttributeError):  # not inside a task
                distributed.get_worker()
                client = client or distributed.get_client()
                distributed.secede()  # gives up its slot, which the tasks it waits for may need
                stack.callback(distributed.rejoin)
            self._client = client = client or stack.enter_context(self._own_client())
            # A cluster that adapts itself starts workers for tasks alone.
            self._waking = None if client.nthreads() else client.submit(int, pure=False)
            with contract.needed("dask", f"no worker within {self._wait_s:g} s", "start workers"):
                client.wait_for_workers(1, timeout=self._wait_s)
            self.workers = self.live_workers()
            self._here = (f"{contract.host_name()}:",) if client.direct_to_workers is None else ()
            if request.payload.nbytes > _EMBED_BYTES:
                self._function = client.scatter(request.payload, broadcast=True, hash=False)
            with suppress(Exception):  # a scheduler without amorsize keeps its own rule
                client.register_plugin(OneDeath(self._group))
                stack.callback(lambda: self.vanished() or client.unregister_scheduler_plugin(group))
            self._stack = stack.pop_all()

    def submit(self, chunk: contract.Chunk) -> Future[Any]:
        """Hand the chunk to the client's event loop, which sees it through to its end."""
        flight = _Flight(chunk.pack(), (chunk.spans, chunk.stop_on_error))
        future = self.track(flight)
        self._client.loop.add_callback(self._fly, future, flight)
        return future

    async def _fly(self, future: Future[Any], flight: _Flight) -> None:
        """Send the chunk, fetch its outcome; send it again if it was lost without its fault."""
        while future in self.handles:
            flight.task = None
            try:
                self.settle(future, outcome=await self._round_trip(flight))
            except distributed.KilledWorker as killed:
                if await self._is_suspect(flight, killed.last_worker):
                    self.settle(future, error=contract.WorkerLost("its Dask worker died"))
            except (distributed.CancelledError, OSError) as error:  # a connection: it broke
                flight.resends, self._here = flight.resends + 1, ()
                if gone := self.vanished():
                    self.settle(future, error=gone)
                elif (late := isinstance(error, TimeoutError)) or flight.resends > _RESENDS:
                    self.settle(future, error=error if late else contract.WorkerLost(str(error)))
            except BaseException as error:
                self.settle(future, error=error)

    async def _round_trip(self, flight: _Flight) -> Any:
        """Submit the chunk as a task and wait for its outcome. Names of one group keep what is
        not yet due in the scheduler's own queue, open to all workers.
        """
        packed, client, how = flight.packed, self._client, {"hash": False, "asynchronous": True}
        if packed.nbytes >= self._request.store_bytes:
            async with self._sending:
                packed = await client.scatter(Box(packed), direct=self._way(packed.nbytes), **how)
        if getattr(self._function, "status", "finished") != "finished":  # lost with its workers
            self._function = await client.scatter(self._request.payload, broadcast=True, **how)
        if self._careful:
            async with self._one_goes:
                await self._turn()
        call, key = (run, self._function, packed, *flight.rest), (self._group, uuid.uuid4().hex)
        with dask.config.set(_QUIET):
            flight.task = client.submit(*call, key=key, pure=False)
        (box,) = await client.gather([flight.task], direct=self._way(self._size), asynchronous=True)
        self._size, self._at = box.nbytes, box.content.times.worker
        self._careful = max(0, self._careful - 1)
        return box.content

    def _way(self, nbytes: int) -> bool | None:
        """Dask's ``direct`` for a message of about ``nbytes``: past the scheduler if the last
        worker was on this host, which gets at all others; ``None`` leaves it to the client.
        """
        return (nbytes >= _LARGE_BYTES and self._at.startswith(self._here)) or None

    async def _turn(self) -> None:
        """Wait until there are more workers than chunks out, and none has only just started: a
        nanny whose worker dies before it has settled in does not replace it.
        """
        began = time.monotonic()
        while True:
            now, workers = time.monotonic(), await self._client.nthreads(asynchronous=True)
            born = [self._born.setdefault(worker, now) for worker in workers]
            if len(born) > len(self._tasks()) and max(born) <= now - _SETTLE_S:
                return
            if not born and now > began + self._wait_s:
                raise contract.BackendUnavailable("dask", "all workers died", "start new ones")
            await asyncio.sleep(_MOMENT_S)

    async def _is_suspect(self, flight: _Flight, worker: Any) -> bool:
        """Whether the chunk is known to have run when its worker died.

        A worker has more than the chunk that runs: those that wait there, and one that has just
        ended, which the worker had no time to tell. So a chunk is held guilty only if it was
        alone. Others are sent again, and for a while no worker has more than one.
        """
        (siblings := self._dead.setdefault(worker.server_id, set())).add(flight)
        self._careful = _CAREFUL
        await asyncio.sleep(_MOMENT_S)
        flight.resends += len(siblings) > 1
        return len(siblings) == 1 or flight.resends > _RESENDS

    def live_workers(self) -> int:
        """Threads of all workers, those that have joined or died since included."""
        return sum(self._client.nthreads().values())

    def vanished(self) -> contract.BackendUnavailable | None:
        """Whether the client is still connected."""
        if (status := self._client.status) == "running":
            return None
        reason = f"the client has no connection to its scheduler (status {status})"
        return contract.BackendUnavailable("dask", reason, "connect a new Client and run again")

    def _tasks(self) -> list[Any]:
        return [flight.task for flight in [*self.handles.values()] if flight.task is not None]

    def drop(self, handle: _Flight) -> None:
        """A chunk that nobody waits for any more does not start."""
        if handle.task is not None and not self.vanished():
            self._client.cancel([handle.task])

    def close(self, *, cancel: bool) -> None:
        """Cancel what is not finished; end the cluster if it was started here. On a cluster of
        yours, items that run finish in their workers: Dask cannot interrupt them.
        """
        self._stack.callback(self._client.cancel, self._tasks())
        self.handles, self._function, self._hurry = {}, self._request.payload, cancel
        with suppress(Exception):  # the scheduler may be gone; each step is tried
            self._stack.close()

    @contextmanager
    def _own_client(self) -> Iterator[Any]:
        """A client of processes of this host, reachable from this host only, without a dashboard.
        They end with the block, at once after Ctrl-C, and their folder goes with them.

        Ctrl-C ends the start while the workers start, which Dask does in another thread. Within
        Dask's own calls, some hundredths of a second, it is held back: it would leave a cluster
        that nobody knows of, and its workers for as long as this process lives.
        """
        workers, home = self._request.workers, dask.config.get("temporary-directory", None)
        remedy = "in a script, start it below if __name__ == '__main__':, or pass a Client"
        with contract.own_engine("dask-", home, _own) as (stack, folder):
            at = {"dashboard_address": "127.0.0.1:0", "local_directory": folder}
            how = {"silence_logs": 50, "scheduler_kwargs": {"dashboard": False, **at}, **at}
            with contract.needed("dask", "no cluster", remedy):
                with contract.shielded():
                    own = distributed.LocalCluster(None, 0, 1, memory_limit=1 / workers, **how)
                    cluster = stack.enter_context(own)
                    stack.callback(cluster.sync, self._stop_workers, cluster)
                    client = stack.enter_context(distributed.Client(cluster, set_as_default=False))
                cluster.worker_spec.update(dict.fromkeys(range(workers), cluster.new_spec))
                contract.awaited(cluster.__aenter__(), client.loop.asyncio_loop)
            client.scheduler_comm.interval = _INTERVAL_S
            yield client

    async def _stop_workers(self, cluster: Any) -> None:
        """End the workers although they may be busy; Dask alone waits for them four seconds, and
        for those that start until they have.
        """
        cluster.worker_spec.clear()  # none starts any more
        nannies = [*cluster._created]
        ends = asyncio.gather(*(nanny.close(timeout=0.5) for nanny in nannies))
        await contract.killing(lambda: [nanny.pid for nanny in nannies if self._hurry], ends)
