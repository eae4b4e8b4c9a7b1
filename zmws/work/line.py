"""A worker's connection: jobs come in, what they say and their results go out, over one I/O thread.

Rule 1: a job goes over to the thread that runs it whole, and comes back whole: each handover costs a change
        of the interpreter's lock.
Rule 2: what has not begun may be taken back (it came ahead, or was cancelled): until then a job is an entry
        of one dict, and whoever takes that out, in one step, has it.
"""

from __future__ import annotations

import logging
import os
import queue
import random
import socket
import threading
from collections import deque
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

from zmws import ids
from zmws.dialog.worker import DialogSettings, WorkerDialog
from zmws.dialog.worker_actions import (
    CancelJob,
    Hangs,
    Lies,
    Lost,
    Registered,
    StartJob,
    Stopped,
    TellStack,
)
from zmws.key_file import KeyFile
from zmws.line.thread import LineThread
from zmws.wire.messages import WorkerRequest
from zmws.wire.words import STACK_CHARS_MAX
from zmws.work.last_words import WORDS_S, within
from zmws.work.memory import resident_bytes

log = logging.getLogger("zmws.worker")

_LINGER_MS = 1_000
_SUPPLY = 4  # jobs that have not begun, and no more need be read for a moment


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
        slots: int = 1,
        prefetch: int = 0,
        memory_bytes: Callable[[], int | None] = resident_bytes,
        key: KeyFile | None = None,
    ) -> None:
        """`brokers`: worker endpoints, tried in turn. `services`: what READY tells of each, by name; None:
        there is one, and nothing to tell. `slots`, `prefetch`: jobs at once, and more ahead, of all of them.
        `memory_bytes`: what the process uses. `key`: who it is for the broker."""
        info: dict[str, Any] = {"host": socket.gethostname(), "pid": os.getpid()}
        if services is not None:
            info["services"] = services
        self._unbegun: dict[bytes, WorkerRequest] = {}
        mine = service, ids.new_id(), brokers
        dialog = WorkerDialog(*mine, random.random, info, settings, memory_bytes, slots, prefetch)
        super().__init__(dialog, _LINGER_MS, key)
        self.registered = threading.Event()  # once, at any broker
        self.finished = False  # no job comes any more
        self.unconfirmed = 0  # results, at the end
        self.fault: BaseException | None = None  # of ours, by which the thread has ended
        self.given_back: tuple[bytes, ...] = ()  # tokens of what was in hand, at the end
        # Where a job's code is, to be told now or in a moment.
        self.on_stack: Callable[[bytes, Callable[[str], None]], None] = lambda token, tell: None
        # Begins a job in this very thread; False: it is for whoever asks for the next.
        self.on_start: Callable[[WorkerRequest], bool] = lambda request: False
        self.on_cancel: Callable[[bytes], None] = lambda token: None  # a job that has begun is to be dropped
        self.on_hang: Callable[[bytes], None] = lambda token: None
        self.on_registered: Callable[[], object] = lambda: None
        self.on_gone: Callable[[], None] = lambda: None  # the connection is closed, and all was sent
        self._order: deque[bytes] = deque()  # of what comes; of some there is nothing left to begin
        self._wakes: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._woken = False  # there is a wake that nobody has taken
        self._in_hand: dict[bytes, WorkerRequest] = {}  # come, and not finished
        self._cancelled: set[bytes] = set()
        self._short = False  # of descriptors
        self._lost = ""  # which broker was told to be lost last, and why
        self.hand(self.dialog.start)

    # ------------------------------------------------------------ who runs jobs

    def here(self) -> WorkerRequest | None:
        """A job that has come: it is still to be begun. None if there is none just now."""
        order = self._order
        while order:
            request = self._unbegun.get(order.popleft())
            if request is not None:
                return request
        return None

    def next(self, timeout_s: float | None) -> WorkerRequest | None:
        """The same, and wait for it. None when there will be none. Raises queue.Empty after `timeout_s`, or
        when `look_around` was called."""
        while True:
            request = self.here()
            if request is not None:
                return request
            if self.finished:
                if self.fault is not None:
                    raise self.fault
                return None
            self._woken = False  # before the look that follows: what comes after that wakes
            if self._order or self.finished:
                continue
            self._wakes.get(timeout=timeout_s)
            self._woken = False
            if not self._order and not self.finished:
                raise queue.Empty

    def begin(self, token: bytes) -> bool:
        """Begin a job that `next` has shown; False if it was taken back meanwhile."""
        return self._unbegun.pop(token, None) is not None

    def put_back(self, request: WorkerRequest) -> None:
        """A job that `begin` was called for is to be begun later."""
        self._unbegun[request.token] = request

    def look_around(self) -> None:
        """Whoever waits for the next job is to do so."""
        if not self._woken:
            self._woken = True
            self._wakes.put(None)

    def lost(self, known: Collection[bytes]) -> WorkerRequest | None:
        """A job that got lost on its way, beside those that are known to be in hand: an exception out of
        nowhere (an alarm, another thread) can fall between `next` and whoever calls it."""
        waiting = set(self._order)
        for token, request in list(self._in_hand.items()):
            if token not in known and token not in waiting:
                self._unbegun.pop(token, None)
                return request
        return None

    def say(self, token: bytes, body: tuple[bytes, ...]) -> None:
        """CONT, PROGRESS, LOG, TOUCH or SAVE of a job. Raises ValueError if it is too large."""
        if any(len(frame) > self.dialog.message_bytes_max for frame in body):
            raise ValueError(
                f"larger than the broker's message_bytes_max = {self.dialog.message_bytes_max} bytes"
            )
        self.hand(partial(self._partial, token, body))

    def finish(self, token: bytes, body: tuple[bytes, ...]) -> None:
        """FINAL of a job."""
        self._in_hand.pop(token, None)
        self.leave(partial(self._final, token, body))

    def looks(self) -> bool:
        # Whoever runs jobs goes on by itself with what is here: no need to change threads for each.
        return bool(self._unbegun)

    def release(self, token: bytes) -> None:
        """A job that `begin` was called for has not begun, and will not."""
        self._in_hand.pop(token, None)
        self.hand(partial(self._release, token))

    def is_cancelled(self, token: bytes) -> bool:
        """Whether the broker wants this attempt dropped."""
        return token in self._cancelled

    def stop(self, within_s: float | None = None) -> None:
        """Finish the job in hand and leave. `within_s`: what still runs then is given back; None: never."""
        self.hand(partial(_stop, self.dialog, within_s))

    def abandon(self, within_s: float) -> None:
        """Give up the jobs that hang, and leave; what else runs gets so long."""
        self.hand(partial(_abandon, self.dialog, within_s))

    @property
    def idle_after_s(self) -> float:
        """Three heartbeat intervals, as the broker set them."""
        return 3 * self.dialog.interval_s

    # ------------------------------------------------------------ the thread

    def is_supplied(self) -> bool:
        return len(self._unbegun) >= _SUPPLY

    def take_up(self, now: float, step: Callable[[float], None]) -> None:
        step(now)

    def _partial(self, token: bytes, body: tuple[bytes, ...], now: float) -> None:
        self.dialog.partial(now, token, body)

    def _final(self, token: bytes, body: tuple[bytes, ...], now: float) -> None:
        self._cancelled.discard(token)
        self.dialog.final(now, token, body)

    def act(self, action: Any) -> None:
        if isinstance(action, StartJob):
            if self.on_start(action.request):
                return
            token = action.request.token
            self._in_hand[token] = self._unbegun[token] = action.request
            self._order.append(token)
            self.look_around()
        elif isinstance(action, Lies):
            for token in action.tokens:
                self._take_back(token)
        elif isinstance(action, CancelJob):
            self._cancelled.add(action.token)
            if not self._take_back(action.token):
                self.on_cancel(action.token)
        elif isinstance(action, TellStack):
            self.on_stack(action.token, partial(self._tell_stack, action.token))
        elif isinstance(action, Hangs):
            self.on_hang(action.token)
        elif isinstance(action, Registered):
            self._short, self._lost = False, ""
            self.registered.set()
            self.on_registered()
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

    def _tell_stack(self, token: bytes, stack: str) -> None:
        body = (b"STACK", stack[-STACK_CHARS_MAX:].encode("utf-8", "replace"))
        self.hand(partial(self._partial, token, body))

    def _take_back(self, token: bytes) -> bool:
        """Release a job, if it has not begun."""
        if self._unbegun.pop(token, None) is None:
            return False
        self.release(token)
        return True

    def _release(self, token: bytes, now: float) -> None:
        self._cancelled.discard(token)
        self.dialog.release(now, token)

    def cannot_open(self, why: str) -> None:
        # The job in hand may be what holds them, and goes on; its result waits for a connection.
        if not self._short:
            _say(logging.WARNING, "%s; it is tried again", why)
        self._short = True

    def ending(self, fault: BaseException | None) -> None:
        self.fault = fault
        self.finished = True
        self._wakes.put(None)

    def gone(self) -> None:
        self.on_gone()


def _say(level: int, text: str, *values: object) -> None:
    """A line of the log. The author's code is on its way, and may fail or block: heartbeats must go on."""
    within(WORDS_S, partial(log.log, level, text, *values))


def _abandon(dialog: WorkerDialog, within_s: float, now: float) -> None:
    dialog.abandon(now, within_s)


def _stop(dialog: WorkerDialog, within_s: float | None, now: float) -> None:
    dialog.stop(now, within_s)
