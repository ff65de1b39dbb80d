"""Shared by all tests: a private cache of costs; real engines, one at a time."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

# How long an example takes is the machine's affair.
hypothesis.settings.register_profile("amorsize", deadline=None)
hypothesis.settings.load_profile("amorsize")


def pytest_configure(config: pytest.Config) -> None:
    """The marker of tests that may be tried again."""
    about = (
        "measures: depends on figures of this machine, which other programs may spoil: tried again"
    )
    config.addinivalue_line("markers", about)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What depends on measurements is tried up to three times. Broken code fails each time; the
    summary tells of each that was tried again.
    """
    for item in items:
        if item.get_closest_marker("measures"):
            item.add_marker(pytest.mark.flaky(reruns=2))


def pytest_collection_finish() -> None:
    """Spare the collections of garbage to come what all tests share: hundreds of them look for
    what a run has left, and each walked through every module of Dask and Ray.
    """
    _freeze()


def _freeze() -> None:
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _private_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests neither read nor write the user's stored costs."""
    patch = pytest.MonkeyPatch()
    patch.setenv("AMORSIZE_CACHE_DIR", str(tmp_path_factory.mktemp("amorsize-cache")))
    yield
    patch.undo()


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of stored costs of one test, which knows no others."""
    from amorsize import pricing

    monkeypatch.setenv("AMORSIZE_CACHE_DIR", str(tmp_path / "cache"))
    pricing.forget()
    yield tmp_path / "cache" / "costs"
    pricing.forget()


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    distributed = pytest.importorskip("distributed", reason="Dask is not installed")
    dask = pytest.importorskip("dask")
    environment = dict(os.environ)  # a nanny leaves its workers' limits in the caller's
    # By default a cluster drops for good whoever is starting 15 s after an earlier death: where
    # many tests kill workers one after the other, all of them sooner or later.
    patience = dask.config.set({"distributed.deploy.lost-worker-timeout": "1 day"})
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=50
    )
    with patience, cluster, distributed.Client(cluster) as connected:
        _freeze()
        yield connected
    os.environ.clear()
    os.environ.update(environment)


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    _freeze()
    yield ray
    ray.shutdown()


@pytest.fixture
def calls(tmp_path: Path) -> Iterator[CallLog]:
    """Counts calls across processes. In memory where files can be there: an item that logs itself
    would wait for the disk, in truth, while others write to it.
    """
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield CallLog(tmp_path / "calls")
        return
    with tempfile.TemporaryDirectory(prefix="amorsize-calls-", dir=memory) as folder:
        yield CallLog(Path(folder) / "calls")


class CallLog:
    """A file to which each call appends one line; appending is atomic between processes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, item: object) -> object:
        with self.path.open("a") as file:
            file.write(f"{item}\n")
        return item

    @property
    def items(self) -> list[int]:
        """The items of all calls, sorted."""
        return sorted(int(line) for line in self.path.read_text().splitlines())


Hears = Callable[[str, Callable[[], list[int]]], set[tuple[type[Warning], str]]]


@pytest.fixture
def hears(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Hears:
    """Run 40 items that talk, and check that what each printed and logged is heard once; returns
    the warnings.
    """

    def check(logger: str, run: Callable[[], list[int]]) -> set[tuple[type[Warning], str]]:
        with caplog.at_level(logging.INFO, logger), warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            assert run() == list(range(40))
        captured = capsys.readouterr()
        assert sorted(captured.out.splitlines()) == sorted(f"out {x}" for x in range(40))
        said = [line for line in captured.err.splitlines() if line.startswith("err ")]
        assert sorted(said) == sorted(f"err {x}" for x in range(40))
        logged = [record.getMessage() for record in caplog.records if record.name == logger]
        assert sorted(logged) == sorted(f"item {x}" for x in range(40))
        return {(warning.category, str(warning.message)) for warning in warned}

    return check


class Groups:
    """Control groups made for one test: v1 or v2, whichever this machine has."""

    def __init__(self) -> None:
        self.made: list[Path] = []
        self.version = 0
        self._roots: dict[str, Path] = {}
        base = Path("/sys/fs/cgroup")
        if (base / "cgroup.controllers").is_file():
            self.version = 2
            self._roots = {"cpu": base, "memory": base, "pids": base}
        elif (base / "cpu" / "cpu.cfs_quota_us").is_file() or (base / "memory").is_dir():
            self.version = 1
            self._roots = {"cpu": base / "cpu", "memory": base / "memory"}
            if (base / "pids").is_dir():
                self._roots["pids"] = base / "pids"

    def make(
        self,
        path: str,
        *,
        quota: float | None = None,
        memory: int | None = None,
        tasks: int | None = None,
    ) -> None:
        """Make a group below the controllers' roots, with a quota in cores, bytes, and processes
        and threads.
        """
        for root in dict.fromkeys(self._roots.values()):
            group = root / path
            if self.version == 2:
                wanted = "+cpu +memory" + (" +pids" if tasks is not None else "")
                (group.parent / "cgroup.subtree_control").write_text(wanted)
            group.mkdir()
            self.made.append(group)
        cpu, mem = self._roots["cpu"] / path, self._roots["memory"] / path
        if quota is not None and self.version == 2:
            (cpu / "cpu.max").write_text(f"{int(quota * 100_000)} 100000")
        elif quota is not None:
            (cpu / "cpu.cfs_period_us").write_text("100000")
            (cpu / "cpu.cfs_quota_us").write_text(str(int(quota * 100_000)))
        if memory is not None:
            name = "memory.max" if self.version == 2 else "memory.limit_in_bytes"
            (mem / name).write_text(str(memory))
        if tasks is not None and "pids" not in self._roots:
            raise OSError("there is no controller of processes")
        if tasks is not None:
            (self._roots["pids"] / path / "pids.max").write_text(str(tasks))

    def entry(self, path: str) -> str:
        """Return the code by which a child enters the group."""
        files = [str(root / path / "cgroup.procs") for root in dict.fromkeys(self._roots.values())]
        return f"import os\nfor name in {files!r}:\n    open(name, 'w').write(str(os.getpid()))"

    def remove(self) -> None:
        for group in reversed(self.made):
            with contextlib.suppress(OSError):
                for pid in (group / "cgroup.procs").read_text().split():
                    os.kill(int(pid), signal.SIGKILL)
            with contextlib.suppress(OSError):
                group.rmdir()


@pytest.fixture
def cgroups() -> Iterator[Groups]:
    groups = Groups()
    if not groups.version:
        pytest.skip("no control groups are mounted at /sys/fs/cgroup")
    trial = f"amorsize-trial-{os.getpid()}"
    try:
        try:
            groups.make(trial, quota=1.0, memory=64 << 20)
        except OSError as error:
            pytest.skip(f"control groups cannot be made here: {error}")
        yield groups
    finally:
        groups.remove()


@pytest.fixture(autouse=True)
def _unwatched() -> None:
    """What samples of one test have seen of a function tells others nothing."""
    from amorsize import watched

    watched.forget()
