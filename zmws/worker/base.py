"""WorkerBase: what a worker's author subclasses.

    class Reverse(WorkerBase):
        service_name = "STR-REV"

        def work(self, job_id, params):
            return params["str"][::-1]

Rule 1: one job at a time. `work()` runs in the main thread; the I/O thread keeps the heartbeats going.
Rule 2: False or an exception is a failed attempt; any other value is the result, None is none.
Rule 3: signals only set a flag; the job in hand is finished, its result confirmed, then it leaves.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import logging
import os
import queue
import signal
import sys
import time
from collections.abc import Sequence
from typing import Any, ClassVar

from zmws.dialog.worker import DialogSettings
from zmws.errors import BadParams, ZmwsError
from zmws.real_threads import need_real_threads
from zmws.wire import names
from zmws.wire.messages import WorkerRequest
from zmws.wire.values import PARAM_JSON, decode_params, json_object
from zmws.worker.fault import encode_fault, encode_result, is_a
from zmws.worker.forks import ChildEndsHere, handle_signal
from zmws.worker.io_thread import WorkerIO

log = logging.getLogger("zmws.worker")


class JobInHand:
    """The job that `work()` runs: `self.job`.

    `id` (str), `attempt` (int, from 1), `deadline` (float, `time.monotonic()` seconds at which its
    `ttr` passes). All else is for the worker's own process: in a forked child it raises ZmwsError.
    """

    def __init__(self, io: WorkerIO, request: WorkerRequest) -> None:
        told = json_object(request.job) or {}
        self.id: str = str(told.get("id", ""))
        self.attempt: int = int(told.get("attempt", 1))
        self.deadline: float = time.monotonic() + float(told.get("ttr", 3600.0))
        self._io = io
        self._token = request.token
        self._pid = os.getpid()

    def progress(self, done: float, text: str | None = None) -> None:
        """Say how far it is: `done` from 0 to 1. Raises ValueError outside."""
        if not 0 <= done <= 1:
            raise ValueError(f"progress must be from 0 to 1, not {done!r}")
        said = json.dumps({"done": float(done), "text": text}).encode()
        self._say("progress()", (b"PROGRESS", said))

    def partial(self, value: Any) -> None:
        """A partial result (JSON, or bytes): a synchronous caller gets it at once. Raises BadValue."""
        self._say("partial()", (b"CONT", *encode_result(value, "the partial result")))

    def log(self, text: str) -> None:
        """A line for the job's record."""
        self._say("log()", (b"LOG", text.encode("utf-8", "replace")))

    def extend(self, seconds: float) -> None:
        """Move the `ttr` deadline to `seconds` from now. Raises ValueError if not above 0."""
        if not seconds > 0:
            raise ValueError(f"extend needs a number of seconds above 0, not {seconds!r}")
        self._say("extend()", (b"TOUCH", str(float(seconds)).encode()))
        self.deadline = time.monotonic() + seconds

    @property
    def cancelled(self) -> bool:
        """Whether this attempt was cancelled, or its `ttr` passed: its result will be refused."""
        self._refuse_in_child("cancelled")
        return self._io.is_cancelled(self._token)

    def __getstate__(self) -> dict[str, Any]:
        # A copy in another process tells what it knows; it has no connection, and says so.
        return {name: value for name, value in vars(self).items() if name != "_io"}

    def _say(self, by: str, body: tuple[bytes, ...]) -> None:
        self._refuse_in_child(by)
        self._io.say(self._token, body)

    def _refuse_in_child(self, what: str) -> None:
        # The I/O thread is not in a forked child: nothing said there would ever leave, nothing be heard.
        if os.getpid() != self._pid:
            raise ZmwsError(
                f"self.job.{what} works in the worker's own process alone, and this is a child of it; "
                "let the child tell the worker, through a pipe, a queue or its result, and use it there"
            )


class WorkerBase:
    """Subclass it, name a service, write `work()`."""

    service_name: ClassVar[str] = ""
    job: JobInHand
    _handles_signals = False
    _idle_called = False
    _runner: asyncio.Runner | None = None

    def work(self, job_id: str, params: Any) -> Any:
        """Do one job. `params` is what the client sent: JSON decoded, raw bytes, or {} for none.

        Return the result (JSON, or bytes), None for success without one, False for a failed attempt; an
        exception is a failed attempt too. A result that JSON cannot hold fails the job for good
        (`bad_result`): work() has done what it does. May be `async def`.
        """
        raise NotImplementedError(f"{type(self).__name__} has no work()")

    def idle(self) -> None:
        """Called once after three heartbeat intervals without a job: close files, let go of things."""

    def __getstate__(self) -> object:
        # A child of multiprocessing gets a copy, when it is to run a method; what is of this process stays.
        state = super().__getstate__()
        if isinstance(state, dict):
            return {name: value for name, value in state.items() if name != "_runner"}
        return state

    # ------------------------------------------------------------ running

    def run(
        self,
        brokers: Sequence[str],
        service: str | None = None,
        dialog_settings: DialogSettings | None = None,
        handle_signals: bool = True,
    ) -> int:
        """Serve jobs until told to stop; the exit code.

        `brokers`: worker endpoints, tried in turn. `service`: instead of `service_name`. Raises ValueError
        for a service's name that cannot be, and for a class without a `work()` of its own.
        """
        name = service or self.service_name
        fault = names.service_name_fault(name)
        if fault is None and names.is_reserved(name):
            fault = f"the service name '{name}' is reserved"
        if fault is not None:
            raise ValueError(f"{type(self).__name__}.service_name: {fault}")
        if (fault := work_fault(self)) is not None:
            raise ValueError(fault)
        need_real_threads("a worker", queues=True)
        io = WorkerIO(name, brokers, settings=dialog_settings)
        self._runner = None
        asked = self._handle_signals(io) if handle_signals else []
        log.info(
            "worker %s of %s, pid %d, connects to %s", io.dialog.worker_id, name, os.getpid(), brokers[0]
        )
        io.start()
        try:
            self._serve(io)
        finally:
            if self._runner is not None:
                self._runner.close()
            io.stop()
            io.join(10)
        if io.unconfirmed:
            log.warning(
                "left with %d results that no broker confirmed; their jobs may run again", io.unconfirmed
            )
        log.info("stopped%s", f": {signal.Signals(asked[0]).name}" if asked else "")
        return 0

    def _handle_signals(self, io: WorkerIO) -> list[int]:
        """Gives back the signals that have come, which grow."""
        asked: list[int] = []

        def on_signal(number: int, _: object) -> None:
            asked.append(number)
            if len(asked) > 1 and number == signal.SIGINT:
                # Asked twice by hand: the job in hand is given up; the broker gives it to another.
                os._exit(130)
            io.stop()

        self._handles_signals = True
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            # Ignored from before is SIGHUP under nohup, whose user wants just that.
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                handle_signal(number, on_signal)
        return asked

    def _serve(self, io: WorkerIO) -> None:
        self._idle_called = False
        request: WorkerRequest | None = None
        while True:
            try:
                request = None
                request = self._next(io)
                if request is None:
                    return
                io.finish(request.token, self._attempt(io, request))
            except BaseException as fault:
                # What a job has left behind (an alarm, a thread) may still raise here.
                if not self._is_survived(fault) or io.failed:
                    raise
                told = encode_fault(fault)
                _say(logging.ERROR, "after a job: the worker goes on\n%s", told["traceback"])
                request = request or io.lost()
                if request is not None:
                    io.finish(request.token, _fail(told))
                elif io.ended:
                    return

    def _next(self, io: WorkerIO) -> WorkerRequest | None:
        """The next job; None when there will be none."""
        while True:
            try:
                request = io.get(None if self._idle_called else io.idle_after_s)
            except queue.Empty:
                self._idle_called = True
                self._idle()
                continue
            self._idle_called = False
            return request

    def _is_survived(self, fault: BaseException) -> bool:
        """A worker ends by its signals, never by what its author's code raises. Where it has not taken the
        signals, Ctrl-C is whoever's who runs it."""
        return self._handles_signals or not is_a(fault, KeyboardInterrupt)

    def _idle(self) -> None:
        try:
            with ChildEndsHere():
                self.idle()
        except BaseException as fault:
            if not self._is_survived(fault):
                raise
            _say(logging.ERROR, "idle() failed; the worker goes on\n%s", encode_fault(fault)["traceback"])

    def _attempt(self, io: WorkerIO, request: WorkerRequest) -> tuple[bytes, ...]:
        """Run `work()` once; the body of its FINAL."""
        self.job = job = JobInHand(io, request)
        try:
            try:
                params = decode_params(request.body)
            except BadParams as wrong:
                return _fail({"code": "bad_params", "error": str(wrong), "retry": False})
            result = self._worked(job, params)
            if result is False:
                return _fail({"code": "job_failed", "error": "work() returned False"})
            return (b"COMPLETE", *encode_result(result, "the result"))
        except BaseException as fault:
            if not self._is_survived(fault):
                raise
            told = encode_fault(fault)
            what = (job.id, job.attempt, told["type"], told["error"])
            _say(logging.WARNING, "job %s, attempt %d failed: %s: %s", *what)
            return _fail(told)

    def _worked(self, job: JobInHand, params: Any) -> Any:
        """What `work()` returned, or its coroutine."""
        with ChildEndsHere():
            result = self.work(job.id, params)
            if inspect.iscoroutine(result):
                if self._runner is None:
                    self._runner = asyncio.Runner()
                result = self._runner.run(result)
        return result

    # ------------------------------------------------------------ the worker's own command line

    @classmethod
    def main(cls, args: Sequence[str] | None = None) -> None:
        """The worker's own command line: `if __name__ == "__main__": MyWorker.main()`."""
        from zmws.worker.command import run_class

        sys.exit(run_class(cls, args))


def work_fault(worker: WorkerBase | type[WorkerBase]) -> str | None:
    """What keeps `work` from being called, with what to write; or None."""
    cls = worker if isinstance(worker, type) else type(worker)
    work: Any = worker.work
    write = "write 'def work(self, job_id, params):' in it"
    if getattr(work, "__func__", work) is WorkerBase.work:
        return f"{cls.__name__} has no work(); {write}"
    if not callable(work):
        return f"{cls.__name__}.work is no method, but {type(work).__name__}; {write}"
    return None


def _say(level: int, text: str, *values: Any) -> None:
    """A line of the log. The author's code (filters, handlers, sys.stderr) is on its way, and may fail."""
    with contextlib.suppress(Exception):
        log.log(level, text, *values)


def _fail(said: dict[str, Any]) -> tuple[bytes, ...]:
    return (b"FAIL", PARAM_JSON + json.dumps(said).encode())
