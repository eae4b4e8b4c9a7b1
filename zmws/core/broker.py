"""The broker's state machine: who gets what, when. docs/architecture.md; RFC 7 and RFC 18.

    in    receive(peer, message)                a decoded message from a routing id on a socket
          protocol_error(peer, error)           what could not be decoded
          committed(seq, verdicts)              a batch of writes is on disk
          loaded(read, rows)                    what a read asked for
          undeliverable(peer, message, why)     a send that could not be made: `gone` or `full`
          connection_lost()                     some worker's connection broke
          tick()                                a deadline has come
    out   take() -> (writes, reads, sends);     next_deadline();     and turn.cuts, turn.log

Rule 1: no I/O, no clock, no chance. `set_time` comes before every input of a turn.
Rule 2: no callback out of the core and no store read on a job's path.
Rule 3: the peer broke the protocol: count, DISCONNECT, live on. We broke an invariant: assert.

The parts: `submission` (a request becomes a job), `jobs` (what is to be done), `roster` (who does it),
`inspection` (who looks on).
"""

from __future__ import annotations

from typing import Any

from zmws.core.desk.desk import Inspection
from zmws.core.job import RUNNING, SCHEDULED, Caller, Job
from zmws.core.jobs import Error, Jobs, error
from zmws.core.limits import Limits
from zmws.core.options import ServiceOptions, job_options, job_options_of
from zmws.core.roster import Roster
from zmws.core.service import Service
from zmws.core.session import Session
from zmws.core.submission import Submission
from zmws.core.turn import Peer, Suppliers, Turn
from zmws.core.writes import (
    Read,
    ReadExpired,
    ReadScheduled,
    ReadUnfinished,
    ReadWaiting,
    Rows,
    Verdict,
    Write,
)
from zmws.errors import OptionError, ProtocolError
from zmws.wire import mdp, messages, values
from zmws.wire.messages import (
    DISCONNECT,
    MDP01,
    STRICT,
    Answer,
    ClientRequest,
    Disconnect,
    FromPeer,
    Heartbeat,
    Ready,
    WorkerFinal,
    WorkerPartial,
)

PRUNE_INTERVAL_S = 1.0
TEXT_MAX = 1_000  # characters of a progress text
ERROR_TEXT_MAX = 20_000  # characters of each text of an ERROR
EXTEND_S_MAX = 366 * 86400.0


class Broker:
    """The pure core. One per broker process, and one per simulated broker."""

    def __init__(
        self,
        limits: Limits,
        services: dict[str, ServiceOptions],
        suppliers: Suppliers,
        durability: str,
    ) -> None:
        """`durability`: what a stored job's acknowledgement may promise, from the store."""
        self.turn = Turn(limits, suppliers)
        self.jobs = Jobs(self.turn, services, durability)
        self.submission = Submission(self.turn, self.jobs)
        self.roster = Roster(self.turn, self.jobs)
        self.inspection = Inspection(self.turn, self.jobs, self.roster, self.submission.submit_many)
        self.recovered = False
        for timers in (self.turn.timers, self.turn.wall_timers, self.turn.steady_timers):
            timers.wanted = self._is_wanted

    # ------------------------------------------------------------ in

    def set_time(self, now: float, wall: float, steady: float) -> None:
        """The time of the inputs that follow, in seconds by the three clocks of turn.py."""
        self.turn.now = now
        self.turn.wall = wall
        self.turn.steady = steady

    def start(self) -> None:
        """Ask the store for what an earlier run left. `recovered` is true when it has been taken in."""
        self.inspection.started_at = self.turn.wall
        self.turn.reads.append(ReadUnfinished("recovery"))
        self.turn.timers.add(self.turn.now + self.turn.limits.probe_interval_s, "probe")
        self.turn.timers.add(self.turn.now + PRUNE_INTERVAL_S, "prune")

    def receive(self, peer: Peer, message: FromPeer) -> None:
        """A decoded message from a peer."""
        if isinstance(message, ClientRequest):
            return self._on_request(peer, message)
        if peer[0] == "client":
            return self.roster.wrong_socket(peer, message)
        if isinstance(message, Ready):
            return self.roster.on_ready(peer, message)
        session = self.roster.by_peer.get(peer)
        if session is not None and not isinstance(message, Disconnect):
            self.roster.heard_from(session)
        if isinstance(message, WorkerFinal):
            self._on_final(peer, session, message)
        elif isinstance(message, WorkerPartial):
            self._on_partial(peer, session, message)
        elif session is None:
            # RFC 18: a valid command out of turn gets DISCONNECT and nothing more.
            if isinstance(message, Heartbeat):
                self.turn.counters["out_of_turn"] += 1
                self.roster.strangers.out_of_turn(peer, message.link)
        elif isinstance(message, Heartbeat):
            if message.frames and session.link.ours:
                self.roster.on_heartbeat(session, message.frames)
        else:
            self.roster.on_disconnect(session)
        return None

    def protocol_error(self, peer: Peer, fault: ProtocolError) -> None:
        """What could not be decoded: dropped and counted; a registered worker's session is over."""
        self.turn.counters["invalid_messages"] += 1
        self.turn.counters[f"invalid_{fault.reason}"] += 1
        session = self.roster.by_peer.get(peer)
        if session is not None:
            text = f"worker {session.id} sent an invalid message: {fault}"
            self.turn.note_rarely(f"invalid {session.id} {fault.reason}", "warning", text)
            self.turn.command(peer, DISCONNECT, session.link)
            self.roster.strangers.invalid(peer)
            self.roster.end(session, f"it sent an invalid message: {fault.reason}")

    def committed(self, seq: int, verdicts: list[Verdict]) -> None:
        """A batch is on disk up to write number `seq`."""
        self.jobs.committed(seq, verdicts)

    def loaded(self, read: Read, rows: Rows) -> None:
        """What a read brought."""
        if isinstance(read, ReadUnfinished):
            assert rows.unfinished is not None, read
            self.jobs.recover(rows.unfinished, rows.rows)
            self.inspection.leases.recover()
            self.recovered = True
            left = rows.unfinished
            count = len(rows.rows) + sum(n for *_, n in left.waiting) + sum(n for _, n in left.scheduled)
            if count:
                self.turn.note("info", f"{count} unfinished jobs recovered, {len(rows.rows)} of them running")
        elif isinstance(read, ReadWaiting):
            self.jobs.dispatch(self.jobs.backlog.waiting_loaded(read, rows))
        elif isinstance(read, ReadScheduled):
            self.jobs.backlog.scheduled_loaded(read, rows)
        elif isinstance(read, ReadExpired):
            self.jobs.expire_loaded(rows)
        else:
            self.inspection.loaded(read, rows)

    def undeliverable(self, peer: Peer, message: object, why: str) -> None:
        """A send could not be made: the peer is `gone`, or its pipe is `full` (REQUEST only)."""
        self.turn.counters[f"undeliverable_{why}"] += 1
        if peer[0] != "client":
            self.roster.undeliverable(peer, message, why)
        if isinstance(message, Answer) and message.service == "zmws.lease" and why == "gone":
            self.inspection.leases.undeliverable(message.body)

    def connection_lost(self) -> None:
        """Some worker's connection broke; which one, a probe will show."""
        self.roster.connection_lost()

    def tick(self) -> None:
        """Do what is due."""
        for what, whom in self.turn.reminders():
            self._on_timer(what, whom)

    def _is_wanted(self, what: str, whom: Any, at: float) -> bool:
        """Whether a reminder is of something that is not over."""
        jobs = self.jobs
        if what == "session":
            session: Session = whom
            return self.roster.by_peer.get(session.peer) is session and session.timer_at == at
        if what == "due":
            known = (jobs.memory.get(whom), jobs.stored.get(whom))
            return any(job is not None and job.state == SCHEDULED and job.ready_at == at for job in known)
        if what == "expire":
            return jobs.expiry.next_at() == at
        if what == "wait":
            return any(until == at for _, until in jobs.answers.waits.get(whom, ()))
        if what == "watch":
            return any(until == at for *_, until in jobs.answers.watches.get(whom, ()))
        if what == "lease":
            job = jobs.live(whom)
            return job is not None and job.lease is not None and job.deadline_mono == at
        if what == "lease_wait":
            return self.inspection.leases.is_waiting(whom)
        if what == "reattach":
            return bool(whom[0].token == whom[1])
        return True  # there is one at a time, or it is due soon

    def _on_timer(self, what: str, whom: Any) -> None:
        turn = self.turn
        if what == "session":
            self.roster.check(whom)
        elif what == "due":
            self.jobs.due(whom)
        elif what == "expire":
            self.jobs.expire_late()
        elif what == "start":
            whom.start_timer_at = None
            self.jobs.dispatch(whom)
        elif what == "wait":
            self.jobs.answers.waits_timed_out(whom)
        elif what == "watch":
            self.jobs.answers.watches_timed_out(whom)
        elif what == "look":
            self.jobs.backlog.look()
        elif what == "lease":
            self.jobs.lease_over(whom)
        elif what == "lease_wait":
            self.inspection.leases.waited(whom)
        elif what == "asks":
            self.inspection.asks.forget_old()
        elif what == "forget":
            self.jobs.kept.forget_old()
        elif what == "reattach":
            job, token = whom
            if job.state == RUNNING and job.token == token and job.session is None:
                self.jobs.give_back(job, "its worker did not come back after the broker's restart")
        elif what == "probe":
            self.roster.probe_now()
            turn.timers.add(turn.now + turn.limits.probe_interval_s, "probe")
        elif what == "probe_now":
            self.roster.probe_now()
        elif what == "refusals":
            self.roster.strangers.tell_refused()
        elif what == "let_in":
            return  # `take` does it
        else:
            assert what == "prune", what
            self.jobs.prune()
            self.roster.strangers.forget_old()
            turn.timers.add(turn.now + PRUNE_INTERVAL_S, "prune")

    # ------------------------------------------------------------ out

    def take(self) -> tuple[list[Write], list[Read], list[Any]]:
        """Writes, reads and sends since the last call, each in the order in which they arose."""
        if self.jobs.overflow:
            self.submission.let_in()
        return self.turn.take()

    def next_deadline(self) -> float | None:
        """The monotonic time of the next `tick`, None if none is needed."""
        return self.turn.next_deadline()

    # ------------------------------------------------------------ clients

    def _on_request(self, peer: Peer, message: ClientRequest) -> None:
        name = message.service
        caller = Caller(peer, message.reply_to)
        strict = peer[0] == "mdp"
        service = self.jobs.services.get(name)
        if peer[0] == "worker":
            text = "this socket takes workers only; clients go to the client socket"
            return self.jobs.answers.refuse(caller, name, None, "wrong_socket", text)
        if service is None:
            # A known service's name has been checked when it became known.
            if mdp.is_reserved(name):
                return self.inspection.on_request(caller, name, message)
            fault = mdp.service_name_fault(name, message.reply_to.dialect in (STRICT, MDP01))
            if fault is not None:
                return self.jobs.answers.refuse(caller, name, None, "bad_service", fault)
        try:
            options = job_options(message.options)
        except OptionError as wrong:
            job_id = _given_id(message.options)
            return self.jobs.answers.refuse(caller, name, job_id, wrong.code, str(wrong))
        caller.named = options.id is not None
        expires_s: float | None = None
        if service is None or not service.registered:
            if not strict:
                return self.submission.unknown(caller, name, options.id)
            expires_s = self.turn.limits.unknown_service_ttl_s
            if service is None:
                if len(self.jobs.services) >= self.turn.limits.services_max:
                    text = "there are too many services already (services_max)"
                    return self.jobs.answers.refuse(caller, name, options.id, "unknown_service", text)
                service = self.jobs.services[name] = Service(name)
        self.submission.submit(caller, service, message.sync, options, message.body, expires_s)
        return None

    # ------------------------------------------------------------ workers' results

    def _on_final(self, peer: Peer, session: Session | None, message: WorkerFinal) -> None:
        token = message.token
        job = self.jobs.live(token)
        ours = session.link.ours if session is not None else (job.worker_ours if job is not None else False)
        if job is not None:
            holder: Session | None = job.session
            if holder is not None and holder is not session:
                holder.let_go(token)
            self._outcome(job, session, message, ours)
            if holder is not None and holder is not session:
                self.jobs.free(holder)
        if session is None:
            self.turn.counters["final_without_session"] += 1
            first = self.roster.strangers.out_of_turn(peer, message.link)
            self.roster.strangers.paid(peer, token)
            self._stale_unless(job, token, "a worker without a session", first)
            return
        if self._stale_unless(job, token, f"worker {session.id}", not session.late_noted):
            session.late_noted = True
        session.let_go(token)
        if not session.held:
            session.lost_until = None  # it has brought what it held: it is there
        if ours:
            self.jobs.taken(session, token)
        self.jobs.free(session)

    def _stale_unless(self, job: Job | None, token: bytes, who: str, noted: bool) -> bool:
        """A result with a dead token is refused, unless it completed the job: counted, and logged if it is
        the first of its worker. True if it was."""
        if job is not None or self.jobs.was_taken(token):
            return False
        self.turn.counters["results_refused"] += 1
        if noted:
            self.turn.note("warning", f"a late result of {who} was refused: {token[:200]!r}")
        return True

    def _outcome(self, job: Job, session: Session | None, message: WorkerFinal, ours: bool) -> None:
        """What a FINAL with a live token says of its job."""
        body = message.body if ours else values.with_raw(message.body)
        failed, plain = message.failed, message.failed is not None
        why: Error | None = None
        if ours:
            failed = not body or body[0] != b"COMPLETE"
            plain = True
            if failed and body and body[0] != b"FAIL":
                why = error("bad_reply", f"the worker's FINAL begins with {body[0][:40]!r}")
            body = body[1:]
        if not failed:
            if session is not None:
                session.done_count += 1
            self.jobs.complete(job, message.token, body, plain)
            return
        if session is not None:
            session.failed_count += 1
        self.jobs.take_final(job, message.token)
        said = _error_of(body)
        retry = said.pop("retry", True) is not False
        delay = said.pop("delay", None)
        delay_s = float(delay) if isinstance(delay, (int, float)) and 0 <= delay <= EXTEND_S_MAX else None
        self.jobs.attempt_failed(job, why or said, "reported", retry, delay_s)

    def _on_partial(self, peer: Peer, session: Session | None, message: WorkerPartial) -> None:
        job = self.jobs.live(message.token)
        if job is None:
            self.turn.counters["partials_refused"] += 1
            if session is None:
                self.roster.strangers.out_of_turn(peer, message.link)
            return
        ours = session.link.ours if session is not None else job.worker_ours
        body = message.body
        if not ours:
            php = session is not None and session.link.dialect != messages.RFC
            self.jobs.progress.partial(job, values.with_raw(body), plain=php)
        elif not body:
            self.turn.counters["bad_partials"] += 1
        elif body[0] == b"CONT":
            self.jobs.progress.partial(job, body[1:], plain=True)
        else:
            self._on_note(job, body[0], body[1] if len(body) > 1 else b"")
        if session is None:
            self.roster.strangers.out_of_turn(peer, message.link)

    def _on_note(self, job: Job, verb: bytes, value: bytes) -> None:
        """PROGRESS, LOG and TOUCH of our workers."""
        if verb == b"PROGRESS":
            said = values.json_object(value) or {}
            done, text = said.get("done"), said.get("text")
            if isinstance(done, (int, float)) and not isinstance(done, bool) and 0 <= done <= 1:
                # A lone surrogate passes JSON, and could be neither stored nor sent.
                shown = text[:TEXT_MAX].encode("utf-8", "replace").decode() if isinstance(text, str) else None
                return self.jobs.progress.progress(job, float(done), shown)
        elif verb == b"LOG":
            return self.jobs.progress.log(job, value.decode("utf-8", "replace"))
        elif verb == b"TOUCH":
            try:
                seconds = float(value)
            except ValueError:
                seconds = -1.0
            if 0 < seconds <= EXTEND_S_MAX:
                return self.jobs.extend(job, seconds)
        self.turn.counters["bad_partials"] += 1
        return None


_ERROR_TEXTS = ("code", "error", "type", "traceback")


def _error_of(body: tuple[bytes, ...]) -> Error:
    """The ERROR that a worker's FAIL carries, made whole."""
    frame = body[0] if body else b""
    said = (
        values.json_object(frame[len(values.PARAM_JSON) :]) if frame.startswith(values.PARAM_JSON) else None
    )
    why = error("job_failed", "the worker reported a failure")
    said = said or {}
    for name in _ERROR_TEXTS:
        text = said.get(name)
        if isinstance(text, str):
            # A lone surrogate could be neither stored nor sent; a text without end would be kept.
            why[name] = text[:ERROR_TEXT_MAX].encode("utf-8", "replace").decode()
    why |= {name: said[name] for name in ("retry", "delay") if name in said}
    return why


def _given_id(options: bytes | None) -> str | None:
    """The id a request gave, though its options are not to be used: its refusal names it."""
    given = values.json_object(options or b"") or {}
    try:
        return job_options_of({"id": given.get("id")}).id
    except OptionError:
        return None
