"""The file that a process writes its log into, and with it all that it prints.

Rule 1: the process itself opens the file, and begins another when it is too large: nobody else could do that
        without a pipe between, which would break with whoever reads it.
Rule 2: standard output and error go there, whoever writes to them (descriptors 1 and 2). A process that was
        started by this one before another file was begun goes on writing into the older one.
Rule 3: where no other file can be begun it goes on with the one it has, and says so once.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

_LOOK_S = 1.0
_STREAMS = (1, 2)


class LogFile:
    """NAME.txt, and NAME.txt.1 to NAME.txt.N, the older ones."""

    def __init__(self, path: Path, bytes_max: int, files: int) -> None:
        """`files`: how many older ones are kept; 0: what was written is cut off."""
        self._path, self._bytes_max, self._files = path, bytes_max, files
        self._wanted = threading.Event()  # somebody has moved it
        self._failed = ""  # why no other could be begun, the last time

    def take(self) -> None:
        """From now on what this process writes goes there, and a thread looks after it."""
        self._try(self._open)
        threading.Thread(target=self._look_after, name="zmws-log-file", daemon=True).start()

    def reopen(self) -> None:
        """Within a second: somebody has moved or removed the file. For signal handlers, too."""
        self._wanted.set()

    def look(self) -> None:
        """Begin another file, if this one is too large."""
        if self._wanted.is_set():
            self._wanted.clear()
            self._try(self._open)
        elif os.fstat(2).st_size >= self._bytes_max:
            self._try(self._rotate)

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
        for number in range(self._files, 0, -1):
            older = self._numbered(number - 1)
            if number == self._files or older.exists():
                with contextlib.suppress(FileNotFoundError):
                    older.replace(self._numbered(number))
        if self._files:
            self._open()
        else:
            os.ftruncate(2, 0)

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}") if number else self._path

    def _open(self) -> None:
        fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            for stream in _STREAMS:
                os.dup2(fd, stream)
        finally:
            os.close(fd)

    def _look_after(self) -> None:
        while True:
            self._wanted.wait(_LOOK_S)
            self.look()
