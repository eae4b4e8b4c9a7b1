"""What the author's code logs while a job runs goes into that job's log, too; and each line of the process
says which job it belongs to.

Rule 1: records of the `logging` module, whatever their logger and thread, while a job is in hand; not zmws's
        own. Standard output and error only where the class asks for it (`log_output`).
Rule 2: a line is cut at LINE_CHARS_MAX; how much a job's log keeps is the broker's `log_bytes_max`.
Rule 3: nothing here fails a job, and no line that comes of telling a line is told again.
"""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

from zmws.work.job import JobInHand, end_follow_ups

LINE_CHARS_MAX = 8_000
_OURS = ("zmws", "asyncio")
_OF_JOB = ("service", "job_id", "attempt", "zmws")

_running: list[JobInHand] = []  # the jobs in hand in this process
_mine: ContextVar[JobInHand | None] = ContextVar("zmws_job", default=None)
_telling = threading.local()  # `now`: this thread is telling a line already
_installed = 0
_lock = threading.Lock()


def current() -> JobInHand | None:
    """The job that this code belongs to: its context's; in a thread that the author's code has started, the
    only one in hand."""
    mine = _mine.get()
    if mine is not None:
        return mine
    running = _running[:2]
    return running[0] if len(running) == 1 else None


@contextlib.contextmanager
def in_hand(job: JobInHand, output: bool) -> Iterator[None]:
    """The code inside works on this job. `output`: what it prints goes into the job's log, too."""
    root = logging.getLogger()
    if _installed and job_handler not in root.handlers:
        root.addHandler(job_handler)  # dictConfig(), in a setup() say, takes away all that root has
    before = _mine.set(job)
    _running.append(job)
    try:
        if output:
            with _output(job):
                yield
        else:
            yield
    finally:
        end_follow_ups(job)  # of one that has not completed, too
        _running.remove(job)
        _mine.reset(before)


@contextlib.contextmanager
def installed() -> Iterator[None]:
    """While a worker runs, records carry `service`, `job_id`, `attempt` and `zmws` (all three, for a format),
    and go into their job's log."""
    global _installed, _factory
    with _lock:
        _installed += 1
        if _installed == 1:
            _factory = _Factory(logging.getLogRecordFactory())
            logging.setLogRecordFactory(_factory)
            logging.getLogger().addHandler(job_handler)
    try:
        yield
    finally:
        with _lock:
            _installed -= 1
            if not _installed:
                logging.getLogger().removeHandler(job_handler)
                # The author's code may have put another one around it: then it stays, and does nothing.
                if logging.getLogRecordFactory() is _factory:
                    logging.setLogRecordFactory(_factory.before)
                _factory = None


def told_of(job: JobInHand) -> str:
    """Which job a line belongs to."""
    return f" [{job.service} {job.id}/{job.attempt}]"


class _Factory:
    """Makes records that say which job they belong to."""

    def __init__(self, before: Callable[..., logging.LogRecord]) -> None:
        self.before = before

    def __call__(self, *args: Any, **given: Any) -> logging.LogRecord:
        record = self.before(*args, **given)
        if self is not _factory:
            return record
        job = current()
        told = _Told(vars(record))
        if job is None:
            told |= {"service": None, "job_id": None, "attempt": None, "zmws": ""}
        else:
            told |= {"service": job.service, "job_id": job.id, "attempt": job.attempt}
            told["zmws"] = told_of(job)
        record.__dict__ = told
        return record


class _Told(dict[str, Any]):
    """A record's attributes. `extra={"service": ...}` of the author's goes before ours: logging would refuse
    to overwrite what it knows of, and the job would fail by it."""

    def __contains__(self, name: object) -> bool:
        return name not in _OF_JOB and super().__contains__(name)

    def __reduce__(self) -> Any:
        return dict, (dict(self),)  # whoever is sent a record need not have zmws


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if record.name.partition(".")[0] in _OURS:
            return
        with contextlib.suppress(Exception):
            text = f"{record.levelname} {record.name}: {record.getMessage()}"
            with contextlib.suppress(Exception):  # an exception whose own class fails
                if record.exc_info:
                    text += f"\n{_plain.formatException(record.exc_info)}"
                if record.stack_info:
                    text += f"\n{record.stack_info}"
            _tell(text)


_factory: _Factory | None = None  # the one that is installed
job_handler, _plain = _Handler(), logging.Formatter()


def _tell(text: str) -> None:
    """A line for the log of the job that this code belongs to."""
    job = current()
    if job is None or getattr(_telling, "now", False):
        return
    _telling.now = True
    try:
        job.log(text if len(text) <= LINE_CHARS_MAX else text[:LINE_CHARS_MAX] + " ...")
    except Exception:
        return  # in a forked child: there is no log to write to
    finally:
        _telling.now = False


_printing: dict[JobInHand, None] = {}  # jobs whose output goes into their log
_tees: list[tuple[str, _Tee]] = []  # while there are such: what stands for sys.stdout and sys.stderr


@contextlib.contextmanager
def _output(job: JobInHand) -> Iterator[None]:
    """What this job prints goes into its log, and where it went before. (The streams are the process's, and
    several jobs may run in it: what another one prints is not told.)"""
    with _lock:
        _printing[job] = None
        if len(_printing) == 1:
            _tees[:] = [(name, _Tee(getattr(sys, name), name)) for name in ("stdout", "stderr")]
            for name, tee in _tees:
                setattr(sys, name, tee)
    try:
        yield
    finally:
        for _, tee in _tees:
            tee.end()
        with _lock:
            del _printing[job]
            if not _printing:
                for name, tee in _tees:
                    setattr(sys, name, tee._stream)
                _tees.clear()


class _Tee(io.TextIOBase):
    """A stream whose lines are told, too."""

    def __init__(self, stream: Any, name: str) -> None:
        self._stream = stream
        self._name = name
        self._rest: dict[JobInHand, str] = {}  # lines that have no end yet
        self._own = threading.RLock()  # several threads may print

    def write(self, text: str) -> int:
        if self._stream is not None:
            self._stream.write(text)
        job = current()
        if job is None or job not in _printing:
            return len(text)
        with self._own:
            *lines, rest = (self._rest.pop(job, "") + text).split("\n")
            for line in lines:
                _tell(f"{self._name}: {line}")
            if rest:
                self._rest[job] = rest
            if len(rest) > LINE_CHARS_MAX:
                self.end()
        return len(text)

    def end(self) -> None:
        """Tell a line of this job's that has no end."""
        job = current()
        with self._own:
            rest = self._rest.pop(job, "") if job is not None else ""
        if rest:
            _tell(f"{self._name}: {rest}")

    def flush(self) -> None:
        if self._stream is not None:
            self._stream.flush()

    def fileno(self) -> int:
        found: int = self._stream.fileno()
        return found

    @property
    def buffer(self) -> Any:
        """For bytes, which are not told."""
        return self._stream.buffer

    def __getattr__(self, name: str) -> Any:
        # What else a program asks of the stream (`reconfigure`, ...) is for the one behind.
        return getattr(self.__dict__["_stream"], name)

    def isatty(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return str(getattr(self._stream, "encoding", "utf-8"))
