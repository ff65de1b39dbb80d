"""A pool of worker processes that its caller drives alone: no helper thread, so that forking
stays safe, and no shared queue that a dying worker could leave locked.
"""

from __future__ import annotations

import math
import os
import pickle
import select
import signal
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import TYPE_CHECKING, Any

from amorsize.backend import (
    BackendUnavailable,
    Chunk,
    OpenRequest,
    Session,
    WorkerLost,
    shielded,
)
from amorsize.probes import fork_safety, oom_kills
from amorsize_local import channel
from amorsize_local.child import PATIENCE_S, Ticket, Worker, confirms
from amorsize_local.descendants import kill_descendants, tell
from amorsize_local.forked import ForkedProcess
from amorsize_local.link import Link, links, ours
from amorsize_local.server import Assignment, Order, name_of_death, outcome_of, serve

if TYPE_CHECKING:
    from multiprocessing.context import BaseContext

    from amorsize_local.child import Process

_AHEAD_S = 0.002
"""Chunks shorter than this are queued one ahead at a worker; longer ones wait for whoever is
free first, because a chunk committed to a busy worker spoils a tapering schedule."""
_SMALL_BYTES = 4096
"""Only orders that surely fit into a pipe may be sent to a busy worker: it may be blocked on
sending a result, and two blocked ends would wait for each other."""
_MOST_STILLBORN = 8
"""Workers that may die one after the other without having been given anything."""
_TOGETHER = 8
"""Workers that are forked one directly after the other. A fork makes this process copy each page
that it writes to afterwards: what it does between two forks takes longer than the forks."""


class ProcessSession(Session):
    """Workers pull chunks from one queue held here; each has a pipe to and from it.

    Args:
        context: starts the workers; ``None`` to fork them without multiprocessing.
        request: what to run.
        inherits: whether workers are forked, and see the caller's function and data.
    """

    def __init__(
        self, context: BaseContext | None, request: OpenRequest, *, inherits: bool
    ) -> None:
        self._context, self._inherits = context, inherits
        self._assignment = self._assign(request)
        self._queue: deque[Ticket] = deque()
        self._workers: dict[int, Worker] = {}
        self._news = select.poll()
        self._sources: dict[int, tuple[Worker, bool]] = {}
        """Whom news on a file descriptor is of, and whether it is its end."""
        self._wanted, self._stillborn = request.workers, 0
        self._vacant = request.workers if inherits else 0
        """Workers that are started when there is a chunk for them: a forked one has it from the
        start, and need not wait for the pipe."""
        self._all_out = False
        """Whether no more chunks are expected."""
        self._was_safe = False
        """Whether forking was safe when the first ones were; it may have been asked for anyway."""
        self._failed = ""
        """Why nothing more can run here."""
        self._ooms: int | None = None
        """Kills for want of memory before the workers had anything to do."""
        self._keep: Callable[[ProcessSession], None] | None = None
        self._held_by_workers, self._lifeline = channel.pipe()
        ours.add(self._lifeline)
        if not inherits:
            self._start_missing()

    def _assign(self, request: OpenRequest) -> Assignment:
        if self._inherits:
            return Assignment(request.function, request.source, request.cores_per_worker)
        return Assignment(request.payload, None, request.cores_per_worker, dict(os.environ))

    def _start_missing(self) -> None:
        """Start fresh interpreters, which takes so long that none waits for its first chunk."""
        from amorsize_local.fresh import prepare_server

        try:
            prepare_server(self._context)
            with shielded():
                while len(self._workers) < self._wanted:
                    if error := self._start_workers([None]):
                        raise error
        except OSError as error:
            self.end(cancel=True)
            raise _unavailable(f"cannot start workers: {error}") from error
        except BaseException:
            self.end(cancel=True)
            raise

    @property
    def workers(self) -> int:  # type: ignore[override]
        """Workers there for chunks now, and those that the next chunks start."""
        return sum(not worker.leaves for worker in self._workers.values()) + self._vacant

    def submit(self, chunk: Chunk) -> Future[Any]:
        """Queue a chunk and hand it to a free worker if there is one."""
        if not self._wanted:
            raise _unavailable(self._failed)
        future: Future[Any] = Future()
        self._queue.append((chunk, future))
        self._hand_out(more=True)
        return future

    def wait(self, futures: Collection[Future[Any]], timeout_s: float | None) -> set[Future[Any]]:
        """Take outcomes from the pipes until one of ``futures`` is done."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        self._hand_out()
        if self._ooms is None:
            self._ooms = oom_kills()
        while not (done := {future for future in futures if future.done()}):
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready = self._news.poll(None if left is None else math.ceil(left * 1000))
            if ready and not self._sources:  # the interpreter exits, and with it this daemon thread
                raise SystemExit
            # All looked up first: a worker that is started meanwhile may get the number of another.
            for worker, ended in [self._sources[fd] for fd, _ in ready]:
                if ended:
                    self._drain(worker)
                elif not worker.gone:
                    self._take(worker)
            self._hand_out()
            if not ready and left is not None:
                break
        return done

    def all_out(self) -> None:
        """Let forked workers end while the last chunks run: the end of a process takes its time.
        Another one is forked for a chunk that comes nevertheless.
        """
        self._all_out = self._inherits
        self._let_leave()

    def _let_leave(self) -> None:
        """Those that have no more to do than what they have."""
        if not self._all_out or self._queue:
            return
        for worker in self._workers.values():
            if not worker.leaves:
                worker.leave()
                self._vacant += 1

    def shrink(self, workers: int) -> None:
        """End workers that have nothing to do, and start no more than so many again."""
        self._wanted = max(1, workers)
        self._vacant = max(0, self._vacant - max(0, self.workers - self._wanted))
        for worker in list(self._workers.values()):
            if self.workers > self._wanted and not worker.tickets and not worker.leaves:
                self._remove(worker)

    def close(self, *, cancel: bool) -> None:
        """Let idle workers wait for the next run, if there can be one for them; end others."""
        if cancel or self._keep is None or not self._park():
            self.end(cancel=cancel)
        else:
            self._keep(self)

    def keep_with(self, keep: Callable[[ProcessSession], None]) -> None:
        """Where the workers go when the session closes in order."""
        self._keep = keep

    def _park(self) -> bool:
        """Tell workers that have nothing to do to wait; ``False`` if some have."""
        workers = list(self._workers.values())
        if not workers or self._queue or any(worker.tickets for worker in workers):
            return False
        try:
            for worker in workers:
                worker.rest()
                worker.send([pickle.dumps(None)])
        except OSError:
            return False
        return True

    def hire(self, request: OpenRequest) -> None:
        """Take waiting workers over for another run. Each confirms: it may be about to leave."""
        try:
            self._rehire(request)
        except BaseException:  # Ctrl-C, say: nobody else knows of the workers now
            self.end(cancel=True)
            raise
        self._start_missing()

    def _rehire(self, request: OpenRequest) -> None:
        self._wanted, self._stillborn, self._ooms = request.workers, 0, oom_kills()
        self._assignment = self._assign(request)
        for worker in list(self._workers.values())[self._wanted :]:
            self._remove(worker)
        for worker in list(self._workers.values()):
            with suppress(OSError):
                worker.send([pickle.dumps(worker.told(self._assignment))])
        for worker in list(self._workers.values()):
            if not confirms(worker):
                worker.process.kill()
                self._remove(worker)

    def abandon(self) -> None:
        """In a forked child: close what belongs to the parent and touch nothing else."""
        for worker in self._workers.values():
            worker.let_go()
        self._lifeline.close()
        self._held_by_workers.close()

    def end(self, *, cancel: bool) -> None:
        """End all workers: by the end of their orders, or at once with ``cancel``, together with
        the processes that they have started.
        """
        workers, self._workers = list(self._workers.values()), {}
        self._queue.clear()
        self._sources.clear()
        for worker in workers:
            worker.orders.close()
            if cancel:
                kill_descendants(worker.process.pid)
                worker.process.terminate()
                tell(worker.process.pid or 0, signal.SIGCONT)  # to end, it must not be stopped
        patience = time.monotonic() + PATIENCE_S
        for worker in workers:
            worker.reap(patience)
            worker.dispose()
        self._held_by_workers.close()
        self._lifeline.close()

    def _start_workers(self, firsts: Sequence[Ticket | None]) -> OSError | None:
        """Start a worker for each, a forked one with the first chunk that it has to run. Returns
        why there are fewer, if so: the last ones have not been started.
        """
        made, error = links(len(firsts), inherited=self._inherits)
        processes = [
            self._new_process(link, made, None if first is None else self._order(first[0]))
            for link, first in zip(made, firsts, strict=False)
        ]
        up = 0
        try:
            with self._starting():
                for process in processes:
                    process.start()
                    up += 1
        except OSError as failure:
            error = failure
        finally:
            for link in made[up:]:
                link.let_go()
            for process, link, first in zip(processes[:up], made, firsts, strict=False):
                link.started()
                self._started(Worker(process, link), first)
        return error

    def _started(self, worker: Worker, first: Ticket | None) -> None:
        if first is not None:
            worker.tickets.append(first)
        worker.told(self._assignment)
        outcomes = worker.outcomes.fileno()
        self._workers[outcomes] = worker
        self._listen(outcomes, worker, ended=False)
        if worker.end is not None:
            self._listen(worker.end, worker, ended=True)

    def _listen(self, fd: int, worker: Worker, *, ended: bool) -> None:
        self._sources[fd] = worker, ended
        self._news.register(fd, select.POLLIN)

    def _listen_no_more(self, fd: int) -> None:
        del self._sources[fd]
        self._news.unregister(fd)

    def _new_process(self, link: Link, together: list[Link], first: Order | None) -> Process:
        ends = (link.their_orders, link.their_outcomes, self._held_by_workers, link.arena)
        others = [other for other in together if other is not link] if self._inherits else []
        args = (self._assignment, *ends, others, first)
        if self._context is None:
            return ForkedProcess(serve, args)
        process: Process = self._context.Process(  # type: ignore[attr-defined]
            target=serve, args=args, name="amorsize-worker", daemon=True
        )
        return process

    def _starting(self) -> AbstractContextManager[None]:
        if self._context is None:
            return nullcontext()
        from amorsize_local.fresh import starting

        return starting(fresh=not self._inherits)

    def _hand_out(self, *, more: bool = False) -> None:
        """Give queued chunks to free workers, and to those that they start; short ones also to
        workers that will be free. ``more`` may be queued now, so that it is too early to start
        fewer workers than can be started together.
        """
        self._send_to(depth=0)
        if self._vacant and more and self._gathers():
            return
        while self._vacant and self._next() is not None and self._fill_vacancies():
            pass
        self._send_to(depth=1)
        self._let_leave()

    def _send_to(self, depth: int) -> None:
        """Send chunks to workers that have so many."""
        for worker in list(self._workers.values()):
            if self._next() is None:
                break
            if len(worker.tickets) == depth and not worker.leaves:
                self._send(worker, ahead=depth > 0)

    def _gathers(self) -> bool:
        """Whether to wait for chunks for more workers; not where it may take long to make them."""
        few = len(self._queue) < min(self._vacant, _TOGETHER)
        return few and all(chunk.items is None for chunk, _ in self._queue)

    def _next(self) -> Ticket | None:
        """The chunk whose turn it is; it stays in the queue."""
        while self._queue and self._queue[0][1].cancelled():
            self._queue.popleft()
        return self._queue[0] if self._queue else None

    def _fill_vacancies(self) -> bool:
        """Fork workers for the chunks whose turn it is; whether there may be more."""
        error = self._now_unsafe() or self._fork_some()
        if error is not None:
            self._do_without_another(error)
        return error is None

    def _fork_some(self) -> OSError | None:
        """As many as start together; why not all of them, if so."""
        firsts: list[Ticket] = []
        there = len(self._workers)
        with shielded():
            most = min(self._vacant, _TOGETHER)
            while len(firsts) < most and (first := self._next()) and first[0].items is None:
                firsts.append(self._queue.popleft())
            error = self._start_workers(firsts or [None])
            started = len(self._workers) - there
            self._vacant -= started
            self._queue.extendleft(reversed(firsts[started:]))
        if not firsts and started:  # its chunk's items travel
            self._send(next(reversed(self._workers.values())), ahead=False)
        return error

    def _now_unsafe(self) -> OSError | None:
        """Other workers do if forking is safe no longer: a stream's consumer, say, may have started
        threads since the session opened.
        """
        if self._ooms is None:  # nobody has had a turn yet
            self._was_safe = self._was_safe or bool(fork_safety())
        if self._ooms is None or not self._was_safe or not self._workers:
            return None
        safety = fork_safety()
        return None if safety else OSError(f"forking is no longer safe: {safety.reason}")

    def _do_without_another(self, error: OSError) -> None:
        """No more workers can be started now; those that are there are enough, if there are any."""
        there = self.workers - self._vacant
        if there:
            import logging

            text = "only %d of %d workers could be started: %s"
            logging.getLogger("amorsize").warning(text, there, self._wanted, error)
            self._wanted, self._vacant = there, 0
        elif not self._workers:  # else one can be started when one of those that leave has gone
            self._fail(f"cannot start workers: {error}")

    @staticmethod
    def _order(chunk: Chunk, *, ahead: bool = False) -> Order:
        return Order(chunk.spans, chunk.stop_on_error, chunk.items is not None, ahead)

    def _send(self, worker: Worker, *, ahead: bool) -> None:
        chunk, future = self._queue[0]
        if ahead and (chunk.expected_s > _AHEAD_S or chunk.items is not None):
            return
        order = pickle.dumps(self._order(chunk, ahead=ahead))
        if ahead and len(order) > _SMALL_BYTES:
            return
        self._queue.popleft()
        frames: list[Any] = [order]
        if chunk.items is not None:
            try:
                packed = chunk.pack()
            except Exception as error:  # an item that cannot be pickled
                future.set_exception(error)
                return
            frames += [packed.data, *packed.buffers]
        worker.tickets.append((chunk, future))
        try:
            worker.send(frames)
        except OSError:  # it died: what it has still sent is read first, then its pipe's end
            pass

    def _take(self, worker: Worker) -> None:
        """Receive one outcome, or a part of it, or learn that the worker is dead."""
        try:
            frames = worker.receive()
        except (EOFError, OSError):
            self._bury(worker)
            return
        if frames is None:
            return
        self._stillborn = 0
        _, future = worker.tickets.popleft()
        if future.cancelled():
            return
        try:
            future.set_result(outcome_of(frames))
        except Exception as error:  # the worker could not load function or items
            future.set_exception(error)

    def _drain(self, worker: Worker) -> None:
        """A worker has ended: take what it has still sent, and bury it."""
        while not worker.gone:
            self._take(worker)

    def _remove(self, worker: Worker) -> int | None:
        """End a worker, which may be dead already; returns its exit code."""
        worker.gone = self._workers.pop(worker.outcomes.fileno()) is worker
        self._listen_no_more(worker.outcomes.fileno())
        if worker.end is not None:
            self._listen_no_more(worker.end)
        worker.orders.close()
        worker.reap(time.monotonic() + PATIENCE_S)
        code = worker.process.exitcode
        worker.dispose()
        return code

    def _bury(self, worker: Worker) -> None:
        """Replace a dead worker. Only the chunk it ran is lost; queued ones go back."""
        code = self._remove(worker)
        if worker.leaves and not worker.tickets:
            return
        lost = WorkerLost(name_of_death(code))
        if code == -signal.SIGKILL and (ooms := oom_kills()) > (self._ooms or 0):
            self._ooms = ooms
            lost = WorkerLost("killed by the kernel, out of memory", out_of_memory=True)
        if worker.tickets:
            _, future = worker.tickets.popleft()
            if not future.cancelled():
                future.set_exception(lost)
            self._queue.extendleft(reversed(worker.tickets))
        else:
            self._stillborn += 1
        self._replace(lost)

    def _replace(self, lost: WorkerLost) -> None:
        if self._stillborn > _MOST_STILLBORN + self._wanted:
            self._fail(f"workers die before they have been given anything: {lost.reason}")
        elif self._inherits:
            self._vacant += self.workers < self._wanted
        elif len(self._workers) < self._wanted:
            error = self._start_workers([None])
            if error is not None and not self._workers:  # with fewer, as long as there are any
                self._fail(f"cannot start workers: {error}")

    def _fail(self, reason: str) -> None:
        """Nothing more can run here."""
        tickets = [ticket for worker in self._workers.values() for ticket in worker.tickets]
        for _, future in [*tickets, *self._queue]:
            if not future.done():
                future.set_exception(_unavailable(reason))
        for worker in list(self._workers.values()):
            worker.process.kill()
            self._remove(worker)
        self._queue.clear()
        self._wanted = self._vacant = 0
        self._failed = reason


def _unavailable(reason: str) -> BackendUnavailable:
    remedy = "use fewer workers, or backend='threads'"
    return BackendUnavailable("multiprocessing", reason, remedy)
