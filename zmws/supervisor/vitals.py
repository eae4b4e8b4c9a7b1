"""What the system tells of a process: since when it runs, its memory, its processor time.

Linux tells it in /proc (proc(5)); elsewhere there is nothing.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Vitals:
    """Seconds it has run, bytes it has in memory, seconds of processor time it has used."""

    uptime_s: float
    memory_bytes: int
    cpu_s: float


def began_before(pid: int, file: Path) -> bool:
    """Whether a process began before the last change of a file: it runs an older one."""
    lives = vitals(pid)
    try:
        changed_at = file.stat().st_mtime
    except OSError:
        return False
    now = time.time()
    # None of the future, which would stay so.
    return lives is not None and now - lives.uptime_s < changed_at <= now


def memory_by_session() -> dict[int, int]:
    """Bytes in memory, by the number of the process that leads the session: its own, and of all that it has
    started and that leads no session of its own. What several of them share counts for each. Nothing where
    the system does not tell."""
    sizes: dict[int, int] = {}
    page_bytes = os.sysconf("SC_PAGE_SIZE")
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            # After the name in brackets, which may hold anything: the session is field 6.
            leader = int((entry / "stat").read_text().rpartition(")")[2].split()[3])
            pages = int((entry / "statm").read_text().split()[1])
        except (OSError, ValueError, IndexError):
            continue
        sizes[leader] = sizes.get(leader, 0) + pages * page_bytes
    return sizes


def vitals(pid: int) -> Vitals | None:
    """Of this process; None where it has gone, or the system does not tell."""
    try:
        # After the name in brackets, which may hold anything: utime is field 14, the start field 22.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    per_s = os.sysconf("SC_CLK_TCK")
    up_s = time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / per_s
    cpu_s = (int(fields[11]) + int(fields[12])) / per_s
    return Vitals(max(0.0, up_s), pages * os.sysconf("SC_PAGE_SIZE"), cpu_s)
