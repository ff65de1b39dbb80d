"""From a function and data to a decision: sample, look at the machine, price, decide."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from amorsize import pricing
from amorsize.backend import Backend
from amorsize.contest import contested
from amorsize.costs import declared
from amorsize.enough import WAITING
from amorsize.errors import InvalidArgument, UnpicklableFunction, UnpicklableItem, UnpicklableResult
from amorsize.guard import guarded
from amorsize.model import bound
from amorsize.monitor import usable_cores
from amorsize.packing import FunctionPayload, pack_function
from amorsize.planner import (
    NOISE_S,
    NOISE_SHARE,
    PARALLEL_FLOOR_S,
    SERIAL,
    Candidate,
    Decision,
    Offer,
    Refusal,
    Wish,
    decide,
    fair_share,
    is_tie,
    serial_only,
)
from amorsize.plugins import registry, state_of
from amorsize.policy import DEFAULT, Policy
from amorsize.probes import Limits, limits
from amorsize.profile import Profile
from amorsize.sampler import Sample
from amorsize.schedule import fixed
from amorsize.source import IndexedSource, Source, Span
from amorsize.travel_times import large_buffers, measure_packing
from amorsize.voices import Heard
from amorsize.worker import worker_name

if TYPE_CHECKING:
    from amorsize.leaving import Leaving
    from amorsize.pace import Pace
    from amorsize.resume import Resumption

_SEED_REFUSES_THREADS = (
    "seed=... sets the random state of the process, which threads share; draw from amorsize.rng() "
    "and pass seed=amorsize.Seed(..., global_state=False)"
)
_DISCOVERY_PAYS_S = 0.5
"""Below this many seconds of plain loop it does not pay to look for engines: discovering
plugins takes a good part of it, and no engine on another host answers much faster."""
_LETS_GO = 0.5
"""Cores' worth of the interpreter's lock that items may hold, for threads to use all cores."""
_STARTS_PAY = 10
"""Starts of an engine that is not up, which a loop must take for the engine to be priced: looking
up what it would cost takes a part of a short run, and it is told of only where it is an advice."""


class Planning:
    """What planning knows of one function and its data; also plans again for another backend.

    Args:
        function: the user's function.
        source: its data.
        sample: what was measured.
        workers: exact number of workers, if the caller wants one.
        chunk_size: exact number of items per chunk, if the caller wants one.
        options: options of the named backend.
        policy: what happens when items fail.
        automatically: whether the backend is amorsize's to choose, also in the middle of a run.
    """

    limits: Limits | None = None
    """This machine's limits, once they were needed."""
    payload: FunctionPayload | None = None
    """The pickled function, once it was needed."""
    offers: tuple[Offer, ...] = ()
    """The offers of the last decision."""
    _packed: tuple[bool, bool] = (False, False)

    def __init__(
        self,
        function: Callable[[Any], Any],
        source: Source,
        sample: Sample,
        workers: int | None = None,
        chunk_size: int | None = None,
        options: Mapping[str, Any] | None = None,
        policy: Policy = DEFAULT,
        *,
        automatically: bool = True,
    ) -> None:
        self.function, self.source, self.sample = function, source, sample
        self._refine(streamed=not isinstance(source, IndexedSource) or not source.anywhere)
        self.workers, self.chunk_size, self.options = workers, chunk_size, options or {}
        self.automatically = automatically
        self.policy = policy
        """What happens when items fail."""
        self.resumption: Resumption | None = None
        """The journal that the sample is in, if there is one."""
        self.runnable = guarded(function, policy)
        """The function as it is called: the user's own, unless the policy guards each call."""
        self.voices = True
        """Whether what items say in other processes is heard in this one."""
        self.unsampled = False
        """Whether nothing has been sampled: the run's first items tell what others take."""

    @property
    def profile(self) -> Profile:
        """The measured workload."""
        return self.sample.profile

    @property
    def travelling(self) -> Callable[[Any], Any]:
        """The function as other processes get it."""
        return Heard(self.runnable, worker_name()) if self.voices else self.runnable

    @property
    def done(self) -> list[Span]:
        """Spans of the items that have results already."""
        return [(start, start + len(values)) for start, values in self.sample.results]

    def automatic(self) -> tuple[Decision, Backend | None]:
        """Choose among all usable backends; the backend is ``None`` for the plain loop."""
        timeout = self.policy.timeout is not None
        reason = "" if timeout else self._why_serial()
        if reason:
            return serial_only(self.profile, reason), None
        known = registry()
        shared = _shares_random_state(self.function)
        refused = [Refusal(name, f"plugin failed: {error}") for name, error in known.errors.items()]
        if SERIAL not in known.backends:
            refused.append(Refusal(SERIAL, "AMORSIZE_PLUGINS leaves out 'local', which brings it"))
        usable = []
        for backend in known.backends.values():
            state = state_of(backend)
            if timeout and backend.traits.shares_memory:
                refused.append(Refusal(backend.name, "it cannot end an item that takes too long"))
            elif shared and backend.traits.shares_memory and not backend.traits.inline:
                refused.append(Refusal(backend.name, _SEED_REFUSES_THREADS))
            elif state.usable:
                usable.append(backend)
            else:
                refused.append(Refusal(backend.name, state.reason))
        decision = self._decide(usable, refused, forced=False)
        return decision, known.backends[decision.chosen.backend]

    def blindly(self, backend: Backend) -> tuple[Decision, Backend]:
        """Start on an engine that is up, without a sample: single items, until these tell what
        others take. Errors as :meth:`on`.
        """
        self.unsampled = True
        decision, backend = self.on(backend)
        chosen = decision.chosen
        single = fixed(self.chunk_size or 1, chosen.workers)
        return decision._replace(chosen=chosen._replace(schedule=single)), backend

    def informed(self, sample: Sample, workers: int, pace: Pace | None) -> Decision:
        """The decision for the backend of :meth:`on` with what a run has seen of its first items,
        and of how fast they came; nothing is measured while it is under way.
        """
        from copy import copy

        from amorsize.pace import believed

        again = copy(self)
        again.sample = sample
        again._packed = (False, False)
        traits = self.offers[0].traits
        again._measure_packing(inputs=again.profile.travels_to(traits))
        wish = Wish(workers, self.chunk_size)
        seen = declared(1.0, "seen in the workers themselves")
        offers = [
            offer._replace(costs=believed(offer.costs, again.profile, pace)._replace(slowdown=seen))
            for offer in self.offers
        ]
        return decide(again.profile, offers, wish)

    def backend_of(self, candidate: Candidate) -> Backend:
        """The backend of a candidate of an automatic plan."""
        return registry().backends[candidate.backend]

    def revised(self, item_s: float, remaining: int | None) -> Planning:
        """The same with another item time and number of items left, as a run has seen them."""
        profile = self.profile
        times = item_s / max(profile.item_s, 1e-12)
        seen = profile.times(times)._replace(
            sampled=profile.sampled
            if remaining is None
            else (profile.items or 0) - profile.resumed - remaining,
            item_s=item_s,
            remembered_share=0.0,
            longest_s=max(profile.longest_s, item_s),
            trend=profile.trend * (remaining or 0) / max(1, profile.remaining or 1),
            # A machine that is slower now sends slower, too; of longer items this is little.
            inputs=profile.inputs.times(times),
            outputs=profile.outputs.times(times),
        )
        return self._with(seen)

    def without(self, leaving: Leaving, remaining: int | None) -> Planning:
        """The same with what a run knew when it left its workers."""
        item_s = self.profile.item_s if leaving.item_s is None else leaving.item_s
        again, known = self.revised(item_s, remaining), self.profile
        seen = again.profile._replace(inputs=known.inputs, outputs=known.outputs)
        again = again._with(leaving.learned(seen))
        again._packed = (again._packed[0] or bool(again.profile.inputs.error), again._packed[1])
        return again

    def _with(self, profile: Profile) -> Planning:
        from copy import copy

        again = copy(self)
        again.sample = self.sample._replace(profile=profile)
        return again

    def on(self, wanted: Any, *, fixed_chunks: bool = False) -> tuple[Decision, Backend]:
        """Plan for one backend: a name, a Backend or a live engine object.

        Raises:
            BackendNotFound: if there is none.
            BackendUnavailable: if it cannot be used now.
            SerializationError: if function, items or results cannot travel to it.
        """
        backend = registry().resolve(wanted).bind(self.options)
        check_enforceable(self.policy, backend, self.function)
        decision = self._decide([backend], [], forced=True, fixed_chunks=fixed_chunks)
        return decision, backend

    def with_options(self, options: Mapping[str, Any]) -> Planning:
        """The same with these options of a backend."""
        if options == self.options:
            return self
        from copy import copy

        again = copy(self)
        again.options = options
        return again

    def _why_serial(self) -> str:
        """Why nothing but the plain loop can pay, going by bounds alone; empty if unclear."""
        if self.options:
            raise InvalidArgument("options belong to one backend: name it with backend=...")
        remaining, serial_s = self.profile.remaining, self.profile.serial_s
        if remaining is None or serial_s is None:
            return ""
        if remaining <= 1:
            return "no more than one item is left"
        if serial_s < PARALLEL_FLOOR_S:
            return f"the loop is over in {serial_s * 1e3:.1f} ms, before workers could start"
        if self.workers == 1:
            return "one worker was asked for"
        self._measure_packing(inputs=False)
        least = bound(self.profile, remaining, usable_cores(), PARALLEL_FLOOR_S)
        if least >= serial_s * (1 - NOISE_SHARE) - NOISE_S and (
            serial_s < _DISCOVERY_PAYS_S or not _remote_engine_is_up()
        ):
            return (
                f"returning results and starting workers takes {least * 1e3:.0f} ms at best, "
                f"the loop {serial_s * 1e3:.0f} ms"
            )
        return ""

    def _decide(
        self,
        backends: Sequence[Backend],
        refused: Sequence[Refusal],
        *,
        forced: bool,
        fixed_chunks: bool = False,
    ) -> Decision:
        self.limits = limits()
        self._refine(buffer_bytes=large_buffers(self.sample))
        wish = Wish(self.workers, self.chunk_size, fixed_chunks, self.limits.shared_memory_bytes)
        serial_s = self.profile.serial_s
        # What drowns in the run is measured in any case: the prediction gains by it.
        pays_anyway = pricing.CALIBRATION_SHARE if forced else pricing.UNNOTICED_SHARE
        offers: dict[str, Offer] = {}
        refusals = list(refused)
        for backend in sorted(backends, key=lambda one: one.traits.rank):
            try:
                if not forced and (objection := self._why_not(backend, offers, wish)):
                    refusals.append(Refusal(backend.name, objection))
                    continue
                self._look_what_moves(backend, forced=forced)
                offers[backend.name] = self._offer(backend, serial_s, pays_anyway)
            except Exception as error:  # a plugin's own: it stops no other backend
                if forced:
                    raise
                reason = f"it fails when it is asked: {type(error).__name__}: {error}"
                refusals.append(Refusal(backend.name, reason))
        decision = decide(self.profile, list(offers.values()), wish, refusals)
        if not forced and self._settle(offers, backends, wish, decision.chosen.prediction.seconds):
            decision = decide(self.profile, list(offers.values()), wish, refusals)
        self.offers = tuple(offers.values())
        return decision

    def _why_not(self, backend: Backend, offers: Mapping[str, Offer], wish: Wish) -> str:
        """Why a backend need not be priced; empty if it must."""
        return self._starts_too_late(backend) or self._loses(backend, offers, wish)

    def _starts_too_late(self, backend: Backend) -> str:
        """Why an engine need not be priced; empty if it must: one that is not up on other hosts is
        not chosen before the user starts it, which a short loop gives no reason for.
        """
        serial_s = self.profile.serial_s
        if serial_s is None or not backend.traits.remote or backend.availability().running:
            return ""
        start_s = backend.fallback_costs().startup_s.value
        if serial_s >= _STARTS_PAY * start_s:
            return ""
        than = "takes longer than" if serial_s < start_s else "hardly pays for"
        return f"it is not up, and starting it {than} the loop of {serial_s:.2g} s"

    def _loses(self, backend: Backend, offers: Mapping[str, Offer], wish: Wish) -> str:
        """Why an engine of this host need not be priced; empty if it must: where threads lose next
        to nothing of what all cores can do, processes that are not up could save no more than the
        noise, and threads are simpler.
        """
        traits, profile, limits = backend.traits, self.profile, self.limits
        if limits is None or traits.shares_memory or traits.inline or traits.remote:
            return ""
        lets_go = (
            profile.gil_share * limits.cores < _LETS_GO and not profile.waiting_share > WAITING
        )
        if not lets_go or backend.availability().running or profile.remaining is None:
            return ""
        threads = [offer for offer in offers.values() if offer.traits.shares_gil]
        if not threads:
            return ""
        item_s = min(profile.item_s, profile.item_alone_s or profile.item_s)
        apart = profile._replace(item_s=item_s, gil_share=1.0)  # where threads are of no use
        cores = fair_share(limits.cores, limits.workers, limits.busy_cores)
        least_s = bound(apart, profile.remaining, cores, PARALLEL_FLOOR_S)
        if not is_tie(decide(profile, threads, wish).chosen, least_s):
            return ""
        return "no faster than threads, which use all cores and start at once"

    def _settle(
        self, offers: dict[str, Offer], backends: Sequence[Backend], wish: Wish, best_s: float
    ) -> bool:
        """Measure guessed costs that could change the choice, if that takes a small part of the
        predicted makespan. Whether any were.
        """
        doubtful = {name for name, offer in offers.items() if offer.costs.is_guess}
        share = pricing.CALIBRATION_SHARE
        doubtful = {
            backend.name
            for backend in backends
            if backend.name in doubtful and pricing.expected_s(backend) <= share * best_s
        }
        if doubtful:
            doubtful &= contested(self.profile, list(offers.values()), wish)
        for backend in backends:
            if backend.name in doubtful:
                offers[backend.name] = self._offer(backend, best_s, share)
        return bool(doubtful)

    def _offer(self, backend: Backend, worth_s: float | None, share: float) -> Offer:
        """What a backend offers; its costs are measured if that takes at most this share of
        ``worth_s``.
        """
        assert self.limits is not None
        capacity = backend.capacity(self.limits)
        traits = backend.traits
        costs = pricing.price(
            backend,
            workers=capacity.workers,
            worth_s=worth_s,
            share=share,
            large=pricing.large_figures(self.profile),
        )
        cold = traits.remote and not backend.availability().running
        busy = self.limits.busy_cores if cold or not traits.remote else 0.0
        return Offer(backend.name, traits, capacity, costs, busy, cold)

    def _look_what_moves(self, backend: Backend, *, forced: bool) -> None:
        """Measure what sending takes, if a backend in play sends."""
        traits = backend.traits
        if traits.shares_memory or traits.inline:
            return
        in_play = forced or not traits.remote or backend.availability().running
        ships = in_play and not traits.inherits_memory
        if ships and self.payload is None and not self.profile.function_error:
            try:
                self.payload = pack_function(self.travelling)
                self._refine(function_bytes=self.payload.nbytes)
            except UnpicklableFunction as error:
                self._refine(function_error=str(error.__cause__ or error))
        # After the function: with what that has loaded items are packed another way from then on.
        self._measure_packing(inputs=in_play and self.profile.travels_to(traits))
        if forced:
            self._check_travel(backend)

    def _measure_packing(self, *, inputs: bool) -> None:
        done_inputs, done_outputs = self._packed
        if done_outputs and (done_inputs or not inputs):
            return
        into, out = measure_packing(self.sample, inputs=inputs)
        self._refine(inputs=into, outputs=out)
        self._packed = (inputs, True)

    def _refine(self, **facts: Any) -> None:
        self.sample = self.sample._replace(profile=self.profile._replace(**facts))

    def _check_travel(self, backend: Backend) -> None:
        traits, profile = backend.traits, self.profile
        if traits.shares_memory or traits.inline:
            return
        if profile.outputs.error:
            index, value = self._first_unpicklable_result()
            from amorsize.errors import shorten

            raise UnpicklableResult(index, shorten(value), profile.outputs.error)
        if profile.function_error and not traits.inherits_memory:
            raise UnpicklableFunction(self.function, TypeError(profile.function_error))
        if profile.inputs.error and (traits.inherits_memory or self.policy.forgives):
            # Perhaps only a sampled item cannot be sent, which has run; others are told of in time.
            self._refine(inputs=profile.inputs._replace(error=""))
        elif profile.inputs.error:
            item = self.sample.recent_items[0]
            raise UnpicklableItem(self.sample.recent_start, item, TypeError(profile.inputs.error))

    def _first_unpicklable_result(self) -> tuple[int, Any]:
        from amorsize.packing import pack

        for start, values in self.sample.results:
            for offset, value in enumerate(values):
                try:
                    pack(value)
                except Exception:  # whatever a user's __reduce__ raises
                    return start + offset, value
        start, values = self.sample.results[0]
        return start, values[0]


def _look_up_costs() -> None:
    machine = limits()
    for backend in registry().backends.values():
        if state_of(backend).usable:
            pricing.price(backend, workers=backend.capacity(machine).workers, worth_s=None)


PREPARATION = (registry, limits, _look_up_costs)
"""Looks up what an automatic decision will ask for: plugins, the limits of this machine, costs."""


def check_enforceable(policy: Policy, backend: Backend, function: object) -> None:
    """Refuse a named backend that cannot keep what was asked for.

    Raises:
        InvalidArgument: for a time limit or a global seed where items run in threads.
    """
    traits = backend.traits
    if not traits.shares_memory or traits.inline:
        return
    if policy.timeout is not None:
        raise InvalidArgument(
            f"backend {backend.name!r} cannot enforce timeout=...: a thread cannot be ended. Use "
            "'multiprocessing', 'dask', 'ray', or 'serial' if the items can be interrupted"
        )
    if _shares_random_state(function):
        raise InvalidArgument(f"backend {backend.name!r}: {_SEED_REFUSES_THREADS}")


def _shares_random_state(function: object) -> bool:
    seeds = sys.modules.get("amorsize.seeds")
    return seeds is not None and seeds.shares_state(function)


def predictions(
    planning: Planning, backend: str, workers: Sequence[int], cores: float | None
) -> tuple[Candidate, ...]:
    """The best candidate of one considered backend for each number of workers."""
    offer = next((offer for offer in planning.offers if offer.name == backend), None)
    if offer is None:
        known = ", ".join(offer.name for offer in planning.offers) or "none: the loop is too short"
        raise InvalidArgument(
            f"backend {backend!r} was not considered by this plan; those that were: {known}"
        )
    found = []
    for count in workers:
        capacity = offer.capacity.scaled(count, cores or float(count))
        wish = Wish(count, planning.chunk_size)
        found.append(decide(planning.profile, [offer._replace(capacity=capacity)], wish).chosen)
    return tuple(found)


def _remote_engine_is_up() -> bool:
    """Whether a backend with cores of other hosts is ready: this host's do not bound it."""
    return any(
        backend.traits.remote and backend.availability().running
        for backend in registry().backends.values()
    )
