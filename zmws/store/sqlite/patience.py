"""What the writer's thread waits for when the host does not let it go on: room, or another program's lock.

Rule 1: it waits as long as it takes, and nothing is acknowledged meanwhile. `give_up` ends it.
Rule 2: a wait that lasts is told in the log, once, and so is its end; anybody may ask `reason` at any time.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import threading
import time
from pathlib import Path

RETRY_S = 0.2  # between two tries
TOLD_AFTER_S = 1.0  # a program that locks the file for a moment is nobody's matter

FULL = "the disk is full"

# PROTOCOL: readers were locked out for so long that SQLite has stopped to try.
_LOCKED_CODES = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL)
log = logging.getLogger("zmws.store")


def is_locked(wrong: sqlite3.Error) -> bool:
    """Whether another program's lock is the reason, in any of the ways in which SQLite says so."""
    return getattr(wrong, "sqlite_errorcode", 0) & 0xFF in _LOCKED_CODES


def locked(path: Path) -> str:
    """What to say of it: by whom, where the system tells."""
    pids = _lockers(path)
    who = f" (process {', '.join(map(str, pids))})" if pids else ""
    return f"another program{who} has locked the file"


class Patience:
    """The wait of one thread; `reason` and `give_up` are for any."""

    def __init__(self, path: Path) -> None:
        self.reason: str | None = None
        self._path = path
        self._given_up = threading.Event()
        self._kind = ""
        self._since = 0.0
        self._told = False

    def give_up(self) -> None:
        """There will be no wait any more."""
        self._given_up.set()

    def wait_for_room(self) -> bool:
        """Wait a little; false if that is given up."""
        return self._wait(FULL)

    def wait_for_lock(self) -> bool:
        """Wait a little; false if that is given up."""
        return self._wait("locked")

    def over(self) -> None:
        """What was waited for has come."""
        if self.reason is None:
            return
        if self._told:
            waited_s = time.monotonic() - self._since
            log.warning("%s: commits go on, after %.1f s", self._path, waited_s)
        self.reason, self._kind, self._told = None, "", False

    def _wait(self, kind: str) -> bool:
        now = time.monotonic()
        if kind != self._kind:
            self._kind, self._since, self._told = kind, now, False
        if self.reason is None or not self._told:
            self.reason = locked(self._path) if kind != FULL else FULL
        if not self._told and now - self._since >= TOLD_AFTER_S:
            self._told = True
            log.warning("%s: %s; commits wait until that is over", self._path, self.reason)
        return not self._given_up.wait(RETRY_S)


def _lockers(path: Path) -> list[int]:
    """The other processes that hold the file for writing; none where the system does not tell."""
    places = set()
    for name in (path.name, path.name + "-shm"):
        with contextlib.suppress(OSError):
            about = path.with_name(name).stat()
            places.add(f"{os.major(about.st_dev):02x}:{os.minor(about.st_dev):02x}:{about.st_ino}")
    pids = set()
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/locks").read_text().splitlines():
            # 1: POSIX  ADVISORY  WRITE 4711 fd:01:131083 120 120
            fields = line.split()
            if len(fields) == 8 and fields[3] == "WRITE" and fields[5] in places:
                pids.add(int(fields[4]))
    return sorted(pid for pid in pids if pid > 0 and pid != os.getpid())
