"""A worker at work, from its start to its end: the main thread, the I/O thread, the signals.

Rule 1: an executor runs `work()`; the I/O thread keeps the heartbeats going however long that takes.
Rule 2: signals only hand over that it is to stop: the job in hand is finished, its result confirmed, then it
        leaves. Nothing that an author's code raises ends it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import signal
from collections.abc import Sequence
from functools import partial
from typing import Any

from zmws.dialog.worker import DialogSettings
from zmws.real_threads import need_real_threads
from zmws.wire.messages import WorkerRequest
from zmws.worker.attempt import Final
from zmws.worker.executor import Executor, Inline, Worker
from zmws.worker.fault import encode_fault, is_a
from zmws.worker.forks import handle_signal
from zmws.worker.job import JobInHand
from zmws.worker.line import WorkerLine

log = logging.getLogger("zmws.worker")

_JOIN_S = 10.0


class Run:
    """Serves the jobs of one service with one worker, once."""

    def __init__(
        self,
        worker: Worker,
        brokers: Sequence[str],
        service: str,
        settings: DialogSettings | None = None,
        handle_signals: bool = True,
    ) -> None:
        """Raises ZmwsError where threads have been replaced (gevent, eventlet)."""
        need_real_threads("a worker", queues=True)
        self.line = WorkerLine(service, brokers, settings)
        # Where it has not taken the signals, Ctrl-C is whoever's who runs it.
        self._let_through = () if handle_signals else (KeyboardInterrupt,)
        self._executor: Executor = Inline(worker, self._let_through)
        self._signals: list[int] | None = [] if handle_signals else None  # those that have come
        self._idle_called = False
        self._broker = brokers[0]

    def run(self) -> int:
        """Until it was stopped; the exit code."""
        if self._signals is not None:
            self._take_signals()
        dialog = self.line.dialog
        what = (dialog.worker_id, dialog.service, os.getpid(), self._broker)
        log.info("worker %s of %s, pid %d, connects to %s", *what)
        self.line.start()
        try:
            self._serve()
        finally:
            self._executor.close()
            self.line.stop()
            self.line.join(_JOIN_S)
            self.line.close()
        if self.line.unconfirmed:
            log.warning(
                "left with %d results that no broker confirmed; their jobs may run again",
                self.line.unconfirmed,
            )
        log.info("stopped%s", f": {signal.Signals(self._signals[0]).name}" if self._signals else "")
        return 0

    # ------------------------------------------------------------ signals

    def _take_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            # Ignored from before is SIGHUP under nohup, whose user wants just that.
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                handle_signal(number, self._on_signal)

    def _on_signal(self, number: int, _: object) -> None:
        assert self._signals is not None
        self._signals.append(number)
        if len(self._signals) > 1 and number == signal.SIGINT:
            # Asked twice by hand: the job in hand is given up; the broker gives it to another.
            os._exit(130)
        self.line.stop()

    # ------------------------------------------------------------ jobs

    def _serve(self) -> None:
        line = self.line
        request: WorkerRequest | None = None
        while True:
            try:
                request = None
                request = self._next()
                if request is None:
                    return
                job = JobInHand(line, request)
                self._executor.start(job, request.body, partial(self._ended, job, request.token))
            except BaseException as fault:
                # What a job has left behind (an alarm, a thread) may still raise here.
                if is_a(fault, self._let_through) or line.fault is not None:
                    raise
                told = encode_fault(fault)
                _say(logging.ERROR, "after a job: the worker goes on\n%s", told["traceback"])
                request = request or line.lost()
                if request is not None:
                    line.finish(request.token, Final(error=told).body)
                elif line.over:
                    return

    def _next(self) -> WorkerRequest | None:
        """The next job; None when there will be none."""
        while True:
            try:
                request = self.line.get(None if self._idle_called else self.line.idle_after_s)
            except queue.Empty:
                self._idle_called = True
                self._idle()
                continue
            self._idle_called = False
            return request

    def _ended(self, job: JobInHand, token: bytes, final: Final) -> None:
        error = final.error
        if error is not None and "type" in error:
            what = (job.id, job.attempt, error["type"], error["error"])
            _say(logging.WARNING, "job %s, attempt %d failed: %s: %s", *what)
        self.line.finish(token, final.body)

    def _idle(self) -> None:
        try:
            self._executor.idle()
        except BaseException as fault:
            if is_a(fault, self._let_through):
                raise
            _say(logging.ERROR, "idle() failed; the worker goes on\n%s", encode_fault(fault)["traceback"])


def _say(level: int, text: str, *values: Any) -> None:
    """A line of the log. The author's code (filters, handlers, sys.stderr) is on its way, and may fail."""
    with contextlib.suppress(Exception):
        log.log(level, text, *values)
