"""The process in which the jobs of a class with `isolate` run, one after the other (children.py starts it).

Rule 1: it ends with its parent, whatever runs in it.
Rule 2: SIGTERM drops the job in hand: Dropped is raised where work() is, so that its `finally` and `with` are
        kept. Without a job it changes nothing.
Rule 3: what a job says goes to the parent, which has the connection.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import os
import random
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from zmws.errors import ZmwsError
from zmws.wire.messages import WorkerRequest
from zmws.work.attempt import Final
from zmws.work.author import Worker
from zmws.work.birth import Birth
from zmws.work.command import importable, set_up_log
from zmws.work.declared import declared
from zmws.work.fault import encode_fault
from zmws.work.inline import Inline
from zmws.work.job import JobInHand
from zmws.work.job_log import installed
from zmws.work.own_client import OwnClient
from zmws.work.pipe import Pipe
from zmws.work.recycling import Recycling

_PR_SET_PDEATHSIG = 1


class Dropped(BaseException):
    """The job is not wanted any more: cancelled, or past its `ttr`."""


class _Line:
    """What a job says goes to the parent."""

    def __init__(self, pipe: Pipe) -> None:
        self.bytes_max = 0
        self.dropped = False
        self.sending = 0
        self._pipe = pipe

    def say(self, token: bytes, body: tuple[bytes, ...]) -> None:
        if any(len(frame) > self.bytes_max for frame in body):
            raise ValueError(f"larger than the broker's message_bytes_max = {self.bytes_max} bytes")
        self.send(("say", token, body))

    def is_cancelled(self, token: bytes) -> bool:
        return self.dropped

    def send(self, message: Any) -> None:
        # Half a message would be the end of all that follows: no signal may raise in the midst of it.
        self.sending += 1
        try:
            self._pipe.send(message)
        finally:
            self.sending -= 1


class Child:
    """Runs what comes."""

    def __init__(self, pipe: Pipe, birth: Birth) -> None:
        """Raises what the class's file raises, and ZmwsError."""
        self._line = _Line(pipe)
        self._pipe = pipe
        self._endpoint: str | None = None
        self._client = OwnClient(lambda: self._endpoint)
        self.worker: Worker = _made(birth)
        self.worker.options = birth.options
        self.worker.client_of = self._client
        self._found = declared(self.worker, birth.service)
        self._executor = Inline()
        self._recycling = Recycling([self._found], random.random(), time.monotonic())
        self._in_work = False

    def serve(self) -> None:
        """Until the parent has no more for it. Raises EOFError where there is no parent any more."""
        signal.signal(signal.SIGTERM, self._on_sigterm)
        self._executor.call(self.worker.setup)
        self._line.send(("ready",))
        for kind, *given in self._pipe.receive():
            if kind == "job":
                self._run(*given)
            elif kind == "idle":
                self._guarded(self.worker.idle)
            else:
                break
        self._guarded(self.worker.teardown)
        self._client.close()
        self._executor.close()

    def _run(self, request: WorkerRequest, bytes_max: int, client: str | None) -> None:
        line = self._line
        line.bytes_max, line.dropped = bytes_max, False
        self._endpoint = client
        finals: list[Final] = []
        try:
            job = JobInHand(line, request, self._found.service)
            self._in_work = True
            self._executor.start(self.worker, self._found, job, request, finals.append)
        except Dropped as dropped:
            finals.append(Final(error=encode_fault(dropped)))
        finally:
            self._in_work = False
        final = finals[0]
        self._recycling.jobs += 1
        why = self._recycling.why(time.monotonic())
        line.send(("final", request.token, final.result, final.error, final.is_retry, why))

    def _guarded(self, what: Any) -> None:
        try:
            self._executor.call(what)
        except BaseException as fault:
            sys.stderr.write(f"zmws: {encode_fault(fault)['traceback']}\n")

    def _on_sigterm(self, number: int, frame: object) -> None:
        if self._in_work:
            self._line.dropped = True
            if not self._line.sending:
                raise Dropped("the job is not wanted any more: it was cancelled, or ran past its ttr")


def _made(birth: Birth) -> Worker:
    """An object of the class. Raises ZmwsError where there is none."""
    from zmws.work.files import load_main_classes
    from zmws.work.function import worker_of

    if birth.is_file:
        cls: Any = load_main_classes([f"{birth.module}:{birth.name}"])[0]
        return worker_of(cls)
    import importlib

    found: Any = importlib.import_module(birth.module)
    for part in birth.name.split("."):
        found = getattr(found, part)
    return worker_of(found)


def main(fd: int, stacks_fd: int, parent: int) -> None:
    """The process; `fd` is its end of the pipe, to `stacks_fd` SIGUSR1 writes where its code is."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)
    os.set_inheritable(fd, False)
    os.set_inheritable(stacks_fd, False)
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, file=stacks_fd, all_threads=False, chain=False)
    pipe = Pipe(socket.socket(fileno=fd))
    code = 0
    try:
        code = _serve(pipe)
    except EOFError:
        pass
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os._exit(code)


def _serve(pipe: Pipe) -> int:
    birth: Birth = next(iter(pipe.receive()))
    sys.path[:] = birth.path
    set_up_log(birth.log_level)
    try:
        if birth.is_file:
            importable(Path(birth.module).parent)
        with installed():
            Child(pipe, birth).serve()
    except (EOFError, Dropped):
        return 0
    except BaseException as fault:  # out of the file, or setup(): nobody else is told
        told = encode_fault(fault)
        if isinstance(fault, ZmwsError):
            told["traceback"] = told["error"]
        pipe.send(("failed", told))
        return 1
    return 0
