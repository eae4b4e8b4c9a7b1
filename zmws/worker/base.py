"""WorkerBase: what a worker's author subclasses.

    class Reverse(WorkerBase):
        service_name = "STR-REV"

        def work(self, job_id, params):
            return params["str"][::-1]

Rule 1: one job at a time. `work()` runs in the main thread; the I/O thread keeps the heartbeats going.
Rule 2: False or an exception is a failed attempt; True, None or any other value is success.
Rule 3: signals only set a flag; the job in hand is finished, its result confirmed, then it leaves.
"""

from __future__ import annotations

import asyncio
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

from zmws.core import mdp
from zmws.core.messages import WorkerRequest
from zmws.core.worker_dialog import DialogSettings
from zmws.real_threads import need_real_threads
from zmws.worker.io_thread import WorkerIO
from zmws.worker.params import BadParams, decode_params, encode_fault, encode_value

log = logging.getLogger("zmws.worker")


class JobInHand:
    """The job that `work()` runs: `self.job`.

    `id` (str), `attempt` (int, from 1), `deadline` (float, `time.monotonic()` seconds at which its
    `ttr` passes).
    """

    def __init__(self, io: WorkerIO, request: WorkerRequest) -> None:
        told = mdp.json_object(request.job) or {}
        self.id: str = str(told.get("id", ""))
        self.attempt: int = int(told.get("attempt", 1))
        self.deadline: float = time.monotonic() + float(told.get("ttr", 3600.0))
        self._io = io
        self._token = request.token

    def progress(self, done: float, text: str | None = None) -> None:
        """Say how far it is: `done` from 0 to 1. Raises ValueError outside."""
        if not 0 <= done <= 1:
            raise ValueError(f"progress must be from 0 to 1, not {done!r}")
        said = json.dumps({"done": float(done), "text": text}).encode()
        self._io.say(self._token, (b"PROGRESS", said))

    def partial(self, value: Any) -> None:
        """A partial result (JSON, or bytes): a synchronous caller gets it at once."""
        self._io.say(self._token, (b"CONT", *encode_value(value)))

    def log(self, text: str) -> None:
        """A line for the job's record."""
        self._io.say(self._token, (b"LOG", text.encode("utf-8", "replace")))

    def extend(self, seconds: float) -> None:
        """Move the `ttr` deadline to `seconds` from now. Raises ValueError if not above 0."""
        if not seconds > 0:
            raise ValueError(f"extend needs a number of seconds above 0, not {seconds!r}")
        self.deadline = time.monotonic() + seconds
        self._io.say(self._token, (b"TOUCH", str(float(seconds)).encode()))

    @property
    def cancelled(self) -> bool:
        """Whether this attempt was cancelled, or its `ttr` passed: its result will be refused."""
        return self._io.is_cancelled(self._token)


class WorkerBase:
    """Subclass it, name a service, write `work()`."""

    service_name: ClassVar[str] = ""
    job: JobInHand

    def work(self, job_id: str, params: Any) -> Any:
        """Do one job. `params` is what the client sent: JSON decoded, raw bytes, or {} for none.

        Return the result (JSON, or bytes), True or None for success without one, False for a failed
        attempt; an exception is a failed attempt too. May be `async def`.
        """
        raise NotImplementedError(f"{type(self).__name__} has no work()")

    def idle(self) -> None:
        """Called once after three heartbeat intervals without a job: close files, let go of things."""

    # ------------------------------------------------------------ running

    def run(
        self,
        brokers: Sequence[str],
        service: str | None = None,
        dialog_settings: DialogSettings | None = None,
        handle_signals: bool = True,
    ) -> int:
        """Serve jobs until told to stop; the exit code.

        `brokers`: worker endpoints, tried in turn. `service`: instead of `service_name`.
        """
        name = service or self.service_name
        fault = mdp.service_name_fault(name)
        if fault is None and mdp.is_reserved(name):
            fault = f"the service name '{name}' is reserved"
        if fault is not None:
            raise ValueError(f"{type(self).__name__}.service_name: {fault}")
        need_real_threads("a worker", queues=True)
        self._io = io = WorkerIO(name, brokers, settings=dialog_settings)
        self._runner: asyncio.Runner | None = None
        if handle_signals:
            self._handle_signals(io)
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
        log.info("stopped")
        return 0

    @staticmethod
    def _handle_signals(io: WorkerIO) -> None:
        asked: list[int] = []

        def on_signal(number: int, _: object) -> None:
            asked.append(number)
            if len(asked) > 1 and number == signal.SIGINT:
                # Asked twice by hand: the job in hand is given up; the broker gives it to another.
                os._exit(130)
            io.stop()

        signal.signal(signal.SIGTERM, on_signal)
        signal.signal(signal.SIGINT, on_signal)

    def _serve(self, io: WorkerIO) -> None:
        idle_called = False
        while True:
            try:
                request = io.get(None if idle_called else io.idle_after_s)
            except queue.Empty:
                idle_called = True
                try:
                    self.idle()
                except Exception:
                    log.exception("idle() failed; the worker goes on")
                continue
            if request is None:
                return
            idle_called = False
            io.finish(request.token, self._attempt(io, request))

    def _attempt(self, io: WorkerIO, request: WorkerRequest) -> tuple[bytes, ...]:
        """Run `work()` once; the body of its FINAL."""
        self.job = job = JobInHand(io, request)
        try:
            params = decode_params(request.body)
        except BadParams as wrong:
            return _fail({"code": "bad_params", "error": str(wrong), "retry": False})
        try:
            result = self.work(job.id, params)
            if inspect.iscoroutine(result):
                if self._runner is None:
                    self._runner = asyncio.Runner()
                result = self._runner.run(result)
            if result is False:
                return _fail({"code": "job_failed", "error": "work() returned False"})
            return (b"COMPLETE", *encode_value(result))
        except KeyboardInterrupt:
            raise
        except BaseException as fault:
            # SystemExit too: a worker ends by its signals, never by a job.
            log.warning("job %s, attempt %d failed: %s: %s", job.id, job.attempt, type(fault).__name__, fault)
            return _fail(encode_fault(fault))

    # ------------------------------------------------------------ the worker's own command line

    @classmethod
    def main(cls, args: Sequence[str] | None = None) -> None:
        """The worker's own command line: `if __name__ == "__main__": MyWorker.main()`."""
        from zmws.worker.command import run_class

        sys.exit(run_class(cls, args))


def _fail(said: dict[str, Any]) -> tuple[bytes, ...]:
    return (b"FAIL", mdp.PARAM_JSON + json.dumps(said).encode())
