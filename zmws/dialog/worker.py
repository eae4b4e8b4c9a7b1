"""The worker's side of MDP/Worker (RFC 18) with our extensions: a pure state machine (worker_states.py).

    in    start, connected, disconnected, receive, partial, final, release, stop, abandon, tick
    out   take() -> Open | Transmit | Registered | Lost | StartJob | Lies | CancelJob | TellStack | Hangs |
                    Stopped
          next_deadline()

Rule 1: a FINAL is kept until the broker has said DONE, and sent again after a reconnection.
Rule 2: READY names what is held and what is finished, so that the broker can tell a job that goes on
        from one that never arrived.
Rule 3: after CANCEL and DISCONNECT it says READY again only when work() has returned.
Rule 4: who leaves first has its results confirmed, at most `leave_s`. What still runs when its time to leave
        is over is given back by DISCONNECT, which is no failure.
Rule 5: of what a job says the last PROGRESS, SAVE and TOUCH are said again after a reconnection.
Rule 6: without a job in hand the next broker of the list is tried at the first refusal or silence. Jobs and
        results belong to the broker that gave them: that one is tried first, and gets them, no other does.
        Who has gone to another with a result in hand looks after the first one now and then.
Rule 7: of the jobs in hand the oldest have begun, as many as there are slots; the others came ahead
        (`prefetch`). What has lain for `lies_s` is released, and all of it at a stop.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from zmws.dialog.actions import Open, Transmit
from zmws.dialog.said import Said
from zmws.dialog.worker_actions import (
    Action,
    CancelJob,
    Hangs,
    Lies,
    Lost,
    Registered,
    StartJob,
    Stopped,
    TellStack,
)
from zmws.dialog.worker_states import (
    AWAY,
    DISMISSED,
    GREETING,
    OPEN,
    REGISTERED,
    STOPPED,
    TRANSITIONS,
)
from zmws.errors import ProtocolError
from zmws.wire import mdp
from zmws.wire.messages import Disconnect, Heartbeat, WorkerRequest
from zmws.wire.values import JOBS_JSON, PARAM_JSON, json_object

QUICK_TRY_S = 0.1
QUICK_TRIES_S = 2.0
BACKOFF_FIRST_S = 0.5
BACKOFF_S_MAX = 30.0
CONNECT_S_MAX = 5.0
VISIT_S_MAX = 300.0
FINISHED_NAMED_MAX = 1_000
_TAKEN_BY_SOME = (b"SAVE", b"STACK")  # said only to a broker that has told that it takes it
PING_S = 0.75  # libzmq's own, which goes on while work() keeps the interpreter's lock


@dataclass(slots=True)
class DialogSettings:
    """The worker's own limits."""

    unconfirmed_bytes_max: int = 8 * 1024 * 1024
    leave_s: float = 5.0
    heartbeat_interval_s: float = 5.0  # until the broker has told its own
    heartbeat_liveness: int = 3
    message_bytes_max: int = 8 * 1024 * 1024  # of one frame, until the broker has told its own
    cancel_grace_s: float = 5.0  # to drop a job, likewise
    lies_s: float = 0.02  # a job that came ahead and has not begun by then is released


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
        slots: int = 1,
        prefetch: int = 0,
    ) -> None:
        """`brokers`: worker endpoints, tried in turn. `jitter`: a number from 0 to 1, another each time.
        `info`: what READY tells beside what is known here; `memory_bytes`: how much the process uses.
        `slots`: how many jobs it takes at once; `prefetch`: how many more ahead."""
        assert brokers, "a worker needs a broker"
        self.service = service
        self.worker_id = worker_id
        self.settings = settings or DialogSettings()
        self.slots, self.prefetch = slots, prefetch
        self.holding: dict[bytes, None] = {}
        self._ahead: dict[bytes, float] = {}  # what came ahead, and until when it may lie
        self.unconfirmed: dict[bytes, tuple[bytes, ...]] = {}
        self.state = AWAY
        self.stopping = False
        self.drained = False  # it was the broker that has told it to stop
        self.interval_s = self.settings.heartbeat_interval_s
        self.liveness = self.settings.heartbeat_liveness
        self.message_bytes_max = self.settings.message_bytes_max
        self.cancel_grace_s = self.settings.cancel_grace_s
        self.client_endpoint: str | None = None  # where this broker takes clients, as it tells
        self._takes: frozenset[str] = frozenset()  # words that this broker knows
        self._brokers = list(dict.fromkeys(brokers))
        self._broker = 0
        self._jitter = jitter
        self._info = {"ping": PING_S, **(info or {})}
        self._memory_bytes = memory_bytes
        self._out: list[Action] = []
        self._owner: dict[bytes, int] = {}  # which broker of the list a job or a result belongs to
        self._said = Said()
        self._cancelled: dict[bytes, float | None] = {}  # when the job is hung; None: that was said
        self._unconfirmed_bytes = 0
        self._confirming = False
        self._retry_at: float | None = None
        self._lost_since: float | None = None
        self._backoff_s = BACKOFF_FIRST_S
        self._opened_at = 0.0
        self._heard = 0.0
        self._heartbeat_due = 0.0
        self._leave_by: float | None = None
        self._give_back_by: float | None = None
        self._home: int | None = None  # while another broker is looked after: where it comes from
        self._visit_at: float | None = None
        self._visit_s = 0.0
        self._abandoned: tuple[bytes, ...] = ()

    # ------------------------------------------------------------ in

    @property
    def broker(self) -> str:
        """The endpoint that it is connected to, or tries."""
        return self._brokers[self._broker]

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
        self._out.append(Lost(self.broker, reason or "the connection broke, or none could be made"))
        self._move("lose")
        lost_for = now - self._lost_since
        self._broker, self._home = self._next_broker(lost_for), None
        if lost_for < QUICK_TRIES_S:
            self._retry_at = now + QUICK_TRY_S
        else:
            self._retry_at = now + self._backoff_s * (0.5 + self._jitter())
            # A broker that restarts waits two heartbeat intervals for whom it knows to be working.
            self._backoff_s = min(self._backoff_s * 2, BACKOFF_S_MAX, max(BACKOFF_FIRST_S, self.interval_s))

    def _next_broker(self, lost_for: float) -> int:
        """Which to try now that none has been heard for so many seconds."""
        if self._home is not None:
            return self._home  # it was but looked after
        if self.holding:
            return self._broker  # it gave what is in hand, and no other can be given anything to do
        # A broker that restarts waits two intervals for the results of its jobs.
        if self.unconfirmed and lost_for < max(QUICK_TRIES_S, 2 * self.interval_s):
            return self._owner[next(iter(self.unconfirmed))]
        return (self._broker + 1) % len(self._brokers)

    def _plan_visit(self, now: float) -> None:
        """At another broker than that which a result belongs to: when to look after that one."""
        if len(self._results_of_this_broker()) == len(self.unconfirmed):
            self._visit_at, self._visit_s = None, 0.0
        else:
            self._visit_s = min(max(2 * self._visit_s, 2 * self.interval_s), VISIT_S_MAX)
            self._visit_at = now + self._visit_s

    def _visit(self, now: float) -> None:
        """Bring a result to the broker it belongs to, if that is there again, and nothing is to be done
        here."""
        self._visit_at = now + self.interval_s
        if self.unconfirmed and not (self.holding or self.stopping or self._results_of_this_broker()):
            self._go_to_owner(now, home=self._broker)

    def _go_to_owner(self, now: float, home: int | None) -> None:
        """Leave this broker for the one that the oldest result belongs to."""
        self._transmit([mdp.MDPW02, mdp.W_DISCONNECT])
        self._move("lose")
        self._home = home
        self._broker = self._owner[next(iter(self.unconfirmed))]
        self._connect(now)

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
        first = self.state is GREETING
        if first:
            self._move("hear")
            self._lost_since, self._backoff_s, self._home = None, BACKOFF_FIRST_S, None
            self._plan_visit(now)
            self._out.append(Registered())
        if isinstance(message, WorkerRequest):
            self._on_request(now, message)
        else:
            self._on_heartbeat(now, message)
        if first and self.state in OPEN:
            for token in self._results_of_this_broker():
                if self.unconfirmed[token][-1].startswith(JOBS_JSON):
                    self._say_final(token)

    def partial(self, now: float, token: bytes, body: tuple[bytes, ...]) -> None:
        """work() says something: CONT, PROGRESS, LOG, TOUCH or SAVE; or its stack is told. Of what is said
        while cut off only the last PROGRESS, SAVE and TOUCH are heard."""
        if token not in self.holding:
            return
        self._said.note(now, token, body)
        self._say(token, body)

    def _say(self, token: bytes, body: tuple[bytes, ...]) -> None:
        known = body[0] not in _TAKEN_BY_SOME or body[0].decode() in self._takes
        if known and self.state in OPEN:
            self._transmit(mdp.encode_from_worker(mdp.W_PARTIAL, token, body))

    def final(self, now: float, token: bytes, body: tuple[bytes, ...]) -> None:
        """work() has returned. A result that no broker would take fails the job for good."""
        if token not in self.holding:
            return  # said already
        if any(len(frame) > self.message_bytes_max for frame in body):
            what, code = "the result is", "result_too_large"
            if len(body[-1]) > self.message_bytes_max and body[-1].startswith(JOBS_JSON):
                what, code = "what work() enqueued is", "bad_follow_up"
            text = f"{what} larger than message_bytes_max = {self.message_bytes_max} bytes"
            said = {"code": code, "error": text, "retry": False}
            body = (b"FAIL", PARAM_JSON + json.dumps(said).encode())
        cancelled = token in self._cancelled
        self._drop(token)
        if self.state is DISMISSED and cancelled:
            # It was cancelled and we were disconnected for it: nobody waits for this result.
            self._owner.pop(token, None)
            if self.stopping and not (self.unconfirmed or self.holding):
                self._move("retire")
            elif not self._cancelled:
                self._connect(now)
        else:
            self.unconfirmed[token] = body
            self._unconfirmed_bytes += sum(map(len, body))
            if self.state in OPEN:
                if self.stopping or self._unconfirmed_bytes > self.settings.unconfirmed_bytes_max:
                    # Before the FINAL, so that the broker gives us nothing more when that arrives.
                    self._ask_to_confirm(now)
                self._say_final(token)
        if self.stopping and not self.holding:
            self._leave(now)

    def release(self, now: float, token: bytes) -> None:
        """This job has not begun, and never will: it goes back as if it had not been given."""
        if token not in self.holding:
            return
        self._drop(token)
        self._owner.pop(token, None)
        if self.state in OPEN:
            self._transmit([mdp.MDPW02, mdp.W_HEARTBEAT, b"RELEASE " + token])
        if self.stopping and not self.holding:
            self._leave(now)

    def stop(self, now: float, within_s: float | None = None) -> None:
        """Finish the job in hand, have the results confirmed, say DISCONNECT. `within_s`: what still runs
        then is given back; None: however long it takes. May be said again, with less time."""
        if within_s is not None and (self._give_back_by is None or now + within_s < self._give_back_by):
            self._give_back_by = now + within_s
        if self.stopping:
            if within_s == 0 and self._leave_by is not None:
                self._leave_by = now  # nor is waited for results to be confirmed
            return
        self.stopping = True
        if not self.holding:
            self._leave(now)
        else:
            if self.state in OPEN:
                self._take_no_more()
            self._let_go_of(list(self._ahead))

    def abandon(self, now: float, within_s: float | None = None) -> None:
        """The jobs that hang are given up, all else is as with `stop`."""
        hung = tuple(token for token, at in self._cancelled.items() if at is None)
        self._abandoned += hung
        for token in hung:
            self._drop(token)
            self._owner.pop(token, None)
        if not self.stopping:
            self.stop(now, within_s)
        elif not self.holding and self._leave_by is None and self.state is not STOPPED:
            self._leave(now)

    def tick(self, now: float) -> None:
        """A deadline has come."""
        if self.state is STOPPED:
            return
        give_back = self.holding and self._give_back_by is not None and now >= self._give_back_by
        if give_back or (self._leave_by is not None and now >= self._leave_by):
            self._say_stopped()
            return
        for token, at in self._cancelled.items():
            if at is not None and now >= at:
                self._cancelled[token] = None
                self._out.append(Hangs(token))
        self._let_go_of([token for token, until in self._ahead.items() if now >= until])
        if self._retry_at is not None and now >= self._retry_at:
            self._connect(now)
        if self.state not in OPEN:
            return
        if self._visit_at is not None and self.state is REGISTERED and now >= self._visit_at:
            self._visit(now)
        if now >= self._silent_at():
            self.disconnected(now, "it said nothing any more")
        elif now >= self._heartbeat_due:
            self._heartbeat(now)

    # ------------------------------------------------------------ out

    def take(self) -> list[Action]:
        """What is to be done, in order."""
        out, self._out = self._out, []
        return out

    def next_deadline(self) -> float | None:
        """When `tick` is to be called next."""
        if self.state is STOPPED:
            return None
        due = [at for at in (self._retry_at, self._leave_by, *self._cancelled.values()) if at is not None]
        if self.holding and self._give_back_by is not None:
            due.append(self._give_back_by)
        if self._ahead:
            due.append(min(self._ahead.values()))
        if self.state in OPEN:
            due += [self._heartbeat_due, self._silent_at()]
            if self._visit_at is not None and self.state is REGISTERED:
                due.append(self._visit_at)
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
        self._takes = frozenset()
        mine = self._results_of_this_broker()
        self._out.append(Open(self._brokers[self._broker], min(PING_S, self.interval_s), 2 * self.interval_s))
        newest_first = mine[::-1][:FINISHED_NAMED_MAX]
        info = {
            "zmws": 1,
            "id": self.worker_id,
            **self._info,
            "slots": self.slots,
            "prefetch": self.prefetch,
            "holding": [token.decode() for token in self.holding],
            "finished": [token.decode() for token in newest_first],
        }
        self._transmit(mdp.encode_ready(self.service, info))
        if mine and (self.stopping or self._unconfirmed_bytes > self.settings.unconfirmed_bytes_max):
            self._ask_to_confirm(now)
        for token in mine:
            self._say_final(token)

    def _say_final(self, token: bytes) -> None:
        """One that says what is to follow goes to a broker that takes that; whether it does, its first
        message tells. To any other the attempt has failed, for what it asked for would not happen."""
        body = self.unconfirmed[token]
        if body[-1].startswith(JOBS_JSON) and body[0] == b"COMPLETE":
            if self.state is GREETING:
                return
            if "JOBS-JSON" not in self._takes:
                text = "work() enqueued jobs, and this broker is too old to take them (JOBS-JSON)"
                said = {"code": "bad_follow_up", "error": text, "retry": False}
                self.unconfirmed[token] = body = (b"FAIL", PARAM_JSON + json.dumps(said).encode())
        self._transmit(mdp.encode_from_worker(mdp.W_FINAL, token, body))

    def _results_of_this_broker(self) -> list[bytes]:
        """Not yet confirmed, the oldest first."""
        return [token for token in self.unconfirmed if self._owner[token] == self._broker]

    def _on_request(self, now: float, request: WorkerRequest) -> None:
        if request.token in self.holding or request.token in self.unconfirmed:
            return
        if self.stopping:
            # Not begun, and never to be. To a broker that knows no RELEASE, DISCONNECT will say so.
            if "RELEASE" in self._takes:
                self._transmit([mdp.MDPW02, mdp.W_HEARTBEAT, b"RELEASE " + request.token])
            return
        if len(self.holding) >= self.slots + self.prefetch:
            # More than it was told to send. Coming back without naming this one tells it.
            self.disconnected(now)
            return
        if len(self.holding) >= self.slots:
            self._ahead[request.token] = now + self.settings.lies_s
        self.holding[request.token] = None
        self._owner[request.token] = self._broker
        self._out.append(StartJob(request))

    def _on_heartbeat(self, now: float, message: Heartbeat) -> None:
        for frame in message.frames:
            if frame.startswith(b"CANCEL "):
                token = frame[7:]
                if token in self.holding:
                    self._cancelled.setdefault(token, now + 2 * self.cancel_grace_s)
                    self._out.append(CancelJob(token))
            elif frame.startswith(b"STACK "):
                if frame[6:] in self.holding:
                    self._out.append(TellStack(frame[6:]))
            elif frame.startswith(b"DONE "):
                self._done(now, frame[5:].split())
            elif frame == b"DRAIN":
                self.drained = self.drained or not self.stopping
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
        bytes_max, grace = pace.get("message_bytes_max"), pace.get("cancel_grace")
        if isinstance(bytes_max, int) and bytes_max > 0:
            self.message_bytes_max = bytes_max
        if isinstance(grace, (int, float)) and grace >= 0:
            self.cancel_grace_s = float(grace)
        client, takes = pace.get("client"), pace.get("takes")
        self.client_endpoint = client if isinstance(client, str) else None
        self._takes = frozenset(map(str, takes)) if isinstance(takes, list) else frozenset()
        if self.stopping and self.holding:
            self._take_no_more()
        for token, body in self._said.again(now, self.holding):
            self._say(token, body)

    def _take_no_more(self) -> None:
        if "SLOTS" in self._takes:
            self._transmit([mdp.MDPW02, mdp.W_HEARTBEAT, b"SLOTS 0"])

    def _drop(self, token: bytes) -> None:
        """It is not in hand any more."""
        del self.holding[token]
        self._cancelled.pop(token, None)
        self._said.forget(token)
        self._ahead.pop(token, None)
        while self._ahead and len(self.holding) - len(self._ahead) < self.slots:
            del self._ahead[next(iter(self._ahead))]

    def _let_go_of(self, tokens: list[bytes]) -> None:
        """What came ahead is to be released, unless it has begun meanwhile."""
        if tokens:
            self._ahead.update(dict.fromkeys(tokens, math.inf))  # it is asked once
            self._out.append(Lies(tuple(tokens)))

    def _done(self, now: float, tokens: list[bytes]) -> None:
        for token in tokens:
            body = self.unconfirmed.pop(token, None)
            if body is not None:
                del self._owner[token]
                self._unconfirmed_bytes -= sum(map(len, body))
        if not self._results_of_this_broker():
            self._confirming = False
            if self._leave_by is not None:
                self._leave(now)

    def _on_disconnect(self, now: float) -> None:
        if self._cancelled:
            self._move("dismiss")
        else:
            self.disconnected(now, "it sent DISCONNECT; its log says why")

    def _ask_to_confirm(self, now: float) -> None:
        self._confirming = True
        frame = b"CONFIRM " + b" ".join(self._results_of_this_broker())
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
        if self._leave_by is None:
            self._leave_by = now + self.settings.leave_s
        if self.state not in OPEN:
            return
        if not self._results_of_this_broker():
            # What is left belongs to another broker, and no other may be told of it.
            self._go_to_owner(now, home=None)
        elif not self._confirming:
            self._ask_to_confirm(now)

    def _say_stopped(self) -> None:
        if self.state in OPEN:
            if self.holding:
                # What has begun: a job that may run only once is not to begin again.
                self._transmit([mdp.MDPW02, mdp.W_HEARTBEAT, b"HOLDS " + b" ".join(self.holding)])
            self._transmit([mdp.MDPW02, mdp.W_DISCONNECT])
        self._move("leave")
        self._leave_by = None
        self._out.append(Stopped(len(self.unconfirmed), (*self._abandoned, *self.holding)))

    def _transmit(self, frames: list[bytes]) -> None:
        self._out.append(Transmit(frames))
