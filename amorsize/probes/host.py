"""Where the probes read: a root directory, an environment, a process and the system's calls."""

from __future__ import annotations

import os
from collections.abc import Mapping

from amorsize.files import content
from amorsize.probes.system import System

# /proc/cpuinfo of a host with 512 CPUs has about 0.8 MB; nothing the probes read is larger.
_MAX_BYTES = 4 << 20


class Host:
    """One machine as the probes see it, real or recorded.

    Tests give ``root`` a directory that holds recorded ``proc`` and ``sys`` trees, and the
    other fields recorded answers.
    """

    def __init__(
        self,
        root: str = "",
        environ: Mapping[str, str] | None = None,
        pid: int | None = None,
        system: System | None = None,
    ) -> None:
        self.root = root
        """Directory before every path; empty for the running system."""
        self.environ: Mapping[str, str] = os.environ if environ is None else environ
        """Environment variables."""
        self.pid = pid
        """The process looked at; ``None`` is this one."""
        self.system = system or System()
        """Calls of the operating system."""

    @property
    def proc(self) -> str:
        """The process's directory under /proc."""
        return f"/proc/{self.pid or 'self'}"

    @property
    def linux(self) -> bool:
        """Whether this is Linux."""
        return self.system.platform.startswith("linux")

    def read(self, path: str) -> str | None:
        """Return the text of a file, or ``None`` when it cannot be read.

        Bytes that are not ASCII become U+FFFD, which no parser takes for a number.
        """
        try:
            return content(self.root + path, _MAX_BYTES).decode("ascii", "replace")
        except (OSError, ValueError):  # ValueError: a NUL byte in a malformed path
            return None

    def entries(self, path: str) -> list[str]:
        """Return the sorted names in a directory; none when it cannot be listed."""
        try:
            return sorted(os.listdir(self.root + path))
        except (OSError, ValueError):
            return []

    def is_dir(self, path: str) -> bool:
        """Return whether the directory exists."""
        try:
            return os.path.isdir(self.root + path)
        except ValueError:
            return False

    def variable(self, name: str) -> str | None:
        """Return an environment variable, or ``None`` when unset or blank."""
        value = self.environ.get(name)
        return value if value and value.strip() else None
