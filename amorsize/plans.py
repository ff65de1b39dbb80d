"""The plan: what was measured, what is predicted, what was chosen; and its execution."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any, Generic

from amorsize import checking, collect
from amorsize.backend import Backend
from amorsize.errors import InvalidArgument, PlanConsumed
from amorsize.execution import Execution
from amorsize.model import Term
from amorsize.planner import SERIAL, Candidate, Decision, Refusal
from amorsize.planning import Planning, predictions
from amorsize.policy import SKIPPED
from amorsize.profile import Profile
from amorsize.source import IndexedSource, StreamSource
from amorsize.streaming import R_co, Stream
from amorsize.wishes import JournalPath, Observer, is_automatic, watch

if TYPE_CHECKING:
    from amorsize.probes import Limits
    from amorsize.report import RunReport


class Plan(Generic[R_co]):
    """A decision about one function and its data, made from measurements.

    Facts are plain attributes; :meth:`run` and :meth:`stream` execute it, on the chosen backend
    or another. The sample's results are part of the plan: no item runs twice.
    """

    def __init__(self, planning: Planning, decision: Decision, backend: Backend | None) -> None:
        self._planning, self._decision, self._backend = planning, decision, backend
        self._consumed = False
        self.report: RunReport | None = None
        """Predicted against actual of the latest run, ``None`` before the first."""

    # -- facts -------------------------------------------------------------------------------

    @property
    def backend(self) -> str:
        """Name of the chosen backend."""
        return self._decision.chosen.backend

    @property
    def workers(self) -> int:
        """Number of workers, 1 for the serial loop."""
        return self._decision.chosen.workers

    @property
    def interpreters(self) -> int:
        """Python interpreters that the workers live in: each runs Python code of one of its
        workers at a time.
        """
        for offer in self._planning.offers:
            if offer.name == self.backend:
                return offer.capacity.interpreters_of(self.workers, offer.traits)
        return 1

    @property
    def chunks(self) -> tuple[int, ...]:
        """Items of each planned chunk, in order of dispatch. Empty if the data does not tell
        its length (:attr:`fixed_chunk_size` then tells the size in use).
        """
        remaining = self.profile.remaining
        if remaining is None:
            return ()
        return tuple(self._decision.chosen.schedule.sizes(remaining))

    @property
    def fixed_chunk_size(self) -> int:
        """The largest planned chunk, in items: the number for an engine that takes only one."""
        schedule = self._decision.chosen.schedule
        if schedule.kind == "whole":
            return max(1, self.profile.remaining or 1)
        return schedule.next_size(self.profile.remaining or None)

    @property
    def items(self) -> int | None:
        """Number of items in the data, ``None`` if it does not tell."""
        return self.profile.items

    @property
    def sampled(self) -> int:
        """Number of items the sample ran; their results are kept and used by the run."""
        return self.profile.sampled

    @property
    def predicted(self) -> float | None:
        """Predicted seconds of :meth:`run`, start-up included, ``None`` for unknown length."""
        if self.profile.remaining is None:
            return None
        return self._decision.chosen.prediction.seconds

    @property
    def predicted_serial(self) -> float | None:
        """Predicted seconds of the plain loop over what remains, ``None`` for unknown length."""
        return self.profile.serial_s

    @property
    def speedup(self) -> float:
        """Predicted time of the plain loop over the predicted time of the plan."""
        serial = self._decision.items * self.profile.item_s
        return serial / max(self._decision.chosen.prediction.seconds, 1e-12)

    @property
    def terms(self) -> tuple[Term, ...]:
        """What the predicted time consists of."""
        return self._decision.chosen.prediction.terms

    @property
    def reason(self) -> str:
        """Why this configuration was chosen."""
        return self._decision.chosen.reason

    @property
    def rejected(self) -> tuple[Candidate, ...]:
        """Other configurations, fastest first, each with the reason why it was not chosen."""
        return self._decision.rejected

    @property
    def refused(self) -> tuple[Refusal, ...]:
        """Backends that could not be considered, with the reason."""
        return self._decision.refused

    @property
    def profile(self) -> Profile:
        """What the sample measured."""
        return self._planning.profile

    @property
    def limits(self) -> Limits | None:
        """Limits of this machine, ``None`` if the decision did not need them."""
        return self._planning.limits

    @property
    def decision(self) -> Decision:
        """The planner's whole answer."""
        return self._decision

    @property
    def costs(self) -> dict[str, Any]:
        """Costs of each backend considered, each figure with its origin."""
        return {offer.name: offer.costs.to_dict() for offer in self._planning.offers}

    @property
    def sample_failure(self) -> BaseException | None:
        """What an item of the sample raised, ``None`` if none did; a run raises it, or the
        error of an earlier item.
        """
        failure = self._planning.sample.failure
        return None if failure is None else failure[1]

    def explain(self) -> str:
        """The plan as a readable text: choice, terms, measurements and where they come from,
        what was rejected and why.
        """
        from amorsize.explain import explain

        return explain(self)

    def to_dict(self) -> dict[str, Any]:
        """All facts as plain data, for JSON."""
        chosen = self._decision.chosen
        return {
            "backend": self.backend,
            "workers": self.workers,
            "interpreters": self.interpreters,
            "chunks": list(self.chunks),
            "schedule": chosen.schedule.kind,
            "fixed_chunk_size": self.fixed_chunk_size,
            "items": self.items,
            "sampled": self.sampled,
            "predicted": self.predicted,
            "predicted_low": chosen.prediction.low,
            "predicted_high": chosen.prediction.high,
            "predicted_serial": self.predicted_serial,
            "speedup": self.speedup,
            "reason": self.reason,
            "terms": {term.name: term.seconds for term in self.terms},
            "rejected": [candidate.to_dict() for candidate in self.rejected],
            "refused": [refusal.to_dict() for refusal in self.refused],
            "profile": self.profile.to_dict(),
            "costs": self.costs,
            "limits": None if self.limits is None else self.limits.to_dict(),
        }

    def __str__(self) -> str:
        return self.explain()

    def __repr__(self) -> str:
        seconds = "?" if self.predicted is None else f"{self.predicted:.3f}"
        return (
            f"<Plan: {self.items} items on {self.backend}, {self.workers} workers, "
            f"predicted {seconds} s>"
        )

    def arguments(
        self, backend: str | None = None, *, options: Mapping[str, Any] | None = None
    ) -> Any:
        """The numbers for your own code on an engine: a frozen dataclass that unpacks with
        ``**``. Planned for that engine with equal chunks, whatever this plan chose for itself.

        Args:
            backend: the engine's name (``"multiprocessing"``, ``"dask"``, ``"ray"``, a
                plugin's); this plan's own backend by default.
            options: as for :meth:`run`.

        Raises:
            BackendNotFound: if no plugin has that name.
            InvalidArgument: for an option that the engine does not know.
            BackendUnavailable: if the engine is not installed.
            TranslationUnsupported: if the engine has no words of its own.
        """
        wanted = self.backend if is_automatic(backend) else backend
        planning, engine = self._elsewhere(wanted, options)
        decision, engine = planning.on(engine, fixed_chunks=True)
        return engine.arguments(Plan(planning, decision, engine))

    def what_if(
        self, workers: Sequence[int], backend: str | None = None, *, cores: float | None = None
    ) -> tuple[Candidate, ...]:
        """Predictions for other numbers of workers, the best schedule for each; runs nothing.

        Args:
            workers: the numbers to look at, any size.
            backend: the backend to predict for; this plan's own, or for a plan that stays in
                the loop the best of the rejected ones.
            cores: cores behind the workers; by default one each, as on a machine large enough.

        Raises:
            InvalidArgument: if that backend was not among those considered, or for numbers
                that cannot be.
        """
        numbers, cores = checking.counts("workers", workers), checking.cores(cores)
        return predictions(self._planning, backend or self._parallel_name(), numbers, cores)

    def _parallel_name(self) -> str:
        names = [self.backend, *(candidate.backend for candidate in self.rejected)]
        return next((name for name in names if name != SERIAL), SERIAL)

    # -- execution ---------------------------------------------------------------------------

    def run(
        self,
        backend: Any = None,
        *,
        options: Mapping[str, Any] | None = None,
        journal: JournalPath | None = None,
        progress: bool | Observer = False,
        observers: Iterable[Observer] = (),
    ) -> list[R_co]:
        """Run the plan: ``[fn(x) for x in data]``, in order, the sampled results included.

        Args:
            backend: run elsewhere than planned: a backend's name, a :class:`Backend` or a live
                engine object (a Dask client). The plan is made anew for it from the same sample.
            options: options of that backend; by default the plan's own, if it is the same one.
            journal: a file that keeps each finished chunk: a run that was killed continues
                where it stopped (docs/resume.md). By default the plan's own, if it has one.
            progress: show how far the run is, on the standard error stream.
            observers: called with each event of the run (:mod:`amorsize.events`).

        Raises:
            InvalidArgument, BackendNotFound: before any item runs, and nothing is used up.
            BackendUnavailable: likewise, or in the middle of the run, if the engine does not start
                or vanishes and no other replaces it.
            PlanConsumed: if the data was an iterator and has been used up.
            JournalRefused: before any item runs, for a journal of something else; in the middle
                of the run, if it cannot be written, a result cannot be kept, or a stream differs.
            Exception: what the function raised, with the item's index in its notes.
        """
        execution = self._execution(backend, options, progress, observers)
        checking.journal(journal)
        with self._journal(execution, journal):
            self._use()
            source = self._planning.source
            length = source.length if isinstance(source, IndexedSource) else None
            results = collect.in_one_list(chain(execution.ready(), execution.pieces()), length)
        self._finish(execution)
        if execution.failure.error is not None:
            raise execution.failure.error
        if self._planning.policy.on_error == "skip" and execution.report.failed_items:
            return [value for value in results if value is not SKIPPED]
        return results

    def stream(
        self,
        backend: Any = None,
        *,
        ordered: bool = True,
        options: Mapping[str, Any] | None = None,
        journal: JournalPath | None = None,
        progress: bool | Observer = False,
        observers: Iterable[Observer] = (),
    ) -> Stream[R_co]:
        """Run the plan and yield results as they come, with memory bounded by the chunks in
        flight. Closing the stream early, from any thread, cancels the run; it may stand in a
        ``with``.

        Args:
            backend: as for :meth:`run`.
            ordered: yield in the order of the items; otherwise as completed.
            options, journal, progress, observers: as for :meth:`run`.

        Raises:
            As :meth:`run`, while iterating; earlier results have been yielded by then.
        """
        execution = self._execution(backend, options, progress, observers)
        checking.journal(journal)
        results = self._results(execution, journal, ordered=ordered)
        return Stream(results, execution.cancel, execution.report)

    def _results(
        self, execution: Execution, journal: JournalPath | None, *, ordered: bool
    ) -> Generator[R_co, None, None]:
        with self._journal(execution, journal):
            self._use()
            pieces = execution.pieces(lazily=True)
            try:
                if ordered:
                    reorder = collect.Reorder(pieces, execution.ready())
                    execution.hold(lambda: reorder.held)
                    yield from self._without_skipped(reorder)
                else:
                    for _, values in chain(execution.ready(), pieces):
                        yield from self._without_skipped(values)
            finally:
                pieces.close()
                self._finish(execution)
        if execution.failure.error is not None:
            raise execution.failure.error

    def _without_skipped(self, values: Iterable[Any]) -> Iterable[Any]:
        if self._planning.policy.on_error != "skip":
            return values
        return (value for value in values if value is not SKIPPED)

    @contextmanager
    def _journal(self, execution: Execution, path: JournalPath | None) -> Iterator[None]:
        if path is None and self._planning.resumption is None:
            yield
            return
        from amorsize.resume import for_run

        with for_run(self._planning, path) as journal:
            execution.resume(journal)
            yield

    def _execution(
        self,
        wanted: Any,
        options: Mapping[str, Any] | None,
        progress: bool | Observer,
        observers: Iterable[Observer],
    ) -> Execution:
        self._check_unused()
        planning, decision, backend = self._planning, self._decision, self._backend
        bus, own = watch(observers, progress), is_automatic(wanted)
        if not own:
            planning, backend = self._elsewhere(wanted, options)
            decision, backend = planning.on(backend)
        elif options:
            raise InvalidArgument("options belong to one backend: name it with backend=...")
        free = own and planning.automatically
        execution = Execution(planning, decision, backend, free=free)
        execution.report.watch = bus
        return execution

    def _elsewhere(
        self, wanted: Any, options: Mapping[str, Any] | None
    ) -> tuple[Planning, Backend]:
        """A backend, and the planning for it: options are one backend's own."""
        from amorsize.plugins import registry

        backend = registry().resolve(wanted)
        if options is None:
            options = self._planning.options if backend.name == self.backend else {}
        return self._planning.with_options(checking.options(options)), backend

    def _check_unused(self) -> None:
        if self._consumed:
            raise PlanConsumed

    def _use(self) -> None:
        """From here on an iterator is read."""
        self._check_unused()
        self._consumed = isinstance(self._planning.source, StreamSource)

    def _finish(self, execution: Execution) -> None:
        self.report = execution.report
        execution.learn()
        if (logging := sys.modules.get("logging")) is not None:  # else nobody can be listening
            logging.getLogger("amorsize").info("%s", execution.report.summary())
