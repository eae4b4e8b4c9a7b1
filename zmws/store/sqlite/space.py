"""Room on the disk: the alarm that refuses new jobs early, and the reserve that lets the rest go on.

Rule 1: below `free_bytes_min` new jobs are refused while there is still room for what runs.
Rule 2: if the disk is full all the same, the reserve, a file that only takes up room, is given away; what
        must be written (ends of jobs) then fits. It is made anew when there is room again.
"""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path

OPENING_BYTES = 1024 * 1024  # more than SQLite takes to open a file

log = logging.getLogger("zmws.store")


class Space:
    """The room on the disk of `path`, the database."""

    def __init__(self, path: Path, reserve_bytes: int, free_bytes_min: int) -> None:
        self._path = path
        self._folder = path.parent
        self._reserve = path.with_name(path.name + ".reserve")
        self._reserve_bytes = reserve_bytes
        self.free_bytes_min = free_bytes_min
        self.alarm = False  # new jobs are refused
        self._released = False

    def look(self) -> bool:
        """Whether new jobs are to be refused now. A few microseconds."""
        free = self.free_bytes()
        if not self.alarm:
            if free < self.free_bytes_min:
                self._raise_alarm(f"{free} bytes are free, less than store.free_bytes_min")
        # Well above the minimum, or the alarm would flutter: to move the WAL into the file gives as much
        # room as the reserve has, for a while.
        elif free > self.free_bytes_min + (3 if self._released else 2) * self._reserve_bytes and (
            self._make_reserve()
        ):
            self.alarm = False
            log.warning("%s: there is room on the disk again; new jobs are accepted", self._path)
        return self.alarm

    def make_way(self) -> None:
        """Before the file is opened, which takes some room too."""
        if self.free_bytes() < OPENING_BYTES:
            self.release()

    def prepare(self) -> None:
        """At the start: make the reserve, unless the disk is too full for it."""
        if self.free_bytes() < self.free_bytes_min:
            self.look()
        elif not self._make_reserve():
            self._raise_alarm("there is no room for the reserve")

    def release(self) -> bool:
        """The disk is full: give the reserve away. False if that was done before."""
        self._raise_alarm("the disk is full")
        self._released = True
        try:
            self._reserve.unlink()
        except OSError:
            return False
        return True

    def free_bytes(self) -> int:
        """What an ordinary process may still write."""
        disk = os.statvfs(self._folder)
        return disk.f_bavail * disk.f_frsize

    def _raise_alarm(self, reason: str) -> None:
        if not self.alarm:
            self.alarm = True
            log.error("%s: %s; new jobs are refused until there is room", self._path, reason)

    def _make_reserve(self) -> bool:
        with contextlib.suppress(OSError):
            if self._reserve.stat().st_size == self._reserve_bytes:
                self._released = False
                return True
        try:
            file = os.open(self._reserve, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                if self._reserve_bytes:
                    os.posix_fallocate(file, 0, self._reserve_bytes)
                    os.fsync(file)
            finally:
                os.close(file)
        except OSError:
            with contextlib.suppress(OSError):
                self._reserve.unlink()
            return False
        self._released = False
        return True
