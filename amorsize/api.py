"""The public calls: plan, map, imap, dask_map, ray_map."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

import amorsize.ahead  # noqa: F401 - for what comes after the first call
from amorsize import checking
from amorsize.errors import InvalidArgument, NotCallable
from amorsize.guard import guarded, in_time
from amorsize.planning import PREPARATION, Planning, check_enforceable
from amorsize.plans import Plan
from amorsize.policy import Policy, policy_of
from amorsize.sampler import MOST_READ_AHEAD, Sample, sample, unsampled
from amorsize.short_loop import Begun, begin, suits
from amorsize.source import Source, StreamSource, source_of
from amorsize.streaming import Stream
from amorsize.wishes import JournalPath, RunWishes, Wishes, is_automatic, of_run, watch

if TYPE_CHECKING:
    from amorsize.backend import Backend
    from amorsize.resume import Resumption


T = TypeVar("T")
R = TypeVar("R")

LOOK_AHEAD_S = 0.001
"""Seconds of reading in which data of unknown length may show that it is short."""


def plan(
    fn: Callable[[T], R],
    data: Iterable[T],
    *,
    backend: Any = "auto",
    workers: int | None = None,
    chunk_size: int | None = None,
    options: Mapping[str, Any] | None = None,
    **wishes: Unpack[Wishes],
) -> Plan[R]:
    """Sample ``fn`` on a few items of ``data``, and decide how to run the rest.

    Nothing but the sample runs; its results are part of the plan. A sequence is sampled across
    its length, an iterator from its front.

    Args:
        fn: function of one item.
        data: any iterable. Sequences, numpy arrays and pandas Series are read by index;
            everything else is iterated once, from the front.
        backend: ``"auto"`` for the fastest, or a backend's name, a :class:`Backend` or a live
            engine object such as a Dask client.
        workers: exact number of workers of a parallel run; chosen by default. An automatic
            plan may still find the serial loop faster.
        chunk_size: exact number of items per chunk; chosen by default.
        options: options of the named backend (``amorsize backends --json`` lists them).
        on_error: ``"raise"`` (the default), ``"skip"`` or ``"return"``: what an item's error
            does to the run. This and what follows is described in docs/faults.md. The type of
            the results does not tell of errors among them: ``list[R | ItemError]`` is yours
            to write.
        retries: further attempts at an item that raised; ``backoff`` (seconds, default 0.1)
            and ``retry_on`` (default ``Exception``) refine it.
        timeout: seconds that an attempt at an item may take; no limit by default.
        deadline: seconds that a run may take; no limit by default.
        journal: a file that keeps each finished chunk: what was killed continues where it
            stopped (docs/resume.md).
        seed: gives each item random numbers of its own, the same on every backend and for any
            chunks (docs/seeds.md). None by default: nothing is seeded.
        voices: whether prints, log records and warnings of items that run in other processes
            reach this one (docs/voices.md); true by default.

    Raises:
        InvalidArgument: for a value that cannot work, before anything runs.
        BackendNotFound: before anything runs.
        BackendUnavailable: before anything runs, or after the sample if it has gone meanwhile.
        JournalRefused: before anything runs, or when the sample cannot be kept in it.
        SerializationError: if function, items or results cannot travel to the named backend.
        Exception: what an item of the sample raised, with its index in the notes.
    """
    made = _plan(fn, data, backend, workers, chunk_size, options, wishes)
    failure = made.sample_failure
    if failure is not None:
        raise failure
    return made


def map(
    fn: Callable[[T], R],
    data: Iterable[T],
    *,
    backend: Any = "auto",
    workers: int | None = None,
    chunk_size: int | None = None,
    options: Mapping[str, Any] | None = None,
    **wishes: Unpack[RunWishes],
) -> list[R]:
    """``[fn(x) for x in data]``, planned and run. Arguments and errors are those of
    :func:`plan` and :meth:`Plan.run` (``progress``, ``observers``); if several items raise, the
    error is that of the first one, as in the loop. A list, tuple or range of many items begins as
    the loop: where that is over in some milliseconds, nothing is planned.
    """
    watching = of_run(wishes)
    made = begun_or_planned(
        fn, data, backend, workers, chunk_size, options, wishes, watched=bool(watching)
    )
    return made if isinstance(made, list) else made.run(**watching)


def begun_or_planned(
    fn: Callable[[T], R],
    data: Iterable[T],
    backend: Any,
    workers: int | None,
    chunk_size: int | None,
    options: Mapping[str, Any] | None,
    wishes: Wishes,
    *,
    watched: bool,
) -> list[R] | Plan[R]:
    """The results of a loop that is short, or the plan for what it has left over: the first half of
    :func:`map`. Whoever wishes or watches anything is asked for the plan first.
    """
    automatic = is_automatic(backend)
    wished = wishes or options or workers is not None or chunk_size is not None
    watched = watched or watch((), progress=False) is not None
    begun = None
    if automatic and not wished and not watched and callable(fn) and suits(data):
        begun = begin(fn, data)
        if len(begun.results[0][1]) == len(data):
            return begun.results[0][1]
    return _plan(
        fn,
        data,
        backend,
        workers,
        chunk_size,
        options,
        wishes,
        begun=begun,
        at_once=True,
        to_the_end=True,
    )


def imap(
    fn: Callable[[T], R],
    data: Iterable[T],
    *,
    ordered: bool = True,
    backend: Any = "auto",
    workers: int | None = None,
    chunk_size: int | None = None,
    options: Mapping[str, Any] | None = None,
    **wishes: Unpack[RunWishes],
) -> Stream[R]:
    """Iterate over ``fn(x) for x in data`` as results come, with bounded memory; ``data`` may
    be endless. Arguments as for :func:`plan` and :meth:`Plan.stream`. Closing it cancels the rest,
    from any thread; so does leaving its ``with`` block.
    """
    watching = of_run(wishes)
    made = _plan(fn, data, backend, workers, chunk_size, options, wishes, at_once=True)
    return made.stream(ordered=ordered, **watching)


def dask_map(
    fn: Callable[[T], R],
    data: Iterable[T],
    client: Any = None,
    *,
    workers: int | None = None,
    chunk_size: int | None = None,
    options: Mapping[str, Any] | None = None,
    **wishes: Unpack[RunWishes],
) -> list[R]:
    """:func:`map` on Dask: on ``client``, else on the current client, else on a local cluster
    that lives as long as the call.
    """
    target = "dask" if client is None else client
    return map(
        fn, data, backend=target, workers=workers, chunk_size=chunk_size, options=options, **wishes
    )


def ray_map(
    fn: Callable[[T], R],
    data: Iterable[T],
    *,
    workers: int | None = None,
    chunk_size: int | None = None,
    options: Mapping[str, Any] | None = None,
    **wishes: Unpack[RunWishes],
) -> list[R]:
    """:func:`map` on Ray: on the session that is up, else on a local one that lives as long as
    the call.
    """
    return map(
        fn, data, backend="ray", workers=workers, chunk_size=chunk_size, options=options, **wishes
    )


def _plan(
    fn: Callable[[Any], R],
    data: Iterable[Any],
    backend: Any,
    workers: int | None,
    chunk_size: int | None,
    options: Mapping[str, Any] | None,
    wishes: Wishes,
    *,
    begun: Begun | None = None,
    at_once: bool = False,
    to_the_end: bool = False,
) -> Plan[R]:
    """Check all arguments before the data is touched, then sample and decide. ``begun`` are the
    first items of an automatic plan that have run already; ``at_once`` tells that the plan runs
    now, ``to_the_end`` that all data will be read.
    """
    if not callable(fn):
        raise NotCallable(fn)
    journal, seed = wishes.pop("journal", None), wishes.pop("seed", None)
    voices = checking.flag("voices", wishes.pop("voices", True))
    policy, options = policy_of(wishes), checking.options(options)
    workers = checking.count("workers", workers)
    chunk_size = checking.count("chunk_size", chunk_size)
    checking.journal(journal)
    source = source_of(data)
    if seed is not None:
        from amorsize.seeds import numbered, seeded

        fn, source = seeded(fn, seed), numbered(source)
    automatic = is_automatic(backend)
    if automatic and options:
        raise InvalidArgument("options belong to one backend: name it with backend=...")
    if not automatic:
        from amorsize.plugins import registry

        backend = registry().resolve(backend).bind(options)
        check_enforceable(policy, backend, fn)
    if to_the_end and journal is None and isinstance(source, StreamSource):
        source.look_ahead(MOST_READ_AHEAD, LOOK_AHEAD_S)  # journals know streams without a length
    resumption = None
    sampled = not at_once or automatic or journal is not None or not _is_up(backend)
    if sampled:
        named = None if automatic else backend
        taken, resumption = _sample(fn, source, policy, journal, named, begun)
    else:
        taken = unsampled(source)
        with suppress(Exception):  # what it cannot do it says when it is opened
            backend.prepare()
    planning = Planning(fn, source, taken, workers, chunk_size, options, policy)
    planning.automatically = automatic
    planning.resumption, planning.voices = resumption, voices
    if not sampled:
        return Plan(planning, *planning.blindly(backend))
    decision, chosen = planning.automatic() if automatic else planning.on(backend)
    return Plan(planning, decision, chosen)


def _on_event_loop() -> bool:
    """Whether this thread runs an event loop: what another one asks an engine may wait for it."""
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None


def _is_up(backend: Backend) -> bool:
    """Whether workers that are not this host's wait for work: they would idle during a sample."""
    return backend.traits.remote and backend.availability().running


def _sample(
    fn: Callable[[Any], Any],
    source: Source,
    policy: Policy,
    journal: JournalPath | None,
    named: Backend | None,
    begun: Begun | None,
) -> tuple[Sample, Resumption | None]:
    """A sample, kept in the journal if there is one."""
    call, worker = guarded(fn, policy), None
    resumption: Resumption | None = None
    if policy.timeout is not None:
        from amorsize.elsewhere import elsewhere

        worker = partial(elsewhere, call, policy, named)
    ahead = PREPARATION if named is None and not _on_event_loop() else ()
    take = partial(sample, call, source, policy, elsewhere=worker, meanwhile=ahead, begun=begun)
    if journal is not None:
        from amorsize import resume

        resumption = resume.Resumption(journal, fn, source)
        take = partial(resumption.sampled, source, take)
    limit_s = policy.deadline if worker is None and not policy.forgives else None
    return in_time(limit_s or 0.0, limit_s, take), resumption
