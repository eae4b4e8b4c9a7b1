"""A worker's connection: jobs come in, what they say and their results go out, over one I/O thread.

Rule: a job goes over to the thread that runs it whole, and comes back whole: each handover costs a change of
the interpreter's lock.
"""

from __future__ import annotations

import logging
import os
import queue
import random
import socket
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from zmws import ids
from zmws.dialog.worker import DialogSettings, WorkerDialog
from zmws.dialog.worker_actions import CancelJob, Hangs, Lost, Registered, StartJob, Stopped, TellStack
from zmws.line.thread import LineThread
from zmws.wire.messages import WorkerRequest
from zmws.wire.words import STACK_CHARS_MAX
from zmws.work.last_words import WORDS_S, within

log = logging.getLogger("zmws.worker")

_LINGER_MS = 1_000


class WorkerLine(LineThread[WorkerDialog, Callable[[float], None]]):
    """`say`, `finish` and `is_cancelled` are for whoever runs a job; `stop` for any thread or signal handler.

    What is handed over is a step of the dialog, which is given the time.
    """

    def __init__(
        self,
        service: str,
        brokers: Sequence[str],
        settings: DialogSettings | None = None,
        services: dict[str, dict[str, Any]] | None = None,
    ) -> None:
        """`brokers`: worker endpoints, tried in turn. `services`: what READY tells of each, by name; None:
        there is one, and nothing to tell."""
        info: dict[str, Any] = {"host": socket.gethostname(), "pid": os.getpid()}
        if services is not None:
            info["services"] = services
        dialog = WorkerDialog(service, ids.new_id(), brokers, random.random, info, settings, _resident_bytes)
        super().__init__(dialog, _LINGER_MS)
        self.registered = threading.Event()  # once, at any broker
        self.unconfirmed = 0  # results, at the end
        self.fault: BaseException | None = None  # of ours, by which the thread has ended
        self.given_back: tuple[bytes, ...] = ()  # tokens of what was in hand, at the end
        self.on_stack: Callable[[bytes], str | None] = lambda token: None  # where a job's code is now
        self.on_hang: Callable[[bytes], None] = lambda token: None
        self.on_gone: Callable[[], None] = lambda: None  # the connection is closed, and all was sent
        self._jobs: queue.SimpleQueue[WorkerRequest | None] = queue.SimpleQueue()
        self._in_hand: WorkerRequest | None = None  # given out, and not finished
        self._cancelled: set[bytes] = set()
        self._short = False  # of descriptors
        self._lost = ""  # which broker was told to be lost last, and why
        self.hand(self.dialog.start)

    # ------------------------------------------------------------ who runs jobs

    def get(self, timeout_s: float | None) -> WorkerRequest | None:
        """The next job; None when there will be none. Raises queue.Empty after `timeout_s`."""
        request = self._jobs.get(timeout=timeout_s)
        if self.fault is not None:
            raise self.fault
        return request

    def lost(self) -> WorkerRequest | None:
        """The job that was given out and got lost on its way: an exception out of nowhere (an alarm, another
        thread) can fall between the queue and whoever takes from it."""
        return self._in_hand if self._jobs.empty() else None

    def say(self, token: bytes, body: tuple[bytes, ...]) -> None:
        """CONT, PROGRESS, LOG, TOUCH or SAVE of a job. Raises ValueError if it is too large."""
        if any(len(frame) > self.dialog.message_bytes_max for frame in body):
            raise ValueError(
                f"larger than the broker's message_bytes_max = {self.dialog.message_bytes_max} bytes"
            )
        self.hand(partial(self._partial, token, body))

    def finish(self, token: bytes, body: tuple[bytes, ...]) -> None:
        """FINAL of a job."""
        self._in_hand = None
        self.hand(partial(self._final, token, body))

    def is_cancelled(self, token: bytes) -> bool:
        """Whether the broker wants this attempt dropped."""
        return token in self._cancelled

    def stop(self, within_s: float | None = None) -> None:
        """Finish the job in hand and leave. `within_s`: what still runs then is given back; None: never."""
        self.hand(partial(_stop, self.dialog, within_s))

    def abandon(self) -> None:
        """Give up the jobs that hang, and leave."""
        self.hand(self.dialog.abandon)

    @property
    def idle_after_s(self) -> float:
        """Three heartbeat intervals, as the broker set them."""
        return 3 * self.dialog.interval_s

    # ------------------------------------------------------------ the thread

    def take_up(self, now: float, step: Callable[[float], None]) -> None:
        step(now)

    def _partial(self, token: bytes, body: tuple[bytes, ...], now: float) -> None:
        self.dialog.partial(now, token, body)

    def _final(self, token: bytes, body: tuple[bytes, ...], now: float) -> None:
        self._cancelled.discard(token)
        self.dialog.final(now, token, body)

    def act(self, action: Any) -> None:
        if isinstance(action, StartJob):
            self._in_hand = action.request
            self._jobs.put(action.request)
        elif isinstance(action, CancelJob):
            self._cancelled.add(action.token)
        elif isinstance(action, TellStack):
            stack = self.on_stack(action.token)
            if stack is not None:
                body = (b"STACK", stack[-STACK_CHARS_MAX:].encode("utf-8", "replace"))
                self.hand(partial(self._partial, action.token, body))
        elif isinstance(action, Hangs):
            self.on_hang(action.token)
        elif isinstance(action, Registered):
            self._short, self._lost = False, ""
            self.registered.set()
            _say(logging.INFO, "registered at %s", self.dialog.broker)
        elif isinstance(action, Lost):
            text = f"{action.broker}: {action.why}"
            if text != self._lost:  # each once, until a broker has answered
                _say(logging.WARNING, "no broker at %s; trying %s", text, self.dialog.broker)
            self._lost = text
        else:
            assert isinstance(action, Stopped), action
            self.unconfirmed, self.given_back = action.unconfirmed, action.given_back
            self.over = True

    def cannot_open(self, why: str) -> None:
        # The job in hand may be what holds them, and goes on; its result waits for a connection.
        if not self._short:
            _say(logging.WARNING, "%s; it is tried again", why)
        self._short = True

    def ending(self, fault: BaseException | None) -> None:
        self.fault = fault
        self._jobs.put(None)

    def gone(self) -> None:
        self.on_gone()


def _say(level: int, text: str, *values: object) -> None:
    """A line of the log. The author's code is on its way, and may fail or block: heartbeats must go on."""
    within(WORDS_S, partial(log.log, level, text, *values))


def _stop(dialog: WorkerDialog, within_s: float | None, now: float) -> None:
    dialog.stop(now, within_s)


def _resident_bytes() -> int | None:
    try:
        return int(Path("/proc/self/statm").read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None
