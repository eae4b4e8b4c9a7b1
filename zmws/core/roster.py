"""The workers that are registered, and how they die (docs/protocol.md, Workers; RFC 18 MDP/Worker).

Rule 1: a lost connection is not yet a dead worker: its job waits `reattach_window` for its return.
Rule 2: a silent worker is not a dead one: only an idle worker is expired for silence; one that holds
        a job is bounded by `ttr` and by its connection.
Rule 3: nothing rests on a send having worked; what was sent into a dying connection is lost without
        an error, so every busy worker is probed, and what a new READY does not name never arrived.
Rule 4: READY ends any older session of the same routing id and of the same worker id.
Rule 5: a routing id is shown to nobody, for who knows it can claim it and gets what is sent to it.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from zmws.core.job import Job
from zmws.core.jobs import Jobs, error
from zmws.core.session import Session
from zmws.core.strangers import Strangers
from zmws.core.turn import Peer, Turn
from zmws.wire.mdp import TOKEN_BYTES_MAX, is_reserved, service_name_fault
from zmws.wire.messages import (
    DISCONNECT,
    Disconnect,
    FromWorker,
    Heartbeat,
    Link,
    Ready,
    WorkerRequest,
)

HOLDING_MAX = 1_000  # tokens that one READY or HEARTBEAT may name as held
PINGS_MISSED = 2.5  # a busy worker's connection is dead when so many of its PINGs have not come
TOKENS_MAX = 100_000  # tokens of a worker that may wait for anything


class Roster:
    """The sessions by routing id and by worker id."""

    def __init__(self, turn: Turn, jobs: Jobs) -> None:
        self.turn = turn
        self.jobs = jobs
        self.strangers = Strangers(turn)
        self.by_peer: dict[Peer, Session] = {}
        self.by_id: dict[str, Session] = {}
        self._probed = float("-inf")
        self._probe_due = False

    def busy_peers(self) -> list[tuple[Peer, float]]:
        """Workers of ours that hold something, and after how many seconds of silence they are lost."""
        sessions = self.by_peer.values()
        return [(s.peer, s.silence_s) for s in sessions if s.held and s.link.ours and s.lost_until is None]

    # ------------------------------------------------------------ coming

    def on_ready(self, peer: Peer, message: Ready) -> None:
        """A worker registers, or comes back."""
        turn, name = self.turn, message.service
        fault = service_name_fault(name, strict=peer[0] == "mdp")
        if fault is None and is_reserved(name):
            fault = f"the service name '{name}' is reserved"
        if fault is not None:
            return self._turn_away(peer, message.link, "ready_bad_service", fault)
        if peer not in self.by_peer and len(self.by_peer) >= turn.limits.sessions_max:
            return self._turn_away(peer, message.link, "ready_sessions_max", "sessions_max is reached")
        service = self.jobs.register_service(name)
        if service is None:
            return self._turn_away(peer, message.link, "ready_services_max", "services_max is reached")
        info = message.info
        worker_id = info["id"] if info is not None else _foreign_id(peer, turn.suppliers.secret)
        session = Session(peer, service, message.link, worker_id, turn.limits)
        holding = [t.encode() for t in info["holding"][:HOLDING_MAX]] if info is not None else []
        finished = [t.encode() for t in info["finished"][:HOLDING_MAX]] if info is not None else []
        self._end_older(peer, session, {*holding, *finished})
        self.strangers.registered(peer)
        self.by_peer[peer] = session
        if session.link.ours:
            self.by_id[worker_id] = session
        service.sessions[session] = None
        session.heard = turn.now
        session.registered_at = turn.wall
        if info is not None:
            session.info = {"host": str(info.get("host", ""))[:255]}
            ping = info.get("ping")
            if isinstance(ping, (int, float)) and 0 < ping < 3600:
                session.silence_s = max(session.expiry_s, PINGS_MISSED * ping)
            if isinstance(info.get("pid"), int):
                session.info["pid"] = info["pid"] % 2**63
        turn.counters["workers_ready"] += 1
        if info is not None:
            self._greet(session, holding, finished)
        else:
            self._collect(session)
        session.heartbeat_due = turn.now + session.heartbeat_interval_s
        self._plan(session)
        turn.note("info", f"worker {worker_id} of {name} is ready")
        self._announce("worker.ready", session)
        self.jobs.free(session)

    def _greet(self, session: Session, holding: list[bytes], finished: list[bytes]) -> None:
        """Tell a worker of ours the pace; take over what it brings, cancel what is dead."""
        limits = self.turn.limits
        pace: dict[str, float] = {
            "interval": limits.heartbeat_interval_s,
            "liveness": limits.heartbeat_liveness,
        }
        pace["message_bytes_max"] = limits.message_bytes_max
        self.turn.command(session.peer, Heartbeat((json.dumps(pace).encode(),)), session.link)
        for token in holding:
            session.held[token] = None
            if not self._take_over(session, token):
                self.jobs.tell_cancelled(session, token, self.turn.now)
        for token in finished:
            # Its FINAL follows: until then the job is as if it ran here.
            if self._take_over(session, token):
                session.held[token] = None
            else:
                self.jobs.taken(session, token)

    def _collect(self, session: Session) -> None:
        """A foreign worker that was given up over a job is back: first that job's FINAL, then another."""
        owed = self.strangers.owed(session.peer)
        if owed is not None:
            token, session.drop_at = owed
            session.held[token], session.hung = None, True

    def _take_over(self, session: Session, token: bytes) -> bool:
        job = self.jobs.live(token)
        if job is None and session.job is None:
            job = self.jobs.adopt(token, session)
        if job is None:
            return False
        holder: Session | None = job.session
        if session.job is not None and session.job is not job:
            # One job at a time: a second token in one READY is as good as dead.
            if holder is None:
                self.jobs.give_back(job, "its worker holds another job")
            return False
        if holder is not None and holder is not session:
            holder.job = None
            holder.let_go(token)
        job.session, session.job = session, job
        if holder is not None and holder is not session:
            self.jobs.free(holder)
        session.job_since_at = job.started_at
        self.turn.counters["reattached"] += 1
        return True

    def _end_older(self, peer: Peer, session: Session, named: set[bytes]) -> None:
        """End older sessions. What a foreign worker held counts as a lost worker's; what ours held
        and does not name never arrived, which is no failure."""
        older = self.by_id.get(session.id) if session.link.ours else None
        for old in {self.by_peer.get(peer), older} - {None}:
            assert old is not None
            job = old.job
            if job is not None and job.token in named:
                job.session = old.job = None  # taken over in a moment
            elif job is not None and old.link.ours and session.link.ours:
                self._remove(old)
                self.jobs.give_back(job, "the request never reached its worker")
            self.end(old, "registered anew")

    # ------------------------------------------------------------ living

    def on_heartbeat(self, session: Session, frames: tuple[bytes, ...]) -> None:
        """A sign of life; of our workers also what they hold, and what they want confirmed."""
        if max(len(session.held), len(session.confirming), len(session.done)) > TOKENS_MAX:
            self.turn.counters["workers_with_too_many_tokens"] += 1
            self.turn.command(session.peer, DISCONNECT, session.link)
            return self.end(session, "it named more tokens than a worker can have")
        for frame in frames:
            if frame.startswith(b"CONFIRM "):
                self._confirm(session, frame[8:].split())
            elif frame.startswith(b"HOLDS "):
                room = max(0, HOLDING_MAX - len(session.held))
                for token in frame[6:].split()[:room]:
                    if len(token) > TOKEN_BYTES_MAX:
                        continue
                    if token not in session.held and self.jobs.live(token) is None:
                        session.held[token] = None
                        session.service.ring.pop(session, None)
                        self.jobs.tell_cancelled(session, token, self.turn.now)
            elif frame.startswith(b"MEMORY ") and frame[7:].isdigit():
                session.memory_bytes = int(frame[7:][:18])
        return None

    def _confirm(self, session: Session, tokens: list[bytes]) -> None:
        session.service.ring.pop(session, None)
        for token in tokens[:TOKENS_MAX]:
            if len(token) > TOKEN_BYTES_MAX:
                continue
            if token in session.held or self.jobs.confirmations.reassigned(session, token):
                session.confirming.add(token)  # its FINAL, or its commit, is to come
            else:
                session.done[token] = None
        if not session.confirming:
            self.jobs.heartbeat(session)
            self.jobs.free(session)

    def heard_from(self, session: Session) -> None:
        """RFC 18: any command but DISCONNECT counts as a heartbeat.

        It does not make a lost connection whole: what was sent into that may never have arrived, and
        only READY (ours) or the FINAL itself can say.
        """
        session.heard = self.turn.now
        if session.blocked_until > self.turn.now:
            session.blocked_until = 0.0
            self.jobs.dispatch(session.service)

    # ------------------------------------------------------------ going

    def on_disconnect(self, session: Session) -> None:
        """The worker leaves; what it holds is given back, no failure."""
        job = session.job
        session.hung = False  # it leaves, and brings nothing more
        self._remove(session)
        if job is not None:
            self.jobs.give_back(job, "its worker left")
        self.end(session, "left")

    def undeliverable(self, peer: Peer, message: object, why: str) -> None:
        """A send to a worker could not be made: its connection is `gone`, or its pipe is `full`."""
        session = self.by_peer.get(peer)
        if session is None:
            return
        if isinstance(message, WorkerRequest):
            # It never arrived: back to the head of its queue, no failure, and not to this worker.
            session.let_go(message.token)
            job = self.jobs.live(message.token)
            if job is not None:
                self.jobs.give_back(job, "the request could not be sent")
        if why == "gone":
            self._lost(session)
        else:
            session.blocked_until = self.turn.now + self.turn.limits.stuck_peer_s
            self.turn.timers.add(session.blocked_until, "start", session.service)
            self.jobs.free(session)

    def _lost(self, session: Session) -> None:
        session.service.ring.pop(session, None)
        if not session.job:
            self.end(session, "its connection is gone")
        elif session.lost_until is None:
            session.lost_until = self.turn.now + self.turn.limits.reattach_window_s
            self._plan(session)
            self.turn.counters["workers_lost"] += 1

    def end(self, session: Session, why: str) -> None:
        """The session is over. A job it still holds has lost its worker."""
        job = session.job
        known = session in session.service.sessions
        self._remove(session)
        if session.hung and session.drop_at is not None and not session.link.ours:
            self.strangers.owes(session.peer, next(iter(session.held)), session.drop_at)
        if job is not None:
            lost = error("worker_lost", f"the worker {session.id} was lost: {why}")
            self.jobs.attempt_failed(job, lost, "lost")
        if known or job is not None:
            self.turn.note("info", f"worker {session.id} of {session.service.name} is gone: {why}")
            self._announce("worker.gone", session, why)

    def _remove(self, session: Session) -> None:
        """Out of every table, so that nothing that follows can give it a job."""
        session.service.ring.pop(session, None)
        session.service.sessions.pop(session, None)
        if self.by_peer.get(session.peer) is session:
            del self.by_peer[session.peer]
        if self.by_id.get(session.id) is session:
            del self.by_id[session.id]

    def _turn_away(self, peer: Peer, link: Link, counter: str, why: str) -> None:
        self.turn.counters[counter] += 1
        session = self.by_peer.get(peer)
        if session is not None:
            self.end(session, "registered anew, and was refused")
        if self.strangers.turn_away(peer, link):
            self.turn.note_rarely(why, "warning", f"a worker was turned away: {why}")

    def wrong_socket(self, peer: Peer, message: FromWorker) -> None:
        """A worker's command on the clients' socket."""
        if isinstance(message, Ready):
            text = "it said READY on the client socket; workers go to the worker socket"
            self._turn_away(peer, message.link, "worker_on_client_socket", text)
            return
        self.turn.counters["worker_on_client_socket"] += 1
        if not isinstance(message, Disconnect):
            self.strangers.out_of_turn(peer, message.link)

    # ------------------------------------------------------------ time

    def check(self, session: Session) -> None:
        """A session's reminder: whatever is due for it now."""
        turn, now = self.turn, self.turn.now
        if self.by_peer.get(session.peer) is not session or now < session.timer_at:
            return
        if session.lost_until is not None and now >= session.lost_until:
            return self.end(session, "its connection is gone")
        if session.drop_at is not None and now >= session.drop_at:
            if session.link.ours:
                self._hangs(session)
            elif session.hung:
                session.let_go(next(iter(session.held)))
                self.jobs.free(session)
            else:
                turn.counters["workers_dropped"] += 1
                return self._give_up(session, "it did not let go of a cancelled job")
        job = session.job
        if job is not None and now >= job.deadline_mono:
            self._ran_too_long(session, job)
            if not session.link.ours:
                return self._give_up(session, "its job ran past its ttr")
        # The very sum that next_due makes: a difference could round to just below, for ever.
        if not session.held and now >= session.heard + session.expiry_s:
            turn.counters["workers_expired"] += 1
            turn.command(session.peer, DISCONNECT, session.link)
            return self.end(session, f"silent for {session.expiry_s:g} s")
        if session.heartbeat_due <= now:
            session.heartbeat_due = now + session.heartbeat_interval_s
            if session.lost_until is None:
                self.jobs.heartbeat(session)
        self._plan(session)
        return None

    def _give_up(self, session: Session, why: str) -> None:
        """A foreign worker knows no CANCEL, so it gets DISCONNECT; what it runs is over, but may come."""
        self.turn.command(session.peer, DISCONNECT, session.link)
        token = next(iter(session.held))
        self.end(session, why)
        self.strangers.owes(session.peer, token, self.turn.now + session.ttr_s)

    def _hangs(self, session: Session) -> None:
        """A worker of ours still runs a job that is over."""
        session.drop_at, session.hung = None, True
        self.turn.counters["workers_hung"] += 1
        grace = f"{self.turn.limits.cancel_grace_s:g} s after CANCEL"
        self.turn.note("warning", f"worker {session.id} is hung: {grace} it still runs job {session.job_id}")

    def _ran_too_long(self, session: Session, job: Job) -> None:
        token = job.token
        assert token is not None, job
        why = error("timeout", f"the attempt ran past its ttr of {job.ttr:g} s")
        self.jobs.attempt_failed(job, why, "ttr")
        self.jobs.tell_cancelled(session, token, self.turn.now)

    def _plan(self, session: Session) -> None:
        """Remind of the session when the next thing is due for it."""
        now = self.turn.now
        due = max(session.next_due(), now)
        if due < session.timer_at or session.timer_at <= now:
            session.timer_at = due
            self.turn.timers.add(due, "session", session)

    def connection_lost(self) -> None:
        """The shell saw some worker's connection break; which one, a probe will show."""
        if not self._probe_due:
            self._probe_due = True
            at = max(self.turn.now, self._probed + self.turn.limits.probe_gap_s)
            self.turn.timers.add(at, "probe_now")

    def probe_now(self) -> None:
        """Send every worker that holds something a HEARTBEAT: to a broken connection it fails."""
        self._probe_due = False
        self._probed = self.turn.now
        for session in list(self.by_peer.values()):
            if session.held and session.lost_until is None:
                self.jobs.heartbeat(session)

    def _announce(self, topic: str, session: Session, why: str | None = None) -> None:
        if self.turn.news_wanted:
            body: dict[str, Any] = {"id": session.id, "service": session.service.name}
            if why is not None:
                body["why"] = why
            self.turn.news(topic, body)


def _foreign_id(peer: Peer, secret: bytes) -> str:
    """The name of a worker that has told none: for one routing id the same as long as the broker lives.

    The secret keeps others from trying which routing id has this name: libzmq's are only 32 bits.
    """
    socket, routing_id = peer
    mixed = hashlib.blake2b(socket.encode() + b"\0" + routing_id, digest_size=5, key=secret)
    return f"foreign-{mixed.hexdigest()}"
