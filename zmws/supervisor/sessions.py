"""What a worker's own code has started: programs that are left when the worker is killed.

Rule 1: each process that we start leads a session of its own, and what it starts is in that session too,
        unless it makes one of its own.
Rule 2: the number of a session outlives its leader, and says nothing by itself: a daemon has left its leader
        too. So a process is ours only if it carries the mark that we gave the leader in its environment.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

MARK = "ZMWSPROCESS"  # not ZMWS_..., which would be taken for a setting
_ROUNDS_S = 5.0  # a killed process ends at once, unless the system is busy with it
_POLL_S = 0.02


def end_group(leader: int) -> None:
    """Kill a process that runs, and is ours, with all of its group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.getpgid(leader) == leader:
            os.killpg(leader, signal.SIGKILL)
            return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(leader, signal.SIGKILL)


def end_left(leader: int, mark: str, within_s: float = _ROUNDS_S) -> int:
    """Kill what is left of the session of a leader that has ended; how many processes that were."""
    ended: set[int] = set()
    until = time.monotonic() + within_s
    # Again and again: one of them may have started another meanwhile.
    while (left := _members(leader, mark)) and time.monotonic() < until:
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        ended.update(left)
        time.sleep(_POLL_S)
    return len(ended)


def _members(leader: int, mark: str) -> list[int]:
    """None where the system has no /proc."""
    found = []
    carried = os.fsencode(f"{MARK}={mark}")
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            # After the name in brackets: the state is field 3, the session field 6.
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == leader and fields[0] not in "ZX" and entry.name != str(leader):
                environ = (entry / "environ").read_bytes().split(b"\0")
                if carried in environ:
                    found.append(int(entry.name))
    return found
