"""How the log of a process is written where nobody has set it up otherwise: as text, or as lines of JSON.

Rule: a line that is made here without a record is, to the letter, what the record would have made.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TextIO

_TIME = "%Y-%m-%dT%H:%M:%S"
_FORM = "%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s:%(zmws)s %(message)s"

_JOB = re.compile(r" \[(?P<service>\S*) (?P<job>\S*)/(?P<attempt>\d+)\]")  # as job_log.told_of has it

if TYPE_CHECKING:
    _Base = logging.StreamHandler[TextIO]
else:
    _Base = logging.StreamHandler


class _AsJson(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        second = time.strftime(_TIME, time.gmtime(record.created))
        text, more = record.getMessage(), {}
        if record.exc_info:
            more["traceback"] = self.formatException(record.exc_info)
        if record.stack_info:
            more["stack"] = self.formatStack(record.stack_info)
        job = str(getattr(record, "zmws", ""))
        return json_line(f"{second}.{int(record.msecs):03d}Z", record.levelname, record.name, job, text, more)


def json_line(
    at: str, level: str, logger: str, job: str, message: str, more: dict[str, str] | None = None
) -> str:
    """A line of the log as JSON: `at` (ISO 8601), `level`, `logger`, `message`; of a job `service`, `job` (an
    id) and `attempt`; where there is one `traceback`."""
    told: dict[str, Any] = {"at": at, "level": level, "logger": logger, "message": message}
    if (of := _JOB.fullmatch(job)) is not None:
        told |= {"service": of["service"], "job": of["job"], "attempt": int(of["attempt"])}
    return json.dumps(told | (more or {}), ensure_ascii=False)


class LineHandler(_Base):
    """Writes lines with times in UTC. `zmws`: which job a line belongs to (job_log.py)."""

    def __init__(self, stream: TextIO, as_json: bool = False) -> None:
        super().__init__(stream)
        self.as_json = as_json
        form = _AsJson() if as_json else logging.Formatter(_FORM, datefmt=_TIME, defaults={"zmws": ""})
        self.setFormatter(form)
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
            when = f"{self._second[1]}.{int((at - second) * 1000):03d}Z"
            line = (
                json_line(when, level, name, job, told)
                if self.as_json
                else f"{when} {level} {name}:{job} {told}"
            )
            made.append(line + "\n")
        self.acquire()
        try:
            self.stream.write("".join(made))
            self.flush()
        finally:
            self.release()
