"""How much memory a process uses."""

from __future__ import annotations

import os
from pathlib import Path


def resident_bytes(pid: int | None = None) -> int | None:
    """Of this process, or of another one of the same user; None where the system does not tell."""
    whose = "self" if pid is None else str(pid)
    try:
        return int(Path(f"/proc/{whose}/statm").read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return None
