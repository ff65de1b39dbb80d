"""Whether the kernel kills processes because memory has run out."""

from __future__ import annotations

_VMSTAT = "/proc/vmstat"


def oom_kills(path: str = _VMSTAT) -> int:
    """Processes that the kernel's out-of-memory killer has ended since the start of the system,
    those at the limit of a control group included; 0 where the system does not tell.
    """
    try:
        with open(path, "rb") as file:
            for line in file:
                if line.startswith(b"oom_kill "):
                    return int(line.split()[1])
    except (OSError, ValueError, IndexError):
        pass
    return 0
