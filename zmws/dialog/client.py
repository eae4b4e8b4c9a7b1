"""The client's side of the native dialect: requests in flight, answers matched, repeats. Pure.

              connect               shake              hello
        AWAY ---------> CONNECTING -------> GREETING --------> READY
          ^                 |                  |  |  refuse      |
          |      lose       |                  |  +-----> REFUSED|
          +-----------------+------------------+-------------+---+

    in    request, forget, connected, disconnected, receive, tick
    out   take() -> Open | Transmit | Answered | Unanswered;   next_deadline()

Rule 1: an unanswered request is repeated after a reconnection, and every `repeat_s`, with the same id
        and the time that is left: at the broker it went to, where a repeat is never a second job.
Rule 2: a request that has left for one broker goes to no other (unless the caller accepts duplicates);
        if that broker stays away the caller is told, and that the job may have been accepted.
Rule 3: the first question on a connection is `zmws.hello`, and nothing else leaves before its answer: it says
        whether this is the socket for us, and how large a message may be.
Rule 4: a connection that breaks soon after it was made has not been there: what makes the broker cut it
        would only do so again, and again.
Rule 5: a call that must run at most once (`retries: 0`) is not repeated at a broker that came back: a
        restarted one no longer knows memory jobs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from zmws.core.table import YEAR_S
from zmws.dialog.actions import Open, Transmit
from zmws.errors import BrokerUnreachable, JobTimeout, ProtocolError, Refused, ZmwsError
from zmws.wire import at_client
from zmws.wire.at_client import Reply
from zmws.wire.values import PARAM_JSON, json_object


class State(Enum):
    """Where a client stands with its broker."""

    AWAY = "no connection; one is made when there is something to ask, and its time has come"
    CONNECTING = "a socket is there"
    GREETING = "the handshake is through, and the broker was asked what it is"
    READY = "it has said so: what is in flight has left"
    REFUSED = "it is none for us"


AWAY, CONNECTING, GREETING, READY, REFUSED = State

TRANSITIONS: dict[State, dict[str, State]] = {
    AWAY: {"connect": CONNECTING},
    CONNECTING: {"shake": GREETING, "lose": AWAY},
    GREETING: {"hello": READY, "refuse": REFUSED, "lose": AWAY},
    READY: {"lose": AWAY},
    REFUSED: {"lose": AWAY},
}

TRY_S_FIRST, TRY_S_MAX = 0.1, 1.0
PING_S = 5.0
HELLO = b"0"  # the number of the question that each connection begins with
# Of brokers that do not tell:
BYTES_MAX_UNTOLD = 8 * 1024 * 1024
SUBMIT_MANY_MAX_UNTOLD = 1_000


@dataclass(slots=True)
class ClientSettings:
    """The client's own limits, in seconds."""

    connect_s: float = 1.5  # a broker never reached is given up after this
    away_s: float = 15.0  # a broker that was there may stay away this long
    repeat_s: float = 5.0
    message_bytes_max: int | None = None  # of one frame; None: what the broker takes
    steady_s: float = 5.0  # a connection that lasted this long was there
    failover_duplicates: bool = False  # go to the next broker, at the risk of a second job


@dataclass(slots=True)
class Pending:
    """A request in flight."""

    number: bytes
    service: str
    sync: bool
    options: dict[str, Any]
    body: tuple[bytes, ...]
    begun: float
    deadline: float | None
    repeat_s: float
    broker: int | None = None  # where it went to
    repeat_at: float = 0.0


@dataclass(slots=True)
class Answered:
    """An answer, a partial one or the last."""

    number: bytes
    reply: Reply


@dataclass(slots=True)
class Unanswered:
    """There will be no answer, and why."""

    number: bytes
    error: ZmwsError


class ClientDialog:
    """Many requests in flight over one connection. Times are monotonic seconds."""

    def __init__(self, brokers: Sequence[str], settings: ClientSettings | None = None) -> None:
        assert brokers, "a client needs a broker"
        self.settings = settings or ClientSettings()
        self.pending: dict[bytes, Pending] = {}
        self._brokers = list(brokers)
        self._broker = 0
        self._out: list[Open | Transmit | Answered | Unanswered] = []
        self._number = 0
        self.message_bytes_max = min(BYTES_MAX_UNTOLD, self.settings.message_bytes_max or BYTES_MAX_UNTOLD)
        self.submit_many_max = SUBMIT_MANY_MAX_UNTOLD
        self.greeted = False  # a broker has told its limits
        self.state = AWAY
        self._wrong: Refused | None = None  # why what is there, or was last, is not for us
        self._reason = ""  # why the last attempt failed
        self._shaken_at = 0.0  # when the handshake was through
        self._attempt_until: float | None = None  # then another broker is tried
        self._retry_at: float | None = None
        self._away_since: float | None = None
        self._try_s = TRY_S_FIRST
        self._failed_in_turn = 0  # attempts
        self._check_at = float("inf")  # no timeout or repeat is due before this

    # ------------------------------------------------------------ in

    def request(
        self,
        now: float,
        service: str,
        sync: bool,
        options: dict[str, Any],
        body: tuple[bytes, ...],
        timeout_s: float | None,
        takes_s: float = 0.0,
    ) -> bytes:
        """Ask; the number comes back with the answer. A timeout goes along as `expires`. `takes_s`: how long
        the broker may take for the answer by its design; it is not repeated sooner, on one connection."""
        self._number += 1
        number = b"%d" % self._number
        deadline = None if timeout_s is None else now + timeout_s
        repeat_s = takes_s + self.settings.repeat_s
        asked = Pending(number, service, sync, options, body, now, deadline, repeat_s)
        self.pending[number] = asked
        if self.state is AWAY and self._retry_at is None:
            self._connect(now)
        if self.state is REFUSED:
            assert self._wrong is not None
            self._give_up(asked, self._wrong)
            return number
        if self.state is READY:
            self._send(now, asked)
        self._check_at = min(self._check_at, self._due(asked))
        return number

    def forget(self, number: bytes) -> None:
        """Nobody waits for this answer any more."""
        self.pending.pop(number, None)

    def connected(self, now: float) -> None:
        """The socket's handshake is through: ask whom we talk to."""
        if self.state is not CONNECTING:
            return  # it was given up a moment before
        self._move("shake")
        self._shaken_at = now
        self._attempt_until = self._attempt_end(now, self.settings.away_s)
        self._out.append(Transmit(at_client.encode_request(HELLO, "zmws.hello", False, {}, (b"{}",))))
        self._check_at = now  # to wait for its answer is another patience

    def _on_hello(self, now: float, reply: Reply) -> None:
        """The broker has said what it is: send what is in flight, again or for the first time."""
        if self.state is not GREETING:
            return
        told = json_object(reply.body[-1].removeprefix(PARAM_JSON)) if reply.body else None
        wrong = self._not_for_us(reply, told or {})
        if wrong is not None:
            self._move("refuse")
            self._wrong = wrong
            for asked in list(self.pending.values()):
                self._give_up(asked, wrong)
            return
        self._learn(told or {} if reply.body[:1] == (b"200",) else {})
        self._move("hello")
        self._try_s, self._attempt_until = TRY_S_FIRST, None
        self._failed_in_turn = 0
        for asked in list(self.pending.values()):
            if asked.broker is None or asked.broker == self._broker or self.settings.failover_duplicates:
                if asked.broker is not None and asked.options.get("retries") == 0:
                    text = "the connection broke during a call that may run only once"
                    self._give_up(asked, BrokerUnreachable(text, maybe_accepted=True))
                else:
                    self._send(now, asked)
        self._check_at = now  # what has just been sent is due to be repeated sooner than all was before

    def _not_for_us(self, reply: Reply, told: dict[str, Any]) -> Refused | None:
        endpoint = self.broker
        if reply.kind == "failed":
            return Refused(
                str(told.get("code") or "refused"), f"{endpoint}: {told.get('error') or 'refused'}"
            )
        if told.get("socket") == "mdp":
            text = (
                f"{endpoint} is the socket 'mdp', for programs that speak plain MDP; a client of zmws takes "
            )
            return Refused("wrong_socket", f"{text}the socket 'client' (by default tcp://HOST:5555)")
        return None

    @property
    def broker(self) -> str:
        """The endpoint of the broker that it is connected to, or is about to be."""
        return self._brokers[self._broker]

    def _learn(self, told: dict[str, Any]) -> None:
        """What the broker takes; an older one (501) does not say."""
        bytes_max, many_max = told.get("message_bytes_max"), told.get("submit_many_max")
        known = bytes_max if type(bytes_max) is int and bytes_max > 0 else BYTES_MAX_UNTOLD
        self.message_bytes_max = min(known, self.settings.message_bytes_max or known)
        self.submit_many_max = many_max if type(many_max) is int and many_max > 0 else SUBMIT_MANY_MAX_UNTOLD
        self.greeted = True

    def disconnected(self, now: float, reason: str = "") -> None:
        """The connection broke or could not be made. `reason`: why, where that is of use to whoever asked."""
        if self.state is AWAY:
            return
        self._reason = reason
        lasted = now - self._shaken_at >= self.settings.steady_s
        if self._away_since is None or (self.state is READY and lasted):
            self._away_since = now
        self._move("lose")
        self._attempt_until = None
        bound = self._bound()
        self._failed_in_turn += 1
        if not bound:
            self._broker = (self._broker + 1) % len(self._brokers)
        else:
            self._broker = min(bound)
        if self.pending and not bound and self._failed_in_turn % len(self._brokers):
            self._retry_at = now  # a pause would take the time of those that were not asked yet
        elif self.pending:
            self._retry_at = now + self._try_s
            self._try_s = min(self._try_s * 1.5, TRY_S_MAX)
        self._check_at = now

    def receive(self, now: float, frames: list[bytes]) -> None:
        """What the broker sent. An answer to nothing in flight is dropped: a repeat's second."""
        try:
            reply = at_client.decode_at_client(frames)
        except ProtocolError:
            return
        if reply.number == HELLO:
            self._on_hello(now, reply)
            return
        asked = self.pending.get(reply.number)
        if asked is None:
            return
        if reply.kind == "partial":
            asked.repeat_at = now + asked.repeat_s
        else:
            del self.pending[reply.number]
        self._out.append(Answered(reply.number, reply))

    def tick(self, now: float) -> None:
        """A deadline has come."""
        if self._attempt_until is not None and now >= self._attempt_until:
            self.disconnected(now)
        if self._retry_at is not None and now >= self._retry_at:
            self._connect(now)
        if now < self._check_at:
            return
        for asked in list(self.pending.values()):
            if asked.deadline is not None and now >= asked.deadline:
                self._give_up(asked, self._timeout(asked))
            elif self.state is not READY and now >= self._patience(asked):
                self._give_up(asked, self._unreachable(asked))
            elif self.state is READY and asked.broker == self._broker and now >= asked.repeat_at:
                self._send(now, asked)
        self._check_at = min((self._due(asked) for asked in self.pending.values()), default=float("inf"))

    # ------------------------------------------------------------ out

    def take(self) -> list[Open | Transmit | Answered | Unanswered]:
        """What is to be done, in order."""
        out, self._out = self._out, []
        return out

    def next_deadline(self) -> float | None:
        """When `tick` is to be called next, None if nothing is in flight."""
        due = self._check_at if self.pending else float("inf")
        for at in (self._retry_at, self._attempt_until if self.pending else None):
            if at is not None:
                due = min(due, at)
        return due if due < float("inf") else None

    # ------------------------------------------------------------ privates

    def _move(self, event: str) -> None:
        assert event in TRANSITIONS[self.state], (self.state, event)
        self.state = TRANSITIONS[self.state][event]

    def _connect(self, now: float) -> None:
        self._retry_at = None
        self._move("connect")
        if self._away_since is None:
            self._away_since = now
        self._attempt_until = self._attempt_end(now, self.settings.connect_s)
        self._out.append(Open(self._brokers[self._broker], PING_S, 2 * PING_S))

    def _bound(self) -> set[int]:
        """The brokers that requests in flight are bound to; for any other request any broker will do."""
        if self.settings.failover_duplicates:
            return set()
        return {asked.broker for asked in self.pending.values() if asked.broker is not None}

    def _attempt_end(self, now: float, patience_s: float) -> float | None:
        """Until when this broker may take: its share of the patience, where there are others to try. A
        stopped process and a name that does not resolve say nothing by themselves."""
        brokers = len(self._brokers)
        return now + patience_s / brokers if brokers > 1 and not self._bound() else None

    def _send(self, now: float, asked: Pending) -> None:
        asked.broker = self._broker
        asked.repeat_at = now + asked.repeat_s
        options = asked.options
        if asked.deadline is not None and asked.sync:
            left = min(YEAR_S, max(0.001, round(asked.deadline - now, 3)))
            options = {**options, "expires": left}
        frames = at_client.encode_request(asked.number, asked.service, asked.sync, options, asked.body)
        large = max(map(len, frames))
        if large > self.message_bytes_max:
            # The broker would cut the connection, and all that is in flight on it.
            text = f"a part of the request has {large} bytes, and a message at most {self.message_bytes_max}"
            self._give_up(asked, Refused("too_large", f"{text} (message_bytes_max)"))
            return
        self._out.append(Transmit(frames))

    def _patience(self, asked: Pending) -> float:
        """Until when a request waits for a connection."""
        away_since = self._away_since if self._away_since is not None else asked.begun
        if asked.broker is None:
            # Who takes a connection and says nothing yet may be busy; who takes none is not there.
            shaken = self.state not in (AWAY, CONNECTING)
            patience = self.settings.away_s if shaken else self.settings.connect_s
            return max(asked.begun, away_since) + patience
        return max(asked.begun, away_since) + self.settings.away_s

    def _due(self, asked: Pending) -> float:
        """When something is to be done about a request that is not answered."""
        due = float("inf") if asked.deadline is None else asked.deadline
        if self.state is not READY:
            return min(due, self._patience(asked))
        return min(due, asked.repeat_at) if asked.broker == self._broker else due

    def _timeout(self, asked: Pending) -> ZmwsError:
        assert asked.deadline is not None
        if asked.broker is None:
            return self._unreachable(asked)
        after = asked.deadline - asked.begun
        text = f"no answer of {asked.service} within {after:g} s"
        return JobTimeout(text, job_id=asked.options.get("id"))

    def _unreachable(self, asked: Pending) -> BrokerUnreachable:
        where = ", ".join(self._brokers) if asked.broker is None else self._brokers[asked.broker]
        because = f" ({self._reason})" if self._reason else ""
        return BrokerUnreachable(
            f"no broker answers at {where}{because}", asked.broker is not None, self._reason
        )

    def _give_up(self, asked: Pending, why: ZmwsError) -> None:
        del self.pending[asked.number]
        self._out.append(Unanswered(asked.number, why))
