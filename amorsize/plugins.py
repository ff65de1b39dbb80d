"""The registry of backends: guarded loading of plugins, lookup by name or live engine object."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from amorsize.backend import CONTRACT_VERSION, Availability, Backend
from amorsize.discovery import load, wanted_plugins
from amorsize.errors import BackendNotFound, BackendUnavailable, PluginRejected
from amorsize.own_lock import OwnLock

if TYPE_CHECKING:
    import pluggy

    from amorsize.events import Observer

LOOK_AHEAD_S = 0.005
"""Most seconds in which entry points are looked for before they are needed."""

_lock = OwnLock()
_registry: Registry | None = None


class Registry:
    """The backends of all loaded plugins and the reasons why others are missing."""

    backends: dict[str, Backend]
    """Backends by name."""
    origins: dict[str, str]
    """Plugin that each backend comes from."""
    errors: dict[str, Exception]
    """Plugins that could not be loaded, with the reason."""

    def __init__(self) -> None:
        self.backends, self.origins, self.errors = {}, {}, {}
        self._manager: pluggy.PluginManager | None = None
        self._own: dict[str, Any] = {}

    @property
    def manager(self) -> pluggy.PluginManager:
        """What pluggy knows of all plugins; made when there is a need for it."""
        if self._manager is None:
            from amorsize import hookspecs  # with pluggy, which costs more than a plan

            self._manager = hookspecs.manager()
            for name, plugin in self._own.items():
                self._manager.register(plugin, name=name)
        return self._manager

    @property
    def observes(self) -> bool:
        """Whether some plugin may want to watch runs."""
        if self._manager is None:
            return any(hasattr(plugin, "amorsize_observers") for plugin in self._own.values())
        return bool(self._manager.hook.amorsize_observers.get_hookimpls())

    def get(self, name: str) -> Backend:
        """The backend of this name, usable or not.

        Raises:
            BackendNotFound: if there is none.
        """
        try:
            return self.backends[name]
        except KeyError:
            raise self._not_found(name) from None

    def resolve(self, wanted: Any) -> Backend:
        """A usable backend for a name, a :class:`Backend` or a live engine object.

        Raises:
            BackendNotFound: if there is none.
            BackendUnavailable: with the reason and the remedy, if it cannot be used now.
        """
        if isinstance(wanted, Backend):
            backend: Backend = wanted
        elif isinstance(wanted, str):
            backend = self.get(wanted)
        else:
            backend = self._recognise(wanted)
        state = state_of(backend)
        if not state.usable:
            raise BackendUnavailable(backend.name, state.reason, state.remedy)
        return backend

    def _recognise(self, engine: Any) -> Backend:
        """The first plugin that knows the object; one that fails over it stops no other."""
        for hook in reversed(self.manager.hook.amorsize_recognise.get_hookimpls()):
            try:
                found = hook.function(engine)
            except Exception as error:  # a plugin may raise anything
                self.errors[hook.plugin_name] = error
                continue
            if isinstance(found, Backend):
                return found
        raise self._not_found(engine)

    def usable(self) -> list[Backend]:
        """Backends that can be used now, simplest first."""
        ready = [backend for backend in self.backends.values() if state_of(backend).usable]
        return sorted(ready, key=lambda backend: (backend.traits.rank, backend.name))

    def add_own(self, plugin: Any, name: str) -> None:
        """Register a plugin of amorsize's own distribution: its hooks are known to be right, and
        its backends can be asked for without pluggy.

        Raises:
            PluginRejected: if it takes a name that is in use.
        """
        self._take_over(name, plugin.amorsize_backends())
        self._own[name] = plugin

    def add(self, plugin: Any, name: str) -> None:
        """Register a plugin module or object and take over its backends.

        Raises:
            PluginRejected: if it breaks the contract or takes a name that is in use.
        """
        self.manager.register(plugin, name=name)
        self._adopt(name)

    def remove(self, name: str) -> None:
        """Unregister a plugin and its backends."""
        self.manager.unregister(name=name)
        self._own.pop(name, None)
        for backend in [b for b, origin in self.origins.items() if origin == name]:
            del self.backends[backend], self.origins[backend]

    def _adopt(self, name: str) -> None:
        try:
            self.manager.check_pending()  # a misspelt hook name is an error, not silence
            self._take_over(name, self._offered_by(name))
        except Exception as error:
            self.manager.unregister(name=name)
            raise PluginRejected(f"plugin {name!r}: {error}") from error

    def _take_over(self, name: str, offered: Sequence[Backend]) -> None:
        for backend in offered:
            self._check(backend)
        for backend in offered:
            self.backends[backend.name] = backend
            self.origins[backend.name] = name

    def _offered_by(self, name: str) -> list[Backend]:
        plugin = self.manager.get_plugin(name)
        caller = self.manager.subset_hook_caller(
            "amorsize_backends",
            [other for _, other in self.manager.list_name_plugin() if other is not plugin],
        )
        return [backend for offered in caller() for backend in offered]

    def _check(self, backend: Any) -> None:
        if not isinstance(backend, Backend):
            raise TypeError(f"{backend!r} is not a Backend")
        if not isinstance(getattr(backend, "name", None), str):
            raise TypeError(f"{type(backend).__name__} has no name")
        if backend.contract_version != CONTRACT_VERSION:
            raise ValueError(
                f"backend {backend.name!r} is written for contract version "
                f"{backend.contract_version}, this amorsize has {CONTRACT_VERSION}: "
                f"install a {_other(backend.contract_version)}"
            )
        if backend.name in self.backends:
            raise ValueError(
                f"the backend name {backend.name!r} is taken by plugin "
                f"{self.origins[backend.name]!r}"
            )

    def _not_found(self, wanted: Any) -> BackendNotFound:
        failures = [f"{name}: {error}" for name, error in self.errors.items()]
        return BackendNotFound(wanted, sorted(self.backends), failures)


def state_of(backend: Backend) -> Availability:
    """Whether a backend can be used now; one that fails over the question cannot, and stops no
    other.
    """
    try:
        return backend.availability()
    except Exception as error:
        reason = f"its availability() raised {type(error).__name__}: {error}"
        return Availability(False, reason, "ask the author of the plugin")


def _other(version: Any) -> str:
    """What to install against a version of the contract that is not ours."""
    newer = isinstance(version, int) and version > CONTRACT_VERSION
    return "newer amorsize, or an older plugin" if newer else "newer plugin, or an older amorsize"


def registry() -> Registry:
    """The registry of this process; plugins are discovered on first use."""
    global _registry
    with _lock:
        if _registry is None:
            _registry = _discover()
        return _registry


def look_ahead() -> None:
    """Load what the first map will ask amorsize's own plugins for. Those of others wait until they
    are wanted; so does all that fails.
    """
    for _, values, own in wanted_plugins(time.perf_counter() + LOOK_AHEAD_S):
        if own:
            with suppress(Exception):
                for backend in load(values.pop()).amorsize_backends():
                    state_of(backend)


def observers() -> list[Observer]:
    """Observers that plugins offer for a run; none where plugins have not been discovered: a
    loop of milliseconds does not look for them.
    """
    if _registry is None or not _registry.observes:
        return []
    return [one for some in _registry.manager.hook.amorsize_observers() for one in some]


def _discover() -> Registry:
    found = Registry()
    for name, values, own in wanted_plugins():
        try:
            if not values:
                raise PluginRejected("AMORSIZE_PLUGINS names it, but it is not installed")
            if len(values) > 1:
                raise PluginRejected(f"several plugins are called {name!r}: {sorted(values)}")
            add = found.add_own if own else found.add
            add(load(values.pop()), name)
        except Exception as error:  # a plugin may raise anything while it is imported
            if not own:
                found.manager.set_blocked(name)
            found.errors[name] = error
    return found
