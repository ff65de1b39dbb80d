"""loky as a backend of amorsize: all it takes for an engine with an Executor."""

from collections.abc import Sequence
from concurrent.futures import Executor

import amorsize
from amorsize.backend import Backend, ExecutorBackend, installed_version


class LokyBackend(ExecutorBackend):
    """Processes of loky, started for each run and ended with it."""

    name = "loky"

    def executor(self, workers: int) -> Executor:
        """An executor that is shut down at the end of the run."""
        from loky import ProcessPoolExecutor  # importing a backend must not import its engine

        return ProcessPoolExecutor(workers)

    def configuration(self) -> str:
        """What the costs depend on: another version of loky is measured anew."""
        return installed_version("loky")


@amorsize.hookimpl
def amorsize_backends() -> Sequence[Backend]:
    """Called by amorsize, which found this module by the entry point in pyproject.toml."""
    return [LokyBackend()]
