"""The logs of processes: their last lines, and what comes after."""

from __future__ import annotations

import codecs
import contextlib
import itertools
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from zmws.core.table import did_you_mean
from zmws.errors import SettingsError
from zmws.log_file import numbered
from zmws.supervisor.processes import Installation

_POLL_S = 0.2


def logs_of(installation: Installation, name: str) -> dict[str, Path]:
    """The log of a process, or those of all copies of a worker. Raises SettingsError if there is none."""
    processes = installation.processes(True, True, with_spare=True)
    chosen = [one.name for one in processes if name in (one.name, one.group)] or [name]
    files = {one: installation.log_file(one) for one in chosen if installation.log_file(one).is_file()}
    if not files:
        there_are = sorted(file.stem for file in installation.logs_dir.glob("*.txt"))
        hint = did_you_mean(name, there_are)
        raise SettingsError(f"there is no log of '{name}' in {installation.logs_dir}{hint}")
    return files


class Log:
    """An open log, which is read on as it grows. Raises OSError."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._log = file.open("rb")
        self._was_put_aside = False
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def seek(self, begin: int) -> None:
        """What comes after this byte is `grown`."""
        self._log.seek(begin)

    def last_lines(self, count: int) -> list[str]:
        """So many lines of its end, and of the file before it; what comes later is `grown`."""
        lines = seek_last_lines(self._log, count)
        return [*last_lines(numbered(self._file, 1), count - len(lines)), *lines]

    def grown(self) -> str:
        """What has come since, also into other files that were begun in its place."""
        text = self._decoder.decode(self._log.read())
        try:
            now, here = self._file.stat(), os.fstat(self._log.fileno())
        except OSError:
            return text  # just between two files
        if (now.st_dev, now.st_ino) == (here.st_dev, here.st_ino):
            if self._log.tell() <= now.st_size:
                return text
            self._log.seek(0)  # it was cut: begin again
            return text + self._decoder.decode(self._log.read())
        if not self._was_put_aside:
            self._was_put_aside = True  # whoever writes may just be about to change: once more
            return text
        self._was_put_aside = False
        # Perhaps several were begun meanwhile: those between the old one and the newest.
        between: list[Path] = []
        for older in itertools.count(1):
            try:
                found = numbered(self._file, older).stat()
            except OSError:
                between = []  # the old one is not kept any more: nobody knows which are newer
                break
            if (found.st_dev, found.st_ino) == (here.st_dev, here.st_ino):
                break
            between.append(numbered(self._file, older))
        self._log.close()
        for file in reversed(between):
            with contextlib.suppress(OSError):
                text += self._decoder.decode(file.read_bytes())
        self._log = self._file.open("rb")
        return text + self._decoder.decode(self._log.read())

    def close(self) -> None:
        """It is not read any more."""
        self._log.close()


def follow(logs: Sequence[Log]) -> Iterator[str]:
    """What comes into these, without an end."""
    while True:
        texts = [text for log in logs if (text := log.grown())]
        yield from texts
        if not texts:
            time.sleep(_POLL_S)


def last_lines(file: Path, count: int, begin: int = 0) -> list[str]:
    """The last lines of a log, and none from before the byte `begin`; none if there is none."""
    try:
        with file.open("rb") as log:
            return seek_last_lines(log, count, begin)
    except OSError:
        return []


def seek_last_lines(log: BinaryIO, count: int, begin: int = 0) -> list[str]:
    """The last lines of an open log, which then stands behind them."""
    end = log.seek(0, os.SEEK_END)
    begin = begin if begin <= end else 0  # it was cut meanwhile
    size = end - begin
    back = 400 * (count + 1)
    while True:
        log.seek(max(begin, end - back))
        text = log.read(min(size, back))
        if back >= size or text.count(b"\n") > count:
            return text.decode("utf-8", "replace").splitlines()[-count:] if count else []
        back *= 4
