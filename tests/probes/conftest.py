"""Recorded machines: a tree of files, an environment and the system's answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from amorsize.probes import Host, System

GIB = 1 << 30


class RecordedSystem(System):
    """Answers as another machine gave them; nothing of this one."""

    def __init__(self, platform: str, **answers: object) -> None:
        self.platform = platform
        self._answers = answers

    def _answer(self, name: str) -> object:
        return self._answers.get(name)

    def cpu_count(self) -> int | None:
        return self._answer("cpus")  # type: ignore[return-value]

    def affinity(self) -> frozenset[int] | None:
        return self._answer("affinity")  # type: ignore[return-value]

    def physical_cores(self, *, load: bool) -> int | None:
        return self._answer("psutil_cores")  # type: ignore[return-value]

    def lscpu(self) -> str | None:
        return self._answer("lscpu")  # type: ignore[return-value]

    def sysctl(self, name: str) -> int | None:
        table: Mapping[str, int] = self._answer("sysctl") or {}  # type: ignore[assignment]
        return table.get(name)

    def available_memory(self) -> int | None:
        return self._answer("memory")  # type: ignore[return-value]

    def loadavg(self) -> tuple[float, float, float] | None:
        return self._answer("loadavg")  # type: ignore[return-value]

    def rlimits(self) -> dict[str, int]:
        return self._answer("rlimits") or {}  # type: ignore[return-value]

    def hostname(self) -> str:
        return "node7.example.org"

    def cpu_seconds(self) -> float:
        return self._answer("cpu_seconds") or 0.0  # type: ignore[return-value]

    def clock_ticks(self) -> int:
        return 100

    def page_size(self) -> int:
        return 4096


@pytest.fixture
def machine(tmp_path: Path) -> Callable[..., Host]:
    """Build a recorded host from a mapping of paths to file texts."""

    def build(
        tree: Mapping[str, str] | None = None,
        environ: Mapping[str, str] | None = None,
        platform: str = "linux",
        **answers: object,
    ) -> Host:
        root = tmp_path / "root"
        root.mkdir(exist_ok=True)
        for path, text in (tree or {}).items():
            file = root / path.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        answers.setdefault("cpus", 8)
        return Host(str(root), environ or {}, None, RecordedSystem(platform, **answers))

    return build
