"""The worker's I/O thread: it owns the socket, so that heartbeats go on while `work()` runs.

Rule 1: the thread decides nothing: `WorkerDialog` does. It moves frames and keeps time.
Rule 2: a job goes over to the main thread whole, and comes back whole: each handover costs a change
        of the interpreter's lock.
Rule 3: a socket lives for one connection. When it breaks, it is closed and another is opened, so that
        READY is always the first thing a broker hears on a connection.
"""

from __future__ import annotations

import logging
import math
import os
import queue
import random
import socket
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import zmq

from zmws import ids
from zmws.dialog.worker import CancelJob, DialogSettings, Open, StartJob, Stopped, Transmit, WorkerDialog
from zmws.sockets import Line, NoDescriptors
from zmws.wire.messages import WorkerRequest

log = logging.getLogger("zmws.worker")

_MEMORY_S = 5.0
PING_S = 0.75  # libzmq's own, which goes on while work() keeps the interpreter's lock


class WorkerIO:
    """A worker's connection. The main thread calls `get`, `say` and `finish`; `stop` any thread."""

    def __init__(
        self,
        service: str,
        brokers: Sequence[str],
        info: dict[str, Any] | None = None,
        settings: DialogSettings | None = None,
    ) -> None:
        """`brokers`: worker endpoints, tried in turn."""
        described = {"host": socket.gethostname(), "pid": os.getpid(), "ping": PING_S, **(info or {})}
        self.dialog = WorkerDialog(service, ids.new_id(), brokers, random.random, described, settings)
        self.ready = threading.Event()
        self._jobs: queue.SimpleQueue[WorkerRequest | None] = queue.SimpleQueue()
        self._said: deque[tuple[str, bytes, tuple[bytes, ...]]] = deque()
        self._cancelled: set[bytes] = set()
        self._stop = False
        self._wake_r, self._wake_w = socket.socketpair()
        self._wake_r.setblocking(False)
        self._wake_w.setblocking(False)
        self._fault: BaseException | None = None
        self._in_hand: WorkerRequest | None = None  # handed over, and not finished
        self.ended = False
        self.unconfirmed = 0
        self._thread = threading.Thread(target=self._run, name="zmws-worker-io", daemon=True)

    # ------------------------------------------------------------ the main thread's side

    def start(self) -> None:
        """Connect and register, in the thread."""
        self._thread.start()

    def get(self, timeout_s: float | None) -> WorkerRequest | None:
        """The next job; None when the worker has stopped. Raises queue.Empty after `timeout_s`."""
        request = self._jobs.get(timeout=timeout_s)
        if self._fault is not None:
            raise self._fault
        return request

    def lost(self) -> WorkerRequest | None:
        """The job that was handed over and got lost on its way: an exception out of nowhere (an alarm,
        another thread) can fall between the queue and whoever takes from it."""
        return self._in_hand if self._jobs.empty() else None

    @property
    def failed(self) -> bool:
        """Whether the thread has ended by a fault of ours, which `get` raises."""
        return self._fault is not None

    def say(self, token: bytes, body: tuple[bytes, ...]) -> None:
        """CONT, PROGRESS, LOG or TOUCH of the job at hand. Raises ValueError if it is too large."""
        if any(len(frame) > self.dialog.message_bytes_max for frame in body):
            raise ValueError(
                f"larger than the broker's message_bytes_max = {self.dialog.message_bytes_max} bytes"
            )
        self._said.append(("partial", token, body))
        self._wake()

    def finish(self, token: bytes, body: tuple[bytes, ...]) -> None:
        """FINAL of the job at hand."""
        self._in_hand = None
        self._said.append(("final", token, body))
        self._wake()

    def is_cancelled(self, token: bytes) -> bool:
        """Whether the broker wants this attempt dropped."""
        return token in self._cancelled

    def stop(self) -> None:
        """Finish the job in hand and leave. From any thread or a signal handler."""
        self._stop = True
        self._wake()

    @property
    def idle_after_s(self) -> float:
        """Three heartbeat intervals, as the broker set them."""
        return 3 * self.dialog.interval_s

    def join(self, timeout_s: float | None = None) -> None:
        """Wait for the thread's end."""
        self._thread.join(timeout_s)

    def _wake(self) -> None:
        try:
            self._wake_w.send(b"\0")
        except OSError:
            return  # it is awake already, or has ended

    # ------------------------------------------------------------ the thread's side

    def _run(self) -> None:
        try:
            with zmq.Context() as context:
                _Connection(self, context).serve()
        except BaseException as fault:
            self._fault = fault
        finally:
            self.ended = True
            self._jobs.put(None)
            self._wake_r.close()
            self._wake_w.close()


class _Connection:
    """The socket there is, and its monitor; used by the I/O thread alone."""

    def __init__(self, owner: WorkerIO, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self._owner = owner
        self._dialog = owner.dialog
        self._poller = zmq.Poller()
        self._line = Line(context, self._poller)
        self._poller.register(owner._wake_r.fileno(), zmq.POLLIN)
        self._memory_at = 0.0
        self._short = False  # of descriptors

    def serve(self) -> None:
        """Until the dialog has stopped."""
        dialog, owner = self._dialog, self._owner
        dialog.start(time.monotonic())
        self._act()
        while not dialog.stopped:
            due = dialog.next_deadline()
            wait = 1.0 if due is None else max(0.0, due - time.monotonic())
            # Rounded up: a wait that ends a moment early would only be waited again.
            self._poller.poll(math.ceil(min(wait, 3600.0) * 1000))
            now = time.monotonic()
            self._take_said(now)
            if owner._stop:
                dialog.stop(now)
            self._watch(now)
            self._receive(now)
            if now >= self._memory_at:
                self._memory_at = now + _MEMORY_S
                dialog.memory_bytes = _resident_bytes()
            due = dialog.next_deadline()
            if due is not None and due <= now:
                dialog.tick(now)
            self._act()
        self._line.close(linger_ms=500)

    def _take_said(self, now: float) -> None:
        try:
            while self._owner._wake_r.recv(4096):
                pass
        except BlockingIOError:
            pass
        said = self._owner._said
        while said:
            kind, token, body = said.popleft()
            if kind == "final":
                self._owner._cancelled.discard(token)
                self._dialog.final(now, token, body)
            else:
                self._dialog.partial(token, body)

    def _receive(self, now: float) -> None:
        while (frames := self._line.recv()) is not None:
            self._dialog.receive(now, frames)

    def _watch(self, now: float) -> None:
        while (event := self._line.event()) is not None:
            if event == "up":
                self._dialog.connected(now)
            else:
                # What the broker said last is read before its connection is given up.
                self._receive(now)
                self._dialog.disconnected(now)

    def _act(self) -> None:
        for action in self._dialog.take():
            if isinstance(action, Transmit):
                self._line.send(action.frames)
            elif isinstance(action, StartJob):
                self._owner._in_hand = action.request
                self._owner._jobs.put(action.request)
            elif isinstance(action, Open):
                self._open(action.endpoint)
            elif isinstance(action, CancelJob):
                self._owner._cancelled.add(action.token)
            else:
                assert isinstance(action, Stopped), action
                self._owner.unconfirmed = action.unconfirmed
        if self._dialog.registered and not self._owner.ready.is_set():
            self._owner.ready.set()

    def _open(self, endpoint: str) -> None:
        interval_s = self._dialog.interval_s
        try:
            self._line.open(endpoint, min(PING_S, interval_s), 2 * interval_s)
            self._short = False
        except NoDescriptors as wrong:
            # The job in hand may be what holds them, and goes on; its result waits for a connection.
            if not self._short:
                log.warning("%s; it is tried again", wrong)
            self._short = True
            self._dialog.disconnected(time.monotonic())


def _resident_bytes() -> int | None:
    try:
        return int(Path("/proc/self/statm").read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None
