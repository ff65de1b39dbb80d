"""A ``concurrent.futures.Executor`` whose ``map`` plans itself."""

from __future__ import annotations

import concurrent.futures
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ParamSpec, TypeVar

from amorsize import checking
from amorsize.api import imap
from amorsize.callers_context import CallersContext

P = ParamSpec("P")
R = TypeVar("R")

_PATIENCE_S = 0.05
"""Seconds that a map waits for its first reader, in whose thread it would best run (forking is
safe there, results stream); after that it runs on its own, as with any executor."""


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
        self._ended = False

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
            buffersize: taken for compatibility with Python 3.14; if given, items are read as
                they are needed, and the map runs only while its results are read.

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
        function: Callable[[Any], R] = fn if one else _Spread(fn)

        def begin() -> Iterator[R]:
            return imap(function, items, **self._how)

        with self._lock:
            self._check_open()
            started = _Map(begin, timeout, lazily=buffersize is not None)
            self._maps.add(started)
        return started

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the executor: what was asked for is done first, unless ``cancel_futures``."""
        with self._lock:
            self._ended = True
            threads, maps = self._threads, list(self._maps)
        for one in maps:
            if cancel_futures:
                one.close()
            else:
                one.finish(wait=wait)
        if threads is not None:
            threads.shutdown(wait, cancel_futures=cancel_futures)

    def _check_open(self) -> None:
        if self._ended:
            raise RuntimeError("cannot schedule new futures after shutdown")


class _Spread:
    """A function of several arguments as a function of one tuple."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, item: tuple[Any, ...]) -> Any:
        return self._function(*item)


class _Map(Iterator[R]):
    """The results of one map. It runs in the thread of its reader if that comes soon, else in
    one of its own.
    """

    def __init__(
        self, begin: Callable[[], Iterator[R]], timeout: float | None, *, lazily: bool
    ) -> None:
        self._begin, self._lazily = begin, lazily
        self._context = CallersContext()
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._news = threading.Condition(threading.RLock())
        self._ready: deque[R] = deque()
        self._error: BaseException | None = None
        self._over = self._stop = False
        self._stream: Iterator[R] | None = None
        self._thread: threading.Thread | None = None
        self._timer: threading.Timer | None = None
        if timeout is not None:  # a reader that must not wait cannot work
            self._run_alone()
        elif not lazily:
            self._timer = threading.Timer(_PATIENCE_S, self._run_alone)
            self._timer.daemon = True
            self._timer.start()

    def __next__(self) -> R:
        self._claim()
        with self._news:
            if self._thread is not None:
                self._await()
            if self._ready:
                return self._ready.popleft()
            if self._error is not None:
                error, self._error, self._over = self._error, None, True
                raise error
            if self._over or self._stream is None:
                raise StopIteration
            return next(self._stream)

    def close(self) -> None:
        """Cancel what has not run."""
        self._quiet()
        with self._news:
            self._stop = self._over = True
            stream, thread = self._stream, self._thread
        if thread is not None:
            thread.join()
        elif stream is not None:
            stream.close()  # type: ignore[attr-defined]

    def finish(self, *, wait: bool) -> None:
        """See to it that all items run; results are kept for the reader."""
        self._quiet()
        with self._news:
            if self._thread is None and not (self._over or self._lazily):
                if wait:
                    self._work(self._stream)
                else:
                    self._run_alone()
            thread = self._thread
        if thread is not None and wait:
            thread.join()

    def _quiet(self) -> None:
        """No timer any more; where it has fired, its thread is the map's."""
        timer = self._timer
        if timer is not None and timer is not threading.current_thread():
            timer.cancel()
            timer.join()
            self._timer = None

    def _claim(self) -> None:
        """Let the reader's thread do the work, unless another one is at it."""
        self._quiet()
        with self._news:
            if self._stream is None and self._thread is None and not self._over:
                try:
                    self._stream = self._begin()
                except BaseException:
                    self._over = True
                    raise

    def _run_alone(self) -> None:
        with self._news:
            if self._thread is None and not self._over:
                self._thread = threading.Thread(
                    target=self._context.run,
                    args=(self._work, self._stream),
                    name="amorsize-map",
                )
                self._thread.start()

    def _work(self, stream: Iterator[R] | None) -> None:
        """Keep all results, and what ends them."""
        error: BaseException | None = None
        try:
            for value in self._begin() if stream is None else stream:
                with self._news:
                    self._ready.append(value)
                    self._news.notify_all()
                if self._stop:
                    break
        except BaseException as raised:
            error = raised
        with self._news:
            self._error, self._over = error, error is None
            self._news.notify_all()
        if self._thread is None and error is not None and not isinstance(error, Exception):
            raise error  # Ctrl-C in the thread that shuts down is not an item's

    def _await(self) -> None:
        while not (self._ready or self._over or self._error):
            left = None if self._deadline is None else self._deadline - time.monotonic()
            if left is not None and left <= 0:
                self._stop = self._over = True
                raise TimeoutError
            self._news.wait(left)

    def __del__(self) -> None:
        stream = getattr(self, "_stream", None)
        if stream is not None and self._thread is None:
            stream.close()
