"""The whole contract as one class to subclass with a ``backend`` fixture."""

from __future__ import annotations

from typing import Any

from amorsize.testing.costing import Costs
from amorsize.testing.driving import Settings
from amorsize.testing.facts import Declarations
from amorsize.testing.failures import Failures
from amorsize.testing.faults import Faults
from amorsize.testing.lifetimes import Lifetimes
from amorsize.testing.results import Results
from amorsize.testing.streams import Streams
from amorsize.testing.travel import Journeys

GROUPS: tuple[type[Settings], ...] = (
    Declarations,
    Results,
    Failures,
    Journeys,
    Streams,
    Faults,
    Lifetimes,
    Costs,
)
SETTINGS = frozenset(name for name in Settings.__annotations__)


# Bases in reverse, because pytest runs the tests of the last base first.
class BackendContract(Costs, Lifetimes, Faults, Streams, Journeys, Failures, Results, Declarations):
    """What every backend promises, as tests.

    Subclass it in a test module, give it a fixture called ``backend`` that returns the backend,
    and set what :class:`~amorsize.testing.driving.Settings` offers where the engine needs it.
    Engines that are slow to start are best started once by a fixture of wider scope: sessions
    then only attach. A test that does not apply is skipped with the reason, which comes from
    the backend's traits and never from its name; no test can be redefined. Calls are counted
    in files, so the workers must see the caller's file system: use a local cluster.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = [name for name in dir(BackendContract) if name.startswith("test_")]
        helpers = [name for group in (Settings, *GROUPS) for name in vars(group)]
        private = [name for name in helpers if name.startswith("_") and not name.startswith("__")]
        changed = [
            name
            for name in sorted({*own, *private})
            if getattr(cls, name, None) is not getattr(BackendContract, name)
        ]
        if changed:
            raise TypeError(
                f"{cls.__name__} redefines {', '.join(changed)}: the contract cannot be hollowed "
                "out. If the engine cannot do something, its traits say so."
            )


def requirements() -> list[tuple[str, str, str]]:
    """Group, test name and requirement of every test, in order."""
    return [
        (str(group.__doc__), name, str(test.__doc__))
        for group in GROUPS
        for name, test in vars(group).items()
        if name.startswith("test_")
    ]
