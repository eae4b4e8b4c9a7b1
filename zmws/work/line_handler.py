"""How the log of a worker is written where nobody has set it up otherwise.

Rule: a line that is made here without a record is, to the letter, what the record would have made.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TextIO

_TIME = "%Y-%m-%dT%H:%M:%S"
_FORM = "%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s:%(zmws)s %(message)s"

if TYPE_CHECKING:
    _Base = logging.StreamHandler[TextIO]
else:
    _Base = logging.StreamHandler


class LineHandler(_Base):
    """Writes lines with times in UTC. `zmws`: which job a line belongs to (job_log.py)."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self.setFormatter(logging.Formatter(_FORM, datefmt=_TIME, defaults={"zmws": ""}))
        self._form = self.formatter
        self._second = (-1, "")  # and how it is written

    def is_all(self, log: logging.Logger, beside: logging.Handler) -> bool:
        """Whether what this logger is told comes here as it is, and to nobody else but `beside`, who does
        nothing with it: no filter, format or handler of somebody else's is on its way."""
        if self.formatter is not self._form or self.filters or self.level:
            return False
        at: logging.Logger | None = log
        while at is not None:
            if at.filters or at.disabled or not at.propagate:
                return False
            if at.parent is not None and at.handlers:
                return False
            root, at = at, at.parent
        return set(root.handlers) <= {self, beside} and self in root.handlers

    def write_lines(self, name: str, lines: Iterable[tuple[float, str, str, str, tuple[Any, ...]]]) -> None:
        """Lines of one logger: when, level, the job, text and its values."""
        made = []
        for at, level, job, text, values in lines:
            second = int(at)
            if second != self._second[0]:
                self._second = second, time.strftime(_TIME, time.gmtime(second))
            told = text % values if values else text
            made.append(f"{self._second[1]}.{int((at - second) * 1000):03d}Z {level} {name}:{job} {told}\n")
        self.acquire()
        try:
            self.stream.write("".join(made))
            self.flush()
        finally:
            self.release()
