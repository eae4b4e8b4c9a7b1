"""The broker's state machine: an input goes to its room, then what it woke is dispatched.
docs/architecture.md; RFC 7 and RFC 18. `node.py` drives it, and says what its inputs are.

Rule 1: no I/O, no clock, no chance. `set_time` comes before every input.
Rule 2: no callback out of the core and no store read on a job's path.
Rule 3: the peer broke the protocol: count, DISCONNECT, live on. We broke an invariant: assert.
Rule 4: after each input every service that it woke is dispatched, once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zmws.core.batches import BatchEnd, Batches
from zmws.core.desk.desk import Desk
from zmws.core.dispatch import Dispatch
from zmws.core.follow_ups import FollowUps
from zmws.core.held import Held
from zmws.core.host import Host
from zmws.core.job import Caller
from zmws.core.keys import Keys
from zmws.core.lanes import Lanes
from zmws.core.life import Life
from zmws.core.limits import Limits
from zmws.core.making import Making
from zmws.core.options import ServiceOptions, job_options, job_options_of
from zmws.core.reads import (
    Read,
    ReadBatch,
    ReadExpired,
    ReadScheduled,
    ReadUnfinished,
    ReadUsual,
    ReadWaiting,
)
from zmws.core.recovery import Recovery
from zmws.core.results import Results
from zmws.core.roster import Roster
from zmws.core.rows import KeyRow, Rows, ScheduleRow
from zmws.core.schedules import Firing, Schedules
from zmws.core.series import Series
from zmws.core.sessions import Sessions
from zmws.core.strangers import Strangers
from zmws.core.submission import Submission, Unsure
from zmws.core.timers import Reminder
from zmws.core.turn import Suppliers, Turn
from zmws.core.user import CHOSEN, is_chosen
from zmws.core.watchers import Watchers
from zmws.core.writes import WITH_VERDICT, Counted, FinishJob, InsertJob, Verdict, Write
from zmws.errors import OptionError, ProtocolError
from zmws.wire import names, values
from zmws.wire.messages import (
    DISCONNECT,
    MDP01,
    STRICT,
    Answer,
    ClientRequest,
    Disconnect,
    FromPeer,
    Heartbeat,
    Peer,
    Ready,
    WorkerFinal,
    WorkerPartial,
)

PRUNE_INTERVAL_S = 1.0


class Broker:
    """The pure core."""

    def __init__(
        self,
        limits: Limits,
        services: dict[str, ServiceOptions],
        suppliers: Suppliers,
        durability: str,
        schedules: Sequence[ScheduleRow] = (),
        keys: Sequence[KeyRow] = (),
    ) -> None:
        """`durability`: what a stored job's acknowledgement may promise, from the store. `schedules`: those
        that the settings name. `keys`: those that lie in files."""
        self.turn = turn = Turn(limits, suppliers)
        self.host = Host()
        self.held = held = Held(turn, services, durability)
        self.keys = known_keys = Keys(turn, keys)
        self.watchers = Watchers(turn, self.host)
        making = Making(turn, held)
        follow_ups = FollowUps(turn, held, making, known_keys)
        self.life = Life(turn, held, self.watchers, follow_ups, known_keys)
        self.dispatch = Dispatch(turn, held, self.life)
        self.strangers = Strangers(turn)
        self.results = Results(turn, held, self.life, self.watchers, self.strangers, known_keys)
        self.recovery = Recovery(turn, held, self.life)
        self.lanes = Lanes(turn)
        self.sessions = sessions = Sessions(turn, held, self.life, self.strangers, self.lanes)
        self.roster = Roster(
            *(turn, held, self.life, self.recovery, self.results, self.strangers, self.host, known_keys),
            sessions,
        )
        self.series = Series(turn, held, self.sessions, self.host)
        self.submission = Submission(turn, held, self.life, self.watchers, making, known_keys)
        self.batches = Batches(turn, held, self.life, known_keys)
        self.schedules = Schedules(turn, held, self.life, making, schedules)
        self.desk = Desk(
            *(turn, held, self.life, self.results, self.watchers, self.roster, self.submission),
            *(self.dispatch, self.series, self.lanes, self.host, making, self.batches, self.schedules),
            known_keys,
        )
        self.recovered = False
        self._probe = Reminder[None](lambda _: self._on_probe())
        self._prune = Reminder[None](lambda _: self._on_prune())

    # ------------------------------------------------------------ in

    def set_time(self, now: float, wall: float, steady: float) -> None:
        """The time of the inputs that follow, in seconds by the three clocks of turn.py."""
        self.turn.now = now
        self.turn.wall = wall
        self.turn.steady = steady

    def start(self) -> None:
        """Ask the store for what an earlier run left. `recovered` is true when it has been taken in."""
        turn = self.turn
        self.host.started_at = turn.wall
        self.host.life = f"{int(turn.wall * 1e6):x}"
        turn.reads.append(ReadUnfinished("recovery"))
        turn.timers.add(turn.now + turn.limits.probe_interval_s, self._probe, None)
        turn.timers.add(turn.now + PRUNE_INTERVAL_S, self._prune, None)

    def receive(self, peer: Peer, message: FromPeer) -> None:
        """A decoded message from a peer."""
        if peer[2] and not self._is_welcome(peer):
            return
        if isinstance(message, ClientRequest):
            self._on_request(peer, message)
        elif peer[0] == "client":
            self.roster.wrong_socket(peer, message)
        else:
            self._from_worker(peer, message)
        self.dispatch.settle()

    def _is_welcome(self, peer: Peer) -> bool:
        """Whether somebody who has proved who he is still is that. Whoever comes under a session's routing id
        and is another ends that session."""
        if self.keys.of(peer[2]) is None:
            self.turn.counters["messages_of_revoked_keys"] += 1
            return False
        self.sessions.only_at(peer)
        return True

    def _from_worker(self, peer: Peer, message: FromPeer) -> None:
        roster = self.roster
        if isinstance(message, Ready):
            return roster.on_ready(peer, message)
        session = self.sessions.by_peer.get(peer)
        if session is not None and not isinstance(message, Disconnect):
            roster.heard_from(session)
        if isinstance(message, WorkerFinal):
            self.results.on_final(peer, session, message)
        elif isinstance(message, WorkerPartial):
            self.results.on_partial(peer, session, message)
        elif session is None:
            # RFC 18: a valid command out of turn gets DISCONNECT and nothing more.
            if isinstance(message, Heartbeat):
                self.turn.counters["out_of_turn"] += 1
                self.strangers.out_of_turn(peer, message.link)
        elif isinstance(message, Heartbeat):
            if session.ours and (message.frames or session.holding):
                roster.on_heartbeat(session, message.frames)
        else:
            roster.on_disconnect(session)
        return None

    def protocol_error(self, peer: Peer, fault: ProtocolError) -> None:
        """What could not be decoded: dropped and counted; a registered worker's session is over."""
        self.turn.counters["invalid_messages"] += 1
        self.turn.counters[f"invalid_{fault.reason}"] += 1
        session = self.sessions.by_peer.get(peer)
        if session is None and fault.reason == "bad_ready":
            text = f"a worker's READY cannot be taken: {fault}"
            self.turn.note_rarely(f"bad_ready {fault}", "warning", text)
        if session is not None:
            text = f"worker {session.id} sent an invalid message: {fault}"
            self.turn.note_rarely(f"invalid {session.id} {fault.reason}", "warning", text)
            self.turn.command(peer, DISCONNECT, session.link)
            self.strangers.invalid(peer)
            self.sessions.end(session, f"it sent an invalid message: {fault.reason}")
        self.dispatch.settle()

    def committed(self, seq: int, writes: list[Write], verdicts: list[Verdict]) -> None:
        """These writes are on disk, the last of them with number `seq`; `verdicts` of those that have one."""
        answers = iter(verdicts)
        for write in writes:
            job, verdict = write.job, next(answers) if isinstance(write, WITH_VERDICT) else None
            if job is None:
                if write.told is not None:
                    assert verdict is not None, write
                    write.told(verdict)
                continue
            if job.last_write is write:
                job.last_write = None
            if isinstance(write, InsertJob):
                assert verdict is not None, write
                self.submission.inserted(job, verdict)
                self.schedules.inserted(job, verdict)
            elif isinstance(write, FinishJob):
                self.life.finished(job)
                if isinstance(verdict, Counted):
                    self.batches.counted(verdict)
            else:
                self.results.progress.written(job, write)
                if job.last_write is None:
                    self.life.settled(job)
        self.batches.settle()
        self.results.on_disk(seq)
        self.dispatch.settle()

    def loaded(self, read: Read, rows: Rows) -> None:
        """What a read brought."""
        if isinstance(read, ReadUnfinished):
            self._recover(rows)
        elif isinstance(read.asker, Firing):
            self.schedules.loaded(read.asker, rows)
        elif isinstance(read.asker, Unsure):
            self.submission.looked_up(read.asker, rows)
        elif isinstance(read, ReadBatch) and isinstance(read.asker, BatchEnd):
            self.batches.ended(read.asker, rows)
        elif isinstance(read, ReadWaiting):
            self.turn.wake(self.life.backlog.waiting_loaded(read, rows).name)
        elif isinstance(read, ReadScheduled):
            self.life.backlog.scheduled_loaded(read, rows)
        elif isinstance(read, ReadExpired):
            self.life.expire_loaded(rows)
        elif isinstance(read, ReadUsual):
            self.series.recover(rows)
        else:
            self.desk.loaded(read, rows)
        self.dispatch.settle()

    def _recover(self, rows: Rows) -> None:
        left, running = rows.unfinished, rows.rows
        assert left is not None, rows
        self.recovery.recover(left, running)
        self.held.open_batches.update((batch.id, batch) for batch in left.batches)
        self.schedules.recover(left.schedules)
        self.keys.recover(left.keys, left.submitted)
        self.desk.leases.recover()
        self.recovered = True
        self.roster.recovered()
        self.series.start()
        self.desk.audit.start()
        count = len(running) + sum(n for *_, n in left.waiting) + sum(n for _, n in left.scheduled)
        if count:
            self.turn.note("info", f"{count} unfinished jobs recovered, {len(running)} of them running")

    def undeliverable(self, peer: Peer, message: object, why: str) -> None:
        """A send could not be made: the peer is `gone`, or its pipe is `full` (REQUEST only)."""
        self.turn.counters[f"undeliverable_{why}"] += 1
        self.roster.undeliverable(peer, message, why)
        if isinstance(message, Answer) and message.service == "zmws.lease" and why == "gone":
            self.desk.leases.undeliverable(peer, message.body)
        self.dispatch.settle()

    def connection_lost(self) -> None:
        """Some worker's connection broke; which one, a probe will show."""
        self.roster.connection_lost()

    def tick(self) -> None:
        """Do what is due."""
        self.turn.remind()
        self.dispatch.settle()

    def stop(self) -> None:
        """No input follows but what the store says."""
        self.dispatch.stopping = True
        if self.recovered:
            self.series.stop()

    def _on_probe(self) -> None:
        self.roster.probe_now()
        self.turn.timers.add(self.turn.now + self.turn.limits.probe_interval_s, self._probe, None)

    def _on_prune(self) -> None:
        self.life.prune.prune()
        self.strangers.forget_old()
        self.turn.timers.add(self.turn.now + PRUNE_INTERVAL_S, self._prune, None)

    # ------------------------------------------------------------ out

    def take(self) -> tuple[list[Write], list[Read], list[Any]]:
        """Writes, reads and sends since the last call, each in the order in which they arose."""
        if self.held.overflow:
            self.submission.let_in()
            self.dispatch.settle()
        return self.turn.take()

    def next_deadline(self) -> float | None:
        """The monotonic time of the next `tick`, None if none is needed."""
        return self.turn.next_deadline()

    # ------------------------------------------------------------ clients

    def _on_request(self, peer: Peer, message: ClientRequest) -> None:
        name = message.service
        caller = Caller(peer, message.reply_to)
        strict, watchers = peer[0] == "mdp", self.watchers
        service = self.held.services.get(name)
        if peer[0] == "worker":
            text = "this socket takes workers only; clients go to the client socket"
            return watchers.refuse(caller, name, None, "wrong_socket", text)
        if peer[2] and is_chosen(peer[1]):
            return watchers.refuse(caller, name, None, "not_allowed", CHOSEN)
        if service is None:
            # A known service's name has been checked when it became known.
            if names.is_reserved(name):
                return self.desk.on_request(caller, name, message)
            fault = names.service_name_fault(name, message.reply_to.dialect in (STRICT, MDP01))
            if fault is not None:
                return watchers.refuse(caller, name, None, "bad_service", fault)
        if peer[2]:
            not_allowed = self.keys.service_fault(peer[2], name)
            if not_allowed is not None:
                return watchers.refuse(caller, name, _given_id(message.options), "not_allowed", not_allowed)
        try:
            options = job_options(message.options)
        except OptionError as wrong:
            job_id = _given_id(message.options)
            return watchers.refuse(caller, name, job_id, wrong.code, str(wrong))
        caller.named = options.id is not None
        expires_s: float | None = None
        if service is None or not service.registered:
            if not strict:
                return self.submission.unknown(caller, name, options.id)
            expires_s = self.turn.limits.unknown_service_ttl_s
            if service is None:
                if self.held.full:
                    text = "there are too many services already (services_max)"
                    return watchers.refuse(caller, name, options.id, "unknown_service", text)
                service = self.held.service_of(name)
        self.submission.submit(caller, service, message.sync, options, message.body, expires_s)
        return None


def _given_id(options: bytes | None) -> str | None:
    """The id a request gave, though its options are not to be used: its refusal names it."""
    given = values.json_object(options or b"") or {}
    try:
        return job_options_of({"id": given.get("id")}).id
    except OptionError:
        return None
