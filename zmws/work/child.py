"""The process in which the jobs of a class with `isolate` run, one after the other (children.py starts it).

Rule 1: it ends with its parent, whatever runs in it.
Rule 2: SIGTERM, with the parent's word for it, drops the job in hand: Dropped is raised where work() is, so
        that its `finally` and `with` are kept. Any other SIGTERM changes nothing: whether to end is for the
        parent to decide.
Rule 3: what a job says goes to the parent, which has the connection.
Rule 4: what a job has done to signals and alarms is undone when it has ended.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import io
import mmap
import os
import pickle
import random
import select
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zmws import tracing
from zmws.errors import ZmwsError
from zmws.key_file import KeyFile
from zmws.wire.messages import WorkerRequest
from zmws.work.attempt import Final
from zmws.work.author import Worker
from zmws.work.birth import Birth
from zmws.work.command import importable, set_up_log
from zmws.work.declared import declared
from zmws.work.fault import encode_fault
from zmws.work.forks import handle_signal
from zmws.work.inline import Inline
from zmws.work.job import JobInHand
from zmws.work.job_log import installed
from zmws.work.last_words import within
from zmws.work.own_client import OwnClient
from zmws.work.pipe import MARK, Pipe
from zmws.work.recycling import Recycling

_PR_SET_PDEATHSIG = 1
_CATCHABLE = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGUSR1}
_SPANS_S = 5.0  # for the spans that have ended to be exported
_WHY = "the job is not wanted any more: it was cancelled, or ran past its ttr"


class Dropped(BaseException):
    """The job is not wanted any more: cancelled, or past its `ttr`."""


class _Line:
    """What a job says goes to the parent."""

    def __init__(self, pipe: Pipe) -> None:
        self.bytes_max = 0
        self.dropped = False
        self._sending = 0  # how deep the main thread is in `send`
        self._late = False  # it was dropped meanwhile
        self._pipe = pipe

    def say(self, token: bytes, body: tuple[bytes, ...]) -> None:
        if any(len(frame) > self.bytes_max for frame in body):
            raise ValueError(f"larger than the broker's message_bytes_max = {self.bytes_max} bytes")
        self.send(("say", token, body))

    def is_cancelled(self, token: bytes) -> bool:
        return self.dropped

    def send(self, message: Any) -> None:
        # Half a message would be the end of all that follows: no signal may raise in the midst of it.
        if threading.current_thread() is not threading.main_thread():
            self._pipe.send(message)
            return
        self._sending += 1
        try:
            self._pipe.send(message)
        finally:
            self._sending -= 1
        if self._late and not self._sending:
            self._late = False
            raise Dropped(_WHY)

    def drop(self) -> None:
        """The job is not wanted any more; in the main thread. Raises Dropped, now or after what it says."""
        self.dropped = True
        if self._sending:
            self._late = True
        else:
            raise Dropped(_WHY)

    def next_job(self, bytes_max: int) -> None:
        """What was said of the one before holds no longer."""
        self.bytes_max, self.dropped, self._late = bytes_max, False, False


class Child:
    """Runs what comes."""

    def __init__(self, pipe: Pipe, birth: Birth, stacks: int, mark: mmap.mmap) -> None:
        """Raises what the class's file raises, and ZmwsError."""
        self._line = _Line(pipe)
        self._pipe, self._stacks, self._mark = pipe, stacks, mark
        self._number = 0  # of the jobs that have come
        # From the first byte: to read a job may already be its child's end (for want of memory).
        pipe.on_data = lambda: MARK.pack_into(mark, 0, self._number + 1)
        self._incoming = pipe.receive()
        self._endpoint: str | None = None
        self._client = OwnClient(lambda: self._endpoint)
        self.worker: Worker = _made(birth)
        self.worker.options = pickle.loads(birth.options)
        self.worker.client_of = self._client
        self._found = declared(self.worker, birth.service)
        self._executor = Inline()
        self._recycling = Recycling([self._found], random.random(), time.monotonic())
        self._token: bytes | None = None  # of the job in hand
        self._others: deque[tuple[Any, ...]] = deque()  # messages that came while a job was in hand
        self._handlers: dict[int, Any] = {}  # of signals, as setup() has left them

    def serve(self) -> None:
        """Until the parent has no more for it. Raises EOFError where there is no parent any more."""
        handle_signal(signal.SIGTERM, self._on_sigterm)
        self._executor.call(self.worker.setup)
        self._handlers = {number: signal.getsignal(number) for number in _CATCHABLE}
        self._line.send(("ready",))
        for kind, *given in self._messages():
            if kind == "job":
                self._run(*given)
            elif kind == "idle":
                self._guarded(self.worker.idle)
                self._stop_alarms()
                _flush()
                self._put_back()
                self._line.send(("idled",))
            elif kind == "end":
                break
        self._guarded(self.worker.teardown)
        self._client.close()
        self._executor.close()
        if tracing.on is not None:
            within(_SPANS_S, tracing.on.flush)  # what Python would do at its exit is not done here

    def _run(
        self,
        request: WorkerRequest,
        bytes_max: int,
        client: tuple[str | None, KeyFile | None],
        number: int,
    ) -> None:
        self._number = number
        line = self._line
        line.next_job(bytes_max)
        self._endpoint, self._client.key = client
        finals: list[Final | None] = []
        try:
            job = JobInHand(line, request, self._found.service)
            self._token = request.token
            self._executor.start(self.worker, self._found, job, request, finals.append)
        except Dropped as dropped:
            finals.append(Final(error=encode_fault(dropped)))
        finally:
            self._token = None
        self._stop_alarms()  # none may fall into what follows
        _flush()
        final = finals[0]
        assert final is not None, request
        self._recycling.jobs += 1
        why = self._recycling.why(time.monotonic())
        line.send(("final", request.token, final.result, final.error, final.is_retry, final.jobs, why))
        self._put_back()  # nobody waits for that

    def _guarded(self, what: Any) -> None:
        try:
            self._executor.call(what)
        except BaseException as fault:
            sys.stderr.write(f"zmws: {encode_fault(fault)['traceback']}\n")

    def _messages(self) -> Iterator[tuple[Any, ...]]:
        while True:
            while self._others:
                yield self._others.popleft()
            message = next(self._incoming)
            if message[0] != "job":
                MARK.pack_into(self._mark, 0, self._number)
            yield message

    def _on_sigterm(self, number: int, frame: object) -> None:
        """Nothing is read while a job is in hand, but here."""
        token = self._token
        if token is None:
            return
        dropped = False
        while select.select([self._pipe.sock], [], [], 0)[0]:
            message = next(self._incoming)
            if message[0] == "drop":
                dropped = dropped or message[1] == token
            else:
                self._others.append(message)
        if dropped:
            self._line.drop()

    def _put_back(self) -> None:
        """Whatever was done to signals by the code that has just ended."""
        for number, handler in self._handlers.items():
            if handler is not None and signal.getsignal(number) is not handler:
                signal.signal(number, handler)
        faulthandler.unregister(signal.SIGUSR1)  # to register twice would not set it again
        faulthandler.register(signal.SIGUSR1, file=self._stacks, all_threads=False, chain=False)

    def _stop_alarms(self) -> None:
        for timer in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF):
            signal.setitimer(timer, 0)


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


def main(fd: int, stacks_fd: int, mark_fd: int, parent: int) -> None:
    """The process; `fd` is its end of the pipe, to `stacks_fd` SIGUSR1 writes where its code is, and in the
    memory of `mark_fd` it notes which job it begins."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)
    os.set_inheritable(fd, False)
    os.set_inheritable(stacks_fd, False)
    mark = mmap.mmap(mark_fd, MARK.size)
    os.close(mark_fd)
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, file=stacks_fd, all_threads=False, chain=False)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)  # what was printed before a crash is not to be lost
    pipe = Pipe(socket.socket(fileno=fd))
    code = 1
    try:
        code = _serve(pipe, stacks_fd, mark)
    finally:
        _flush()
        os._exit(code)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()


def _serve(pipe: Pipe, stacks: int, mark: mmap.mmap) -> int:
    try:
        birth: Birth = next(pipe.receive())
        set_up_log(birth.log_level, birth.log_format)
        if birth.is_file:
            importable(Path(birth.module).parent)
        with installed():
            Child(pipe, birth, stacks, mark).serve()
    except (EOFError, Dropped):
        return 0
    except BaseException as fault:  # out of the file, or setup(): nobody else is told
        told = encode_fault(fault)
        if isinstance(fault, ZmwsError):
            told["traceback"] = told["error"]
        pipe.send(("failed", told))
        return 1
    return 0
