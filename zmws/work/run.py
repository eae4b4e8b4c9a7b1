"""A worker at work, from its start to its end: the main thread, the I/O thread, the signals.

Rule 1: an executor runs `work()`; the I/O thread keeps the heartbeats going however long that takes.
Rule 2: signals only hand over that it is to stop. The job in hand is finished, its result confirmed, then it
        leaves. What is not finished within `stop_timeout` is given back, and then the process ends at once,
        for that job may run elsewhere already. Nothing that an author's code raises ends it.
Rule 3: one process has one session, which serves all services of its classes.
"""

from __future__ import annotations

import _thread
import contextlib
import logging
import os
import queue
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from zmws.dialog.worker import DialogSettings
from zmws.real_threads import need_real_threads
from zmws.wire.messages import WorkerRequest
from zmws.work import stacks
from zmws.work.attempt import Final
from zmws.work.author import Worker
from zmws.work.declared import BadWorker, Declared, declared
from zmws.work.executor import Executor, Inline
from zmws.work.fault import encode_fault, is_a
from zmws.work.forks import handle_signal
from zmws.work.job import JobInHand
from zmws.work.job_log import in_hand, installed
from zmws.work.line import WorkerLine
from zmws.work.own_client import OwnClient
from zmws.work.recycling import Recycling

log = logging.getLogger("zmws.worker")

RECYCLED = 75  # the exit code that asks for a new start (EX_TEMPFAIL of sysexits.h)
_GAVE_BACK = 130  # of who was asked twice to stop, as shells have it for Ctrl-C
_JOIN_S = 10.0
_WORDS_S = 1.0  # for the last words of a process
_STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class _StoppedInSetup(BaseException):
    """Raised by the handler: nothing that a setup() waits for will be needed."""


class Run:
    """Serves the jobs of one or more services, once."""

    def __init__(
        self,
        workers: Sequence[tuple[Worker, str | None]],
        brokers: Sequence[str],
        settings: DialogSettings | None = None,
        handle_signals: bool = True,
        client: str | None = None,
    ) -> None:
        """`workers`: each with the service it serves, None: its own. `brokers`: worker endpoints, tried in
        turn. `client`: where `self.client` connects, None: as the broker tells. Raises BadWorker, and
        ZmwsError where threads have been replaced (gevent, eventlet)."""
        need_real_threads("a worker", queues=True)
        self._workers: dict[str, tuple[Worker, Declared]] = {}
        for worker, service in workers:
            found = declared(worker, service)
            if found.service in self._workers:
                raise BadWorker(f"two classes serve {found.service}; one process runs one of each service")
            self._workers[found.service] = worker, found
        self.services = list(self._workers)
        classes = [one for _, one in self._workers.values()]
        # All of it, also where there is nothing to tell: a class of before may have told more.
        told = {one.service: one.told for one in classes}
        self.line = WorkerLine(self.services[0], brokers, settings, told)
        self.line.on_stack, self.line.on_hang, self.line.on_gone = self._stack, self._on_hang, self._on_gone
        # Where it has not taken the signals, Ctrl-C is whoever's who runs it.
        self._let_through = () if handle_signals else (KeyboardInterrupt,)
        self._executor: Executor = Inline(self._let_through)
        self._signals: list[int] | None = [] if handle_signals else None  # those that have come
        self._handlers: dict[int, Any] = {}  # as they are when setup() is through
        self._in_hand: tuple[JobInHand, bytes] | None = None
        self._idle_called: set[str] = set()  # services whose idle() was called since the last job
        self._worked_at: dict[str, float] = {}  # by service: when its last job ended, or it began
        self._stop_timeout_s = max(one.stop_timeout for one in classes)
        self._stays_when_hung = any(one.stays_when_hung for one in classes)
        self._client = OwnClient(self.line.dialog, client)
        for worker, _ in self._workers.values():
            worker.client_of = self._client
        self._recycling = Recycling(classes, random.random(), time.monotonic())
        self._code = 0
        self._connected = False  # the I/O thread was started
        self._setting_up = False
        self._timers: list[threading.Timer] = []
        self._seen: tuple[Counter[int], Counter[int]] = (Counter(), Counter())  # by the handler, the thread
        self._noting = threading.RLock()
        self.line.on_signal = self._on_signal_byte
        self._brokers = list(brokers)

    def run(self) -> int:
        """Until it was stopped; the exit code. Raises what a setup() raises."""
        with installed():
            return self._run()

    def _run(self) -> int:
        if self._signals is not None:
            self._take_signals()
            stacks.on_signal()
        dialog = self.line.dialog
        what = (dialog.worker_id, ", ".join(self.services), os.getpid(), ", ".join(self._brokers))
        log.info("worker %s of %s, pid %d, connects to %s", *what)
        ready: list[Worker] = []
        try:
            self._set_up(ready)
            self._worked_at = dict.fromkeys(self.services, time.monotonic())
            self.line.start()
            self._connected = True
            self._keep_signals()
            self._serve()
        except _StoppedInSetup:
            pass
        finally:
            self._leave(ready)
            for timer in self._timers:
                timer.cancel()
        if self.line.unconfirmed:
            log.warning(
                "left with %d results that no broker confirmed; their jobs may run again",
                self.line.unconfirmed,
            )
        log.info("stopped%s", f": {signal.Signals(self._signals[0]).name}" if self._signals else "")
        return self._code

    def _set_up(self, ready: list[Worker]) -> None:
        """Call each setup(). Raises what that raises, and _StoppedInSetup."""
        self._setting_up = True
        try:
            for worker, _ in self._workers.values():
                self._executor.call(worker.setup)
                ready.append(worker)
            if self._signals:
                raise _StoppedInSetup  # it has kept the first one from passing
        finally:
            self._setting_up = False
        if self._signals is not None:
            self._handlers = {number: signal.getsignal(number) for number in _STOPS}

    def _leave(self, ready: list[Worker]) -> None:
        """End the connection, then whatever setup() has begun."""
        if self._connected:
            self.line.stop()
            self.line.join(_JOIN_S)
        if self._handlers:
            signal.set_wakeup_fd(-1)
        self.line.close()
        if self._signals is not None and ready:
            self._end_within(self._stop_timeout_s, "teardown()")
        for worker in reversed(ready):
            self._guarded("teardown()", worker.teardown)
        self._client.close()
        self._executor.close()

    # ------------------------------------------------------------ signals

    def _take_signals(self) -> None:
        for number in _STOPS:
            # Ignored from before is SIGHUP under nohup, whose user wants just that.
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                handle_signal(number, self._on_signal)

    def _on_signal(self, number: int, _: object) -> None:
        """Python's handler: in the main thread, as soon as that is not in C code."""
        self._note(number, by_thread=False)
        if self._setting_up:
            raise _StoppedInSetup  # there is no job that could be finished

    def _on_signal_byte(self, number: int) -> None:
        """In the I/O thread: a signal has come, any that Python has a handler for."""
        if self._handlers.get(number) == self._on_signal:
            self._note(number, by_thread=True)

    def _note(self, number: int, by_thread: bool) -> None:
        """A signal has come. Both the handler and the I/O thread are told of it; the first acts."""
        with self._noting:
            mine, others = self._seen[by_thread], self._seen[not by_thread]
            mine[number] += 1
            if mine[number] <= others[number] or self._signals is None:
                return
            self._signals.append(number)
            first = len(self._signals) == 1
        self._code = RECYCLED if number == signal.SIGHUP and first else 0
        if number == signal.SIGINT and not first:
            self._code = _GAVE_BACK
            if not self._connected or self.line.ended:
                os._exit(self._code)  # there is nothing to give back, and whatever runs does not end
            self.line.stop(0)  # asked twice: the job in hand is given back now
            return
        self.line.stop(self._stop_timeout_s)
        if first:
            self._end_within(self._stop_timeout_s + _JOIN_S, "setup(), idle() or teardown()")

    def _end_within(self, seconds: float, what: str) -> None:
        """End the process then, if the author's code is still running."""

        text = "ends at once: %s has not returned within %g s"
        end = partial(_exit, lambda: self._code, logging.ERROR, text, what, seconds)
        timer = threading.Timer(seconds, end)
        timer.daemon = True
        self._timers.append(timer)
        timer.start()

    def _keep_signals(self) -> None:
        """What a job has done to the handlers (an event loop of its own, say) holds no longer than the
        job."""
        if self._handlers:
            signal.set_wakeup_fd(self.line.wake_fd, warn_on_full_buffer=False)
        for number, handler in self._handlers.items():
            if signal.getsignal(number) is not handler and handler is not None:
                signal.signal(number, handler)
                name = signal.Signals(number).name
                _say(
                    logging.WARNING,
                    "the last job has left another handler of %s; it is as before again",
                    name,
                )

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
                self._start(request)
                self._keep_signals()
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

    def _start(self, request: WorkerRequest) -> None:
        job = JobInHand(self.line, request, self.services[0])
        if job.service not in self._workers:
            error = {"code": "job_failed", "error": f"this worker does not serve '{job.service}'"}
            return self.line.finish(request.token, Final(error=error).body)
        worker, found = self._workers[job.service]
        self._in_hand = job, request.token
        begun = time.monotonic()
        if log.isEnabledFor(logging.INFO):
            _say_of(job, logging.INFO, "begins")
        ended = partial(self._ended, job, request.token, begun)
        self._executor.start(worker, found, job, request.body, ended)
        return None

    def _next(self) -> WorkerRequest | None:
        """The next job; None when there will be none. Meanwhile what is due is done."""
        while True:
            now = time.monotonic()
            due = [at for at in self._idle_at().values() if at is not None]
            if self._recycling.due_at is not None and not self.line.dialog.stopping:
                due.append(self._recycling.due_at)
            try:
                request = self.line.get(max(0.0, min(due) - now) if due else None)
            except queue.Empty:
                self._leave_if_enough()
                self._call_idle(time.monotonic())
                continue
            return request

    def _ended(self, job: JobInHand, token: bytes, begun: float, final: Final) -> None:
        self._in_hand = None
        self._worked_at[job.service] = now = time.monotonic()
        self._idle_called.discard(job.service)
        self._recycling.jobs += 1
        self._leave_if_enough()  # before the result: with that the broker may give the next job
        self.line.finish(token, final.body)
        error = final.error
        if error is None:
            if log.isEnabledFor(logging.INFO):
                _say_of(job, logging.INFO, "complete in %.3f s", now - begun)
            return None
        if final.is_retry:
            return _say_of(job, logging.INFO, "after %.3f s: %s", now - begun, error["error"])
        told = error.get("traceback") or ""
        kind = f"{error['type']}: " if "type" in error else ""
        text, separator = f"{kind}{error['error']}", "\n" if told else ""
        what = (error["code"], now - begun, text, separator, told.rstrip())
        return _say_of(job, logging.WARNING, "failed (%s) after %.3f s: %s%s%s", *what)

    def _idle_at(self) -> dict[str, float | None]:
        """When each service's idle() is due, None where it was called."""
        general = self.line.idle_after_s
        return {
            name: None if name in self._idle_called else self._worked_at[name] + (found.idle_after or general)
            for name, (_, found) in self._workers.items()
        }

    def _call_idle(self, now: float) -> None:
        for name, at in self._idle_at().items():
            if at is not None and now >= at:
                self._idle_called.add(name)
                self._guarded("idle()", self._workers[name][0].idle)

    def _guarded(self, name: str, what: Any) -> None:
        try:
            self._executor.call(what)
        except BaseException as fault:
            if is_a(fault, self._let_through):
                raise
            _say(logging.ERROR, "%s failed; the worker goes on\n%s", name, encode_fault(fault)["traceback"])

    def _leave_if_enough(self) -> None:
        # What was handed over to stop may not have been taken up yet.
        if self.line.dialog.stopping or self._code == RECYCLED:
            return
        why = self._recycling.why(time.monotonic())
        if why is not None:
            self._recycling.due_at = None
            self._code = RECYCLED
            _say(logging.INFO, "leaves to be started anew: %s", why)
            self.line.stop()

    # ------------------------------------------------------------ the I/O thread

    def _stack(self, token: bytes) -> str | None:
        """Where the job's code is now."""
        in_hand = self._in_hand
        return self._executor.stack(in_hand[0]) if in_hand is not None and in_hand[1] == token else None

    def _on_hang(self, token: bytes) -> None:
        stays = self._signals is None or self._stays_when_hung
        end = "" if stays else "\nleaves to be started anew, without that job (on_hung)"
        text = "job %s was to be dropped, and hangs\n%s%s"
        _within(_WORDS_S, partial(_say, logging.ERROR, text, token.decode(), stacks.all_stacks(), end))
        if not stays:
            self._code = RECYCLED
            self.line.abandon()

    def _on_gone(self) -> None:
        """The connection is closed. What was given back must not go on: it may run elsewhere by now. Nor is
        anything waited for after a second Ctrl-C."""
        given_back = self.line.given_back
        if self._signals is not None and (given_back or self._code == _GAVE_BACK):
            names = ", ".join(token.decode().rpartition("/")[0] for token in given_back) or "nothing"
            _exit(lambda: self._code, logging.WARNING, "ends at once, and gives back: %s", names)


def _exit(code: Callable[[], int], level: int, text: str, *values: Any) -> None:
    """End this process, whatever its other threads do. What is said must not keep it: standard error may be a
    pipe that nobody reads, and its lock in the hands of who hangs."""
    _within(_WORDS_S, partial(_say, level, text, *values))
    _within(_WORDS_S, _flush)
    if os.getsid(0) == os.getpid():
        # Started detached, and so alone in its group with what the job has started, which is to run
        # elsewhere.
        with contextlib.suppress(OSError):
            os.killpg(0, signal.SIGTERM)
    os._exit(code())


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()


def _within(seconds: float, what: Callable[[], object]) -> None:
    """Do something in a thread of its own, and wait for it so long. (Below `threading`, whose locks whoever
    hangs may hold.)"""
    done = _thread.allocate_lock()
    done.acquire()

    def run() -> None:
        try:
            what()
        finally:
            done.release()

    _thread.start_new_thread(run, ())
    done.acquire(timeout=seconds)


def _say(level: int, text: str, *values: Any) -> None:
    """A line of the log. The author's code (filters, handlers, sys.stderr) is on its way, and may fail."""
    with contextlib.suppress(Exception):
        log.log(level, text, *values)


def _say_of(job: JobInHand, level: int, text: str, *values: Any) -> None:
    """A line of the log that belongs to a job."""
    with contextlib.suppress(Exception), in_hand(job, False):
        log.log(level, text, *values)
