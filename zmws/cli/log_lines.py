"""Lines of several logs on one terminal: each with the name of its process before it."""

from __future__ import annotations

import sys
import threading

from zmws.cli.output import give_up, has_colours, painted
from zmws.cli.tables import plain

_COLOURS = (36, 32, 33, 35, 34, 31, 96, 92, 93, 95, 94)  # of ECMA-48: cyan, green, yellow, ...
_WIDTH = 12  # a longer name takes more


class LogLines:
    """Writes a line of a process to standard output; who is not there to read it is not waited for."""

    def __init__(self, as_they_are: bool) -> None:
        """`as_they_are`: without names, for lines of JSON."""
        self._as_they_are = as_they_are
        self._colours = has_colours()
        self._numbers: dict[str, int] = {}
        self._width = _WIDTH
        self._writing = threading.Lock()

    def __call__(self, name: str, line: str) -> None:
        """Write it."""
        with self._writing:
            number = self._numbers.setdefault(name, len(self._numbers))
            self._width = max(self._width, len(name))
            before = f"{name:<{self._width}} | "
            if self._colours:
                before = painted(before, _COLOURS[number % len(_COLOURS)])
            try:
                sys.stdout.write(f"{'' if self._as_they_are else before}{plain(line)}\n")
                sys.stdout.flush()
            except OSError:
                give_up(sys.stdout)
