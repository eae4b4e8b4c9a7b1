"""The lines of the worker's log that tell of its jobs: that one begins, and how it has ended.

Rule 1: a line costs more than a small job, for it is written, and the interpreter's lock changes hands. So
        the lines of jobs that go well are written by a thread of their own, those of a moment together; each
        has the time at which it was said.
Rule 2: that a job begins is written if it is still running after that moment: else its end says it all.
Rule 3: what went wrong is written at once, behind all that was said before it.
Rule 4: who writes slowly (a full pipe, say) holds the jobs up once MANY lines wait: they take no memory
        without end. Where the thread that says a line has heartbeats to send, all are written by their own
        thread, and past MOST what comes is left out, which is said later.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from typing import Any

from zmws.work.job import JobInHand
from zmws.work.job_log import job_handler, told_of
from zmws.work.line_handler import LineHandler

log = logging.getLogger("zmws.worker")

MOMENT_S = 0.05
MANY, MOST = 1_000, 10_000


class JobLines:
    """Say what is to be written; `close` writes what is left."""

    def __init__(self, by_thread: bool = False) -> None:
        """`by_thread`: whoever says a line must not wait for it to be written."""
        self._said: deque[tuple[float, JobInHand, int, str, tuple[Any, ...]]] = deque()
        self._begun: dict[JobInHand, float] = {}  # and when; not yet to be written
        self._order = threading.Lock()  # of what is said; held for no longer than that takes
        self._writing = threading.Lock()
        self._wanted = threading.Event()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._by_thread = by_thread
        self._left_out = 0

    def begins(self, job: JobInHand) -> None:
        """It begins now."""
        if not log.isEnabledFor(logging.INFO):
            return
        self._begun[job] = time.time()
        self._ask_for_it()

    def _ask_for_it(self) -> None:
        """Have the thread write, in a moment."""
        if self._thread is None:
            with contextlib.suppress(RuntimeError):  # the system has no thread left: then at the end
                self._thread = threading.Thread(target=self._write_on, name="zmws-log", daemon=True)
                self._thread.start()
        if not self._wanted.is_set():
            self._wanted.set()

    def ended(self, job: JobInHand, text: str, *values: Any) -> None:
        """It has ended well, or is to be run again."""
        if log.isEnabledFor(logging.INFO):
            self._say(job, logging.INFO, text, values)
            if len(self._said) >= MANY and not self._by_thread:
                self.write()
            elif not self._wanted.is_set():
                self._wanted.set()

    def failed(self, job: JobInHand, text: str, *values: Any) -> None:
        """It has failed."""
        self._say(job, logging.WARNING, text, values)
        if self._by_thread:
            self._ask_for_it()
        else:
            self.write()

    def _say(self, job: JobInHand, level: int, text: str, values: tuple[Any, ...]) -> None:
        with self._order:
            self._begun.pop(job, None)
            if self._by_thread and len(self._said) >= MOST:
                self._left_out += 1
                return
            self._said.append((time.time(), job, level, text, values))

    def write(self) -> None:
        """Write what was said."""
        with self._writing:
            handler = _own_handler()
            while self._said:
                if handler is not None:
                    self._write_plain(handler)
                else:
                    self._line(*self._said.popleft())
            left_out, self._left_out = self._left_out, 0
            if left_out:
                with contextlib.suppress(Exception):  # of the author's handlers, likewise
                    text = "%d lines about jobs were left out: nobody read this log for a while"
                    log.warning(text, left_out)

    def _write_plain(self, handler: LineHandler) -> None:
        """Many at once: a record for each would cost more than a small job does."""
        lines: list[tuple[float, str, str, str, tuple[Any, ...]]] = []
        while self._said and len(lines) < MANY:
            at, job, level, text, values = self._said.popleft()
            if log.isEnabledFor(level):
                lines.append((at, logging.getLevelName(level), told_of(job), text, values))
        with contextlib.suppress(Exception):  # as logging itself: a line that cannot be written is none
            handler.write_lines(log.name, lines)

    def close(self) -> None:
        """Write what is left, and end the thread."""
        self._over.set()
        self._wanted.set()
        self.write()

    def _write_on(self) -> None:
        while not self._over.is_set():
            self._wanted.wait()
            self._over.wait(MOMENT_S)
            self._wanted.clear()
            with self._order:
                for job, at in list(self._begun.items()):
                    if time.time() - at < MOMENT_S:
                        self._wanted.set()  # it has just begun: look again
                    else:
                        del self._begun[job]
                        self._said.append((at, job, logging.INFO, "begins", ()))
            self.write()

    def _line(self, at: float, job: JobInHand, level: int, text: str, values: tuple[Any, ...]) -> None:
        """The author's code (filters, handlers, sys.stderr) is on its way, and may fail."""
        with contextlib.suppress(Exception):
            if not log.isEnabledFor(level):
                return
            record = log.makeRecord(log.name, level, __file__, 0, text, values, None)
            record.created, record.msecs = at, (at - int(at)) * 1000
            record.service, record.job_id, record.attempt = job.service, job.id, job.attempt
            record.zmws = told_of(job)
            log.handle(record)


def _own_handler() -> LineHandler | None:
    """Where the lines go as they are, if they do."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, LineHandler):
            return handler if handler.is_all(log, job_handler) else None
    return None
