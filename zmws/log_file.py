"""The file that a process writes its log into, and with it all that it prints.

Rule 1: the process itself opens the file, and begins another when it is too large: nobody else could do that
        without a pipe between, which would break with whoever reads it.
Rule 2: standard output and error go there, whoever writes to them (descriptors 1 and 2). A process that was
        started by this one before another file was begun goes on writing into the older one.
Rule 3: where no other file can be begun it goes on with the one it has, and says so once; one that is twice
        as large as it may be is cut off then. No older file is moved before the new one is open.
Rule 4: a file that somebody has moved or removed is made anew, within a second or two.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

_LOOK_S = 1.0
_STREAMS = (1, 2)


class LogFile:
    """NAME.txt, and NAME.txt.1 to NAME.txt.N, the older ones."""

    def __init__(self, path: Path, bytes_max: int, files: int) -> None:
        """`files`: how many older ones are kept; 0: what was written is cut off."""
        self._path, self._bytes_max, self._files = path, bytes_max, files
        self._wanted = False  # somebody says that it is to be opened anew
        self._mine: tuple[int, int] | None = None  # which file standard error is, as far as we know
        self._failed = ""  # why no other could be begun, the last time

    def take(self) -> None:
        """From now on what this process writes goes there, and a thread looks after it."""
        self._try(self._open)
        threading.Thread(target=self._look_after, name="zmws-log-file", daemon=True).start()

    def reopen(self) -> None:
        """Open it anew, within a second. For signal handlers, too: nothing is locked."""
        self._wanted = True

    def look(self) -> None:
        """Begin another file, if this one is too large; make it anew, if it has gone."""
        try:
            mine = os.fstat(2)
        except OSError:
            return  # a job has closed it
        if self._mine is not None and (mine.st_dev, mine.st_ino) != self._mine:
            return  # a job has put something else there
        if self._wanted or not self._is_there():
            self._wanted = False
            self._try(self._open)
        elif self._mine is not None and mine.st_size >= self._bytes_max:
            self._try(self._rotate)
            if mine.st_size >= 2 * self._bytes_max and self._failed:
                with contextlib.suppress(OSError):
                    os.ftruncate(2, 0)

    def _is_there(self) -> bool:
        """Whether the file of that name is the one that this process writes into."""
        if self._mine is None:
            return True  # it could not even be opened: nothing has changed about that
        try:
            found = self._path.stat()
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == self._mine

    def _try(self, step: Callable[[], None]) -> None:
        try:
            step()
            self._failed = ""
        except OSError as wrong:
            why = f"{wrong.strerror}: {wrong.filename or self._path}"
            if why != self._failed:
                self._failed = why
                with contextlib.suppress(OSError, ValueError):
                    sys.stderr.write(f"zmws: no other log file can be begun, this one goes on: {why}\n")

    def _rotate(self) -> None:
        if not self._files:
            return os.ftruncate(2, 0)
        path = self._path.resolve()  # a link goes on being one
        new = path.with_name(f"{path.name}.new")
        fd = _opened(new)
        try:
            for number in range(self._files, 0, -1):
                with contextlib.suppress(FileNotFoundError):
                    numbered(path, number - 1).replace(numbered(path, number))
            new.replace(path)
            self._take(fd)
        finally:
            os.close(fd)
            with contextlib.suppress(OSError):
                new.unlink()
        return None

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fd = _opened(self._path)
        try:
            self._take(fd)
        finally:
            os.close(fd)

    def _take(self, fd: int) -> None:
        for stream in _STREAMS:
            os.dup2(fd, stream)
        found = os.fstat(fd)
        self._mine = found.st_dev, found.st_ino

    def _look_after(self) -> None:
        while True:
            time.sleep(_LOOK_S)
            self.look()


def numbered(path: Path, number: int) -> Path:
    """A file of a log: 0 the newest, 1 the one before it."""
    return path.with_name(f"{path.name}.{number}") if number else path


def _opened(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
