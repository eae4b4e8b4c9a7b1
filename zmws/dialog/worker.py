"""The worker's side of MDP/Worker (RFC 18) with our extensions: a pure state machine.

               connect               hear
       AWAY -----------> GREETING --------> REGISTERED
        ^ ^                |   |              |   |
        | |      lose      |   |    lose      |   |
        | +----------------+---|--------------+   |
        |                      |     dismiss      |
        |  retire              +---------+--------+
        +------------- DISMISSED <-------+                 connect: DISMISSED --> GREETING
                                                           leave: AWAY, GREETING, REGISTERED --> STOPPED

    in    start, connected, disconnected, receive, partial, final, stop, tick
    out   take() -> Open | Transmit | Registered | StartJob | CancelJob | Stopped;   next_deadline()

Rule 1: a FINAL is kept until the broker has said DONE, and sent again after a reconnection.
Rule 2: READY names what is held and what is finished, so that the broker can tell a job that goes on
        from one that never arrived.
Rule 3: after CANCEL and DISCONNECT it says READY again only when work() has returned.
Rule 4: who leaves first has its results confirmed, at most `leave_s`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from zmws.dialog.actions import Open, Transmit
from zmws.errors import ProtocolError
from zmws.wire import mdp
from zmws.wire.messages import Disconnect, Heartbeat, WorkerRequest
from zmws.wire.values import PARAM_JSON, json_object


class State(Enum):
    """Where a worker stands with its broker."""

    AWAY = "no connection; the next is made at its time"
    GREETING = "READY is said, or will be when the handshake is through; nothing was heard yet"
    REGISTERED = "a broker has answered"
    DISMISSED = "cancelled, then disconnected: it comes back when work() has returned"
    STOPPED = "it has left"


AWAY, GREETING, REGISTERED, DISMISSED, STOPPED = State

TRANSITIONS: dict[State, dict[str, State]] = {
    AWAY: {"connect": GREETING, "leave": STOPPED},
    GREETING: {"hear": REGISTERED, "lose": AWAY, "dismiss": DISMISSED, "leave": STOPPED},
    REGISTERED: {"lose": AWAY, "dismiss": DISMISSED, "leave": STOPPED},
    DISMISSED: {"connect": GREETING, "retire": AWAY},  # retire: it is stopping, and registers no more
    STOPPED: {},
}
OPEN = (GREETING, REGISTERED)  # there is a socket

QUICK_TRY_S = 0.1
QUICK_TRIES_S = 2.0
BACKOFF_FIRST_S = 0.5
BACKOFF_S_MAX = 30.0
CONNECT_S_MAX = 5.0
FINISHED_NAMED_MAX = 1_000
PING_S = 0.75  # libzmq's own, which goes on while work() keeps the interpreter's lock


@dataclass(slots=True)
class Registered:
    """A broker has answered its READY."""


@dataclass(slots=True)
class StartJob:
    """A job for work()."""

    request: WorkerRequest


@dataclass(slots=True)
class CancelJob:
    """The broker wants this attempt dropped."""

    token: bytes


@dataclass(slots=True)
class Stopped:
    """It has left; `unconfirmed` results could not be confirmed in time."""

    unconfirmed: int


@dataclass(slots=True)
class DialogSettings:
    """The worker's own limits."""

    unconfirmed_bytes_max: int = 8 * 1024 * 1024
    leave_s: float = 5.0
    heartbeat_interval_s: float = 5.0  # until the broker has told its own
    heartbeat_liveness: int = 3
    message_bytes_max: int = 8 * 1024 * 1024  # of one frame, until the broker has told its own


class WorkerDialog:
    """One worker's conversation with one broker at a time. Times are monotonic seconds."""

    def __init__(
        self,
        service: str,
        worker_id: str,
        brokers: Sequence[str],
        jitter: Callable[[], float],
        info: dict[str, Any] | None = None,
        settings: DialogSettings | None = None,
        memory_bytes: Callable[[], int | None] = lambda: None,
    ) -> None:
        """`brokers`: worker endpoints, tried in turn. `jitter`: a number from 0 to 1, another each time.
        `info`: what READY tells beside what is known here; `memory_bytes`: how much the process uses."""
        assert brokers, "a worker needs a broker"
        self.service = service
        self.worker_id = worker_id
        self.settings = settings or DialogSettings()
        self.holding: dict[bytes, None] = {}
        self.unconfirmed: dict[bytes, tuple[bytes, ...]] = {}
        self.state = AWAY
        self.stopping = False
        self.interval_s = self.settings.heartbeat_interval_s
        self.liveness = self.settings.heartbeat_liveness
        self.message_bytes_max = self.settings.message_bytes_max
        self._brokers = list(brokers)
        self._broker = 0
        self._jitter = jitter
        self._info = {"ping": PING_S, **(info or {})}
        self._memory_bytes = memory_bytes
        self._out: list[Open | Transmit | Registered | StartJob | CancelJob | Stopped] = []
        self._cancelled: set[bytes] = set()
        self._unconfirmed_bytes = 0
        self._confirming = False
        self._retry_at: float | None = None
        self._lost_since: float | None = None
        self._backoff_s = BACKOFF_FIRST_S
        self._opened_at = 0.0
        self._heard = 0.0
        self._heartbeat_due = 0.0
        self._leave_by: float | None = None

    # ------------------------------------------------------------ in

    def start(self, now: float) -> None:
        """Connect and register."""
        self._connect(now)

    def connected(self, now: float) -> None:
        """The socket's handshake is through."""
        self._heard = now

    def disconnected(self, now: float, reason: str = "") -> None:
        """The connection broke or could not be made: try again, soon and then less and less."""
        if self.state not in OPEN:
            return
        if self._lost_since is None:
            # A stopped broker, or a name that does not resolve, was lost from the start of this attempt.
            self._lost_since = now if self.state is REGISTERED else self._opened_at
        self._move("lose")
        if now - self._lost_since < QUICK_TRIES_S:
            self._retry_at = now + QUICK_TRY_S
        else:
            self._broker = (self._broker + 1) % len(self._brokers)
            self._retry_at = now + self._backoff_s * (0.5 + self._jitter())
            # A broker that restarts waits two heartbeat intervals for whom it knows to be working.
            self._backoff_s = min(self._backoff_s * 2, BACKOFF_S_MAX, max(BACKOFF_FIRST_S, self.interval_s))

    def receive(self, now: float, frames: list[bytes]) -> None:
        """What the broker sent. A message that is none of ours is dropped."""
        if self.state not in OPEN:
            return
        try:
            message = mdp.decode_at_worker(frames)
        except ProtocolError:
            return
        self._heard = now
        if isinstance(message, Disconnect):
            self._on_disconnect(now)
            return
        if self.state is GREETING:
            self._move("hear")
            self._lost_since, self._backoff_s = None, BACKOFF_FIRST_S
            self._out.append(Registered())
        if isinstance(message, WorkerRequest):
            self._on_request(now, message)
        else:
            self._on_heartbeat(now, message)

    def partial(self, token: bytes, body: tuple[bytes, ...]) -> None:
        """work() says something: CONT, PROGRESS, LOG or TOUCH. Nobody hears it while cut off."""
        if self.state in OPEN and token in self.holding:
            self._transmit(mdp.encode_from_worker(mdp.W_PARTIAL, token, body))

    def final(self, now: float, token: bytes, body: tuple[bytes, ...]) -> None:
        """work() has returned. A result that no broker would take fails the job for good."""
        if token not in self.holding:
            return  # said already
        if any(len(frame) > self.message_bytes_max for frame in body):
            text = f"the result is larger than message_bytes_max = {self.message_bytes_max} bytes"
            said = {"code": "result_too_large", "error": text, "retry": False}
            body = (b"FAIL", PARAM_JSON + json.dumps(said).encode())
        del self.holding[token]
        self._cancelled.discard(token)
        if self.state is DISMISSED:
            # It was cancelled and we were disconnected for it: nobody waits for this result.
            if self.stopping:
                self._move("retire")
            else:
                self._connect(now)
        else:
            self.unconfirmed[token] = body
            self._unconfirmed_bytes += sum(map(len, body))
            if self.state in OPEN:
                if self.stopping or self._unconfirmed_bytes > self.settings.unconfirmed_bytes_max:
                    # Before the FINAL, so that the broker gives us nothing more when that arrives.
                    self._ask_to_confirm(now)
                self._transmit(mdp.encode_from_worker(mdp.W_FINAL, token, body))
        if self.stopping and not self.holding:
            self._leave(now)

    def stop(self, now: float) -> None:
        """Finish the job in hand, have the results confirmed, say DISCONNECT."""
        if self.stopping:
            return
        self.stopping = True
        if not self.holding:
            self._leave(now)

    def tick(self, now: float) -> None:
        """A deadline has come."""
        if self.state is STOPPED:
            return
        if self._leave_by is not None and now >= self._leave_by:
            self._say_stopped()
            return
        if self._retry_at is not None and now >= self._retry_at:
            self._connect(now)
        if self.state not in OPEN:
            return
        if now >= self._silent_at():
            self.disconnected(now)
        elif now >= self._heartbeat_due:
            self._heartbeat(now)

    # ------------------------------------------------------------ out

    def take(self) -> list[Open | Transmit | Registered | StartJob | CancelJob | Stopped]:
        """What is to be done, in order."""
        out, self._out = self._out, []
        return out

    def next_deadline(self) -> float | None:
        """When `tick` is to be called next."""
        if self.state is STOPPED:
            return None
        due = [at for at in (self._retry_at, self._leave_by) if at is not None]
        if self.state in OPEN:
            due += [self._heartbeat_due, self._silent_at()]
        return min(due) if due else None

    # ------------------------------------------------------------ privates

    def _move(self, event: str) -> None:
        assert event in TRANSITIONS[self.state], (self.state, event)
        self.state = TRANSITIONS[self.state][event]

    def _silent_at(self) -> float:
        """When a broker that says nothing is given up."""
        patience = self.interval_s * self.liveness if self.state is REGISTERED else CONNECT_S_MAX
        return max(self._heard, self._opened_at) + patience

    def _connect(self, now: float) -> None:
        self._retry_at = None
        self._move("connect")
        self._opened_at = now
        self._heartbeat_due = now + self.interval_s
        self._confirming = False
        self._out.append(Open(self._brokers[self._broker], min(PING_S, self.interval_s), 2 * self.interval_s))
        newest_first = list(reversed(self.unconfirmed))[:FINISHED_NAMED_MAX]
        info = {
            "zmws": 1,
            "id": self.worker_id,
            **self._info,
            "slots": 1,
            "holding": [token.decode() for token in self.holding],
            "finished": [token.decode() for token in newest_first],
        }
        self._transmit(mdp.encode_ready(self.service, info))
        if self.unconfirmed and (
            self.stopping or self._unconfirmed_bytes > self.settings.unconfirmed_bytes_max
        ):
            self._ask_to_confirm(now)
        for token, body in self.unconfirmed.items():
            self._transmit(mdp.encode_from_worker(mdp.W_FINAL, token, body))

    def _on_request(self, now: float, request: WorkerRequest) -> None:
        if request.token in self.holding or request.token in self.unconfirmed:
            return
        if self.stopping:
            return  # DISCONNECT, which is on its way or soon to come, gives it back
        if self.holding:
            # A broker gives a worker one job at a time. Coming back without naming this one tells it.
            self.disconnected(now)
            return
        self.holding[request.token] = None
        self._out.append(StartJob(request))

    def _on_heartbeat(self, now: float, message: Heartbeat) -> None:
        for frame in message.frames:
            if frame.startswith(b"CANCEL "):
                token = frame[7:]
                if token in self.holding:
                    self._cancelled.add(token)
                    self._out.append(CancelJob(token))
            elif frame.startswith(b"DONE "):
                self._done(now, frame[5:].split())
            elif frame == b"DRAIN":
                self.stop(now)
            elif frame.startswith(b"{"):
                self._pace(now, json_object(frame) or {})

    def _pace(self, now: float, pace: dict[str, Any]) -> None:
        interval, liveness = pace.get("interval"), pace.get("liveness")
        if isinstance(interval, (int, float)) and interval > 0:
            self.interval_s = float(interval)
            self._heartbeat_due = min(self._heartbeat_due, now + self.interval_s)
        if isinstance(liveness, int) and liveness > 0:
            self.liveness = liveness
        bytes_max = pace.get("message_bytes_max")
        if isinstance(bytes_max, int) and bytes_max > 0:
            self.message_bytes_max = bytes_max

    def _done(self, now: float, tokens: list[bytes]) -> None:
        for token in tokens:
            body = self.unconfirmed.pop(token, None)
            if body is not None:
                self._unconfirmed_bytes -= sum(map(len, body))
        if not self.unconfirmed:
            self._confirming = False
            if self._leave_by is not None:
                self._say_stopped()

    def _on_disconnect(self, now: float) -> None:
        if self._cancelled:
            self._move("dismiss")
        else:
            self.disconnected(now)

    def _ask_to_confirm(self, now: float) -> None:
        self._confirming = True
        frame = b"CONFIRM " + b" ".join(self.unconfirmed)
        self._transmit([mdp.MDPW02, mdp.W_HEARTBEAT, frame])

    def _heartbeat(self, now: float) -> None:
        self._heartbeat_due = now + self.interval_s
        frames = [mdp.MDPW02, mdp.W_HEARTBEAT]
        if self.holding:
            frames.append(b"HOLDS " + b" ".join(self.holding))
        if (memory := self._memory_bytes()) is not None:
            frames.append(b"MEMORY %d" % memory)
        self._transmit(frames)

    def _leave(self, now: float) -> None:
        """Nothing is held any more: go, as soon as the results are confirmed."""
        if not self.unconfirmed:
            self._say_stopped()
            return
        self._leave_by = now + self.settings.leave_s
        if self.state in OPEN and not self._confirming:
            self._ask_to_confirm(now)

    def _say_stopped(self) -> None:
        if self.state in OPEN:
            self._transmit([mdp.MDPW02, mdp.W_DISCONNECT])
        self._move("leave")
        self._leave_by = None
        self._out.append(Stopped(len(self.unconfirmed)))

    def _transmit(self, frames: list[bytes]) -> None:
        self._out.append(Transmit(frames))
