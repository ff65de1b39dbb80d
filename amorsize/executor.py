"""A ``concurrent.futures.Executor`` whose ``map`` plans itself."""

from __future__ import annotations

import atexit
import concurrent.futures
import concurrent.futures.thread
import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from typing import Any, ParamSpec, TypeVar

from amorsize import checking
from amorsize.api import imap
from amorsize.callers_context import CallersContext

P = ParamSpec("P")
R = TypeVar("R")

_PATIENCE_S = 0.05
"""Seconds that a map waits for its first reader, in whose thread it would best run (forking is
safe there, results stream); after that it runs on its own, as with any executor."""

_LOOK_S = 0.2
"""Seconds after which a thread that waits for a reader looks whether there is one yet."""


class Executor(concurrent.futures.Executor):
    """A drop-in where a library takes an Executor.

    ``map`` is :func:`amorsize.imap`: the function is sampled, costs are compared, and the items
    run in the plain loop, on threads, processes or a cluster, whatever is predicted to be fastest.
    ``submit`` runs single calls on threads of this process, as nothing can be planned for one.

    Args:
        max_workers: exact number of workers of a parallel map, and most threads of ``submit``;
            chosen by default.
        backend: where maps run, as for :func:`amorsize.plan`; chosen by default.
        options: options of a named backend.

    Raises:
        InvalidArgument: for a number of workers below 1.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        *,
        backend: Any = "auto",
        options: Mapping[str, Any] | None = None,
    ) -> None:
        max_workers = checking.count("max_workers", max_workers)
        options = checking.options(options)
        self._max_workers = max_workers
        self._how = {"backend": backend, "workers": max_workers, "options": options}
        self._threads: concurrent.futures.ThreadPoolExecutor | None = None
        self._maps: weakref.WeakSet[_Map[Any]] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._shutdown = False  # the name by which others look at it

    def submit(
        self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> concurrent.futures.Future[R]:
        """Run one call on a thread.

        Raises:
            RuntimeError: after :meth:`shutdown`.
        """
        with self._lock:
            self._check_open()
            if self._threads is None:
                self._threads = concurrent.futures.ThreadPoolExecutor(
                    self._max_workers, thread_name_prefix="amorsize-submit"
                )
            return self._threads.submit(fn, *args, **kwargs)

    def map(
        self,
        fn: Callable[..., R],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[R]:
        """Results of ``fn`` over one or several iterables, in order; an item's exception is
        raised in its place.

        Args:
            fn: called with one item of each iterable.
            iterables: read at once, up to the end of the shortest.
            timeout: seconds from now after which a missing result raises ``TimeoutError``.
            chunksize: taken for compatibility; the plan knows better.
            buffersize: as in Python 3.14; if given, items are read as they are needed, and the
                map runs only while its results are read. With a ``timeout`` it runs ahead of that
                by so many results.

        Raises:
            RuntimeError: after :meth:`shutdown`.
            ValueError: for a ``chunksize`` or ``buffersize`` below 1.
        """
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if buffersize is not None and buffersize < 1:
            raise ValueError("buffersize must be None or > 0")
        one = len(iterables) == 1
        items: Iterable[Any] = iterables[0] if one else zip(*iterables, strict=False)
        if buffersize is None and not isinstance(items, range | tuple):
            items = list(items)  # as it is now, whatever becomes of it
        total = len(items) if buffersize is None else None  # type: ignore[arg-type]
        function: Callable[[Any], R] = fn if one else _Spread(fn)

        def begin() -> Iterator[R]:
            return imap(function, items, **self._how)

        with self._lock:
            self._check_open()
            started = _Map(begin, timeout, total, buffersize)
            self._maps.add(started)
        return started

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the executor: what was asked for is done first, unless ``cancel_futures``: then
        who reads on gets ``CancelledError`` after the results that are ready.
        """
        with self._lock:
            self._shutdown = True
            threads, maps = self._threads, list(self._maps)
        for one in maps:
            if cancel_futures:
                one.close(wait=wait)
            else:
                one.finish(wait=wait)
        if threads is not None:
            threads.shutdown(wait, cancel_futures=cancel_futures)

    def _check_open(self) -> None:
        if self._shutdown:
            raise RuntimeError("cannot schedule new futures after shutdown")


class _Spread:
    """A function of several arguments as a function of one tuple."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, item: tuple[Any, ...]) -> Any:
        return self._function(*item)


STARTS_AT_EXIT = not (3, 12) <= sys.version_info < (3, 12, 2)
"""Whether a program that ends may start threads and processes yet: the first releases of Python
3.12 refuse (gh-113964), and engines that wait for theirs would do so for ever."""

_alive: weakref.WeakValueDictionary[int, _Map[Any]] = weakref.WeakValueDictionary()
"""The maps that the exit of the interpreter sees to, by identity."""


@cache
def _run_maps_at_exit() -> None:
    """Ask for it, once, and after the engines that are loaded: these end after the maps.
    (``atexit`` would come too late for engines, and for threads that have to start.)
    """
    register = getattr(threading, "_register_atexit", atexit.register)
    with suppress(RuntimeError):  # the interpreter exits already
        register(_run_to_end)


def _run_to_end() -> None:
    """Run what is left of this process's own maps; those of the process it was forked from
    are not its own.
    """
    for ref in _alive.valuerefs():
        one = ref()
        if one is not None and one.home == os.getpid():
            one.run_to_end()


class _Map(Iterator[R]):
    """The results of one map. It runs in the thread of its reader if that comes soon, else in
    one of its own.
    """

    def __init__(
        self,
        begin: Callable[[], Iterator[R]],
        timeout: float | None,
        total: int | None,
        buffersize: int | None = None,
    ) -> None:
        self.home = os.getpid()
        self._begin = begin
        self._left = total  # items; None if they are read as they are needed
        self._most = buffersize  # results that are kept for readers; None for all of them
        self._context = CallersContext()
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._news = threading.Condition(threading.RLock())  # of what is below; held briefly
        self._ready: deque[R] = deque()
        self._error: BaseException | None = None
        self._over = self._stop = False
        self._worker: threading.Thread | None = None  # keeps results for the readers
        self._thread: threading.Thread | None = None  # a worker of the map's own
        self._timer: threading.Timer | None = None
        self._reading = threading.RLock()  # held by the one thread that is at the stream
        self._stream: Iterator[R] | None = None
        self._pulling = False
        _alive[id(self)] = self
        _run_maps_at_exit()
        if timeout is not None:  # a reader that must not wait cannot work
            self._run_alone()
        elif total is not None:
            self._timer = threading.Timer(_PATIENCE_S, self._run_alone)
            self._timer.daemon = True
            self._timer.start()

    def __next__(self) -> R:
        self._quiet()
        if self._unkept():
            with self._reading:
                if self._unkept():  # still so, after another reader
                    return self._read()
        return self._take()

    def close(self, *, wait: bool = True) -> None:
        """Cancel what has not run; a reader is told so after the results that are ready."""
        self._quiet()
        with self._news:
            if not self._ended() and self._left != 0:
                self._error = concurrent.futures.CancelledError()
            self._stop = self._over = True
            self._news.notify_all()
            thread = self._thread
        if thread is not None and wait:
            thread.join()
        self._end(wait=wait)

    def finish(self, *, wait: bool) -> None:
        """See to it that all items run; results are kept for the reader. Items that are read as
        they are needed are up to the reader.
        """
        self._quiet()
        if self._left is None:
            return
        if not wait:
            self._run_alone()
        elif self._employ(threading.current_thread()):
            self._work()
        if wait:
            self._wait_for_worker()

    def run_to_end(self) -> None:
        """The interpreter exits: only a map that need not be read runs on."""
        if self._left is not None:
            if STARTS_AT_EXIT:
                self.finish(wait=True)
        elif self._thread is not None:
            self.close()

    def _quiet(self) -> None:
        """No timer any more; where it has fired, its thread is the map's."""
        timer = self._timer
        if timer is not None and timer is not threading.current_thread():
            timer.cancel()
            timer.join()
            self._timer = None

    def _ended(self) -> bool:
        return self._over or self._error is not None

    def _unkept(self) -> bool:
        """Whether readers do the work."""
        with self._news:
            return self._worker is None and not self._ended()

    def _employ(self, thread: threading.Thread) -> bool:
        """Let a thread do all that is left, unless there is none or another one does it."""
        with self._news:
            if employed := self._unkept():
                self._worker = thread
            return employed

    def _run_alone(self) -> None:
        what = (self._work,) if self._most is None else (_work_for, weakref.ref(self), self._news)
        thread = threading.Thread(target=self._context.run, args=what, name="amorsize-map")
        with self._news:
            if self._employ(thread):
                self._thread = thread
                thread.start()

    def _wait_for_worker(self) -> None:
        worker = self._worker
        if worker is None or worker is threading.current_thread():
            return
        with self._news:
            self._news.wait_for(self._ended)
        if self._thread is not None:
            self._thread.join()

    def _pull(self) -> R:
        """The next result from the stream, in the thread that is reading."""
        self._pulling = True
        try:
            if self._stream is None:
                self._stream = self._begin()
            value = next(self._stream)
        finally:
            self._pulling = False
        if self._left:
            self._left -= 1
        return value

    def _read(self) -> R:
        """Pull for a reader, who gets what ends the map, too."""
        try:
            value = self._pull()
        except BaseException:
            with self._news:
                self._over, self._error = True, None
                self._news.notify_all()
            raise
        if self._stop:
            self._end(wait=False)
        return value

    def _end(self, *, wait: bool) -> None:
        """Close the stream; who is at it now and is not waited for does so next."""
        if self._reading.acquire(blocking=wait):
            try:
                if self._stream is not None and not self._pulling:
                    self._stream.close()  # type: ignore[attr-defined]
            finally:
                self._reading.release()

    def _work(self) -> None:
        """Keep as many results as are wanted, and what ends them."""
        error: BaseException | None = None
        try:
            while self._keep_one():
                if self.is_full():
                    return
        except StopIteration:
            pass
        except BaseException as raised:
            error = raised
        with self._news:
            if not self._over:
                self._error, self._over = error, error is None
            self._news.notify_all()
        if self._stop:
            self._end(wait=False)
        if self._thread is None and error is not None and not isinstance(error, Exception):
            raise error  # Ctrl-C in the thread that shuts down is not an item's

    def _keep_one(self) -> bool:
        """Keep the next result; false where nobody is to have it."""
        with self._reading:
            if self._over:  # cancelled, or a reader came to the end
                return False
            value = self._pull()
        with self._news:
            if not self._over:
                self._ready.append(value)
                self._news.notify_all()
            return not self._over

    def work_on(self) -> bool:
        """Keep results until there are enough of them; false once there will be no more."""
        if not self.is_full():
            self._work()
        return not self._ended()

    def is_full(self) -> bool:
        """Whether readers have to take some of the results that are kept first."""
        return self._most is not None and len(self._ready) >= self._most and not self._ended()

    def _take(self) -> R:
        """The next of the results that are kept, or what ended them."""
        with self._news:
            self._await()
            if self._ready:
                if self._most is not None:
                    self._news.notify_all()
                return self._ready.popleft()
            if self._error is not None:
                error, self._error, self._over = self._error, None, True
                raise error
            raise StopIteration

    def _await(self) -> None:
        while not (self._ready or self._ended()):
            left = None if self._deadline is None else self._deadline - time.monotonic()
            if left is not None and left <= 0:
                self._stop = self._over = True
                raise TimeoutError
            self._news.wait(left)

    def __del__(self) -> None:
        if (stream := getattr(self, "_stream", None)) is not None:
            stream.close()


def _work_for(ref: weakref.ref[_Map[Any]], news: threading.Condition) -> None:
    """Work for a map that keeps few results, as long as somebody has it who takes them."""
    while (one := ref()) is not None and one.work_on():
        with news:
            waits = one.is_full()
            del one
            if waits:
                news.wait(_LOOK_S)
