"""How workers come, live and go (docs/protocol.md, Workers; RFC 18 MDP/Worker).

Rule 1: a lost connection is not yet a dead worker: its job waits `reattach_window` for its return.
Rule 2: a silent worker is not a dead one: only an idle worker is expired for silence; one that holds
        a job is bounded by `ttr` and by its connection.
Rule 3: nothing rests on a send having worked; what was sent into a dying connection is lost without
        an error, so every busy worker is probed, and what a new READY does not name never arrived.
Rule 4: READY ends any older session of the same routing id and of the same worker id.
Rule 5: a worker of ours that is drained (zmws.drain) is told DRAIN, and again when the same process comes
        back: it gets no more jobs. Another gets DISCONNECT, as soon as it holds nothing.
Rule 6: a routing id is shown to nobody, for who knows it can claim it and gets what is sent to it.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from zmws.core.held import Held
from zmws.core.host import Host
from zmws.core.keys import Keys
from zmws.core.life import LOST, Life, error
from zmws.core.offers import fault_of_names, fault_of_offer, offered
from zmws.core.recovery import Recovery
from zmws.core.results import Results
from zmws.core.session import Session
from zmws.core.sessions import Sessions
from zmws.core.strangers import Strangers
from zmws.core.taker import Ring
from zmws.core.timers import Reminder
from zmws.core.tokens import job_id_of
from zmws.core.turn import Turn
from zmws.core.user import CHOSEN, is_chosen
from zmws.wire.messages import (
    DISCONNECT,
    Disconnect,
    FromWorker,
    Heartbeat,
    Link,
    Peer,
    Ready,
    ServiceInfo,
    WorkerInfo,
    WorkerRequest,
)
from zmws.wire.words import beat_of

HOLDING_MAX = 1_000  # tokens that a worker may say it holds, in all
TOKENS_MAX = 100_000  # tokens of a worker that may wait for anything
DRAIN = Heartbeat((b"DRAIN",))
TAKES = ["RELEASE", "SLOTS", "SAVE", "STACK", "JOBS-JSON"]  # words that a worker of ours may say

_Process = tuple[str, str, int | None]


class Roster:
    """Takes what workers say of themselves, and what their connections show."""

    def __init__(
        self,
        turn: Turn,
        held: Held,
        life: Life,
        recovery: Recovery,
        results: Results,
        strangers: Strangers,
        host: Host,
        keys: Keys,
        sessions: Sessions,
    ) -> None:
        self.turn = turn
        self.held = held
        self.life = life
        self.recovery = recovery
        self.results = results
        self.strangers = strangers
        self.host = host
        self._keys = keys
        self.sessions = sessions
        self._seen: OrderedDict[str, None] = OrderedDict()  # ids of workers that are or were here
        self._back_by = float("-inf")  # until then those come back that an earlier life of the broker knew
        self._drained: OrderedDict[_Process, None] = OrderedDict()  # who has been told DRAIN
        self._probed = float("-inf")
        self._probe_due = False
        self._check = Reminder(
            self.check, lambda s, at: self.sessions.by_peer.get(s.peer) is s and s.timer_at == at
        )
        self._probe_soon = Reminder[None](lambda _: self.probe_now())
        self._unblocked = Reminder(self._wake)

    def recovered(self) -> None:
        """Workers may come from now on."""
        self._back_by = self.turn.now + self.turn.limits.reattach_grace

    def busy_peers(self) -> list[tuple[Peer, float]]:
        """Workers of ours that hold something, and after how many seconds of silence they are lost."""
        sessions = self.sessions.by_peer.values()
        return [(s.peer, s.silence_s) for s in sessions if s.holding and s.ours and s.lost_until is None]

    # ------------------------------------------------------------ coming

    def on_ready(self, peer: Peer, message: Ready) -> None:
        """A worker registers, or comes back."""
        turn, info = self.turn, message.info
        offer = offered(message)
        fault = fault_of_names(offer, message.service, strict=peer[0] == "mdp")
        fault = fault or fault_of_offer(offer, self.held.services)
        if fault is not None:
            return self._turn_away(peer, message.link, "ready_bad_service", fault)
        if peer not in self.sessions.by_peer and len(self.sessions.by_peer) >= turn.limits.sessions_max:
            return self._turn_away(peer, message.link, "ready_sessions_max", "sessions_max is reached")
        fault = self._keys.work_fault(peer[2], list(offer)) or self.sessions.other_fault(peer, info)
        if fault is None and peer[2] and is_chosen(peer[1]):
            fault = CHOSEN
        if fault is not None:
            return self._turn_away(peer, message.link, "ready_not_allowed", fault)
        slots = self._slots_of(offer)
        if slots is None:
            return self._turn_away(peer, message.link, "ready_services_max", "services_max is reached")
        worker_id = info.id if info is not None else _foreign_id(peer, turn.suppliers.secret)
        session = Session(turn, peer, message.link, worker_id, slots, info, self._check)
        named = {*info.holding, *info.finished} if info is not None else set()
        self._end_older(peer, session, named)
        self.strangers.registered(peer)
        self.sessions.add(session)
        for name, told in offer.items():
            self.held.told(self.held.services[name], told.defaults, told.params)
        turn.counters["workers_ready"] += 1
        self._count_start(session)
        if info is not None:
            self._greet(session, info.holding, info.finished)
            self.recovery.returned(session, named)
            if _process(info) in self._drained:
                self.drain(session)
        else:
            self._collect(session)
        session.plan()
        names = ", ".join(session.service_names[:20])
        turn.note("info", f"worker {worker_id} of {names} is ready")
        self.sessions.announce("worker.ready", session)
        session.stand_in_line()
        return None

    def _count_start(self, session: Session) -> None:
        """A process of a worker was started, if it was not here before. Which those are that an earlier life
        of the broker knew, is not known."""
        seen = self._seen
        if session.id not in seen and self.turn.now >= self._back_by:
            for name in session.service_names:
                self.held.services[name].figures.workers_started += 1
        seen[session.id] = None
        seen.move_to_end(session.id)
        if len(seen) > self.turn.limits.sessions_max:
            seen.popitem(last=False)

    def _slots_of(self, offered: Mapping[str, ServiceInfo]) -> dict[Ring, int | None] | None:
        """How many jobs of each of its services a worker takes at once; None if there are too many
        services."""
        held = self.held
        missing = sum(name not in held.services for name in offered)
        if missing and len(held.services) + missing > self.turn.limits.services_max:
            return None
        slots: dict[Ring, int | None] = {}
        for name, told in offered.items():
            service = held.register(name)
            assert service is not None, name
            slots[service.ring] = told.slots
        return slots

    def _greet(self, session: Session, holding: list[bytes], finished: list[bytes]) -> None:
        """Tell a worker of ours the pace; take over what it brings, cancel what is dead."""
        limits = self.turn.limits
        pace: dict[str, Any] = {
            "interval": limits.heartbeat_interval_s,
            "liveness": limits.heartbeat_liveness,
            "message_bytes_max": limits.message_bytes_max,
            "cancel_grace": limits.cancel_grace_s,
            "takes": TAKES,
        }
        if self.host.client:
            pace["client"] = self.host.client
        self.turn.command(session.peer, Heartbeat((json.dumps(pace).encode(),)), session.link)
        for token in holding:
            if not self._take_over(session, token):
                self._hold_dead(session, token)
        for token in finished:
            # Its FINAL follows: until then the job is as if it ran here.
            if not self._take_over(session, token):
                self.results.taken(session, token)

    def _collect(self, session: Session) -> None:
        """A foreign worker that was given up over a job is back: first that job's FINAL, then another."""
        owed = self.strangers.owed(session.peer)
        if owed is not None:
            assignment = session.hold(owed[0], session.service_names[0])
            assignment.drop_by, assignment.hung = owed[1], True

    def _hold_dead(self, session: Session, token: bytes) -> None:
        """It holds what is over: that slot is taken until it lets go."""
        job = self.held.find(job_id_of(token) or "")
        session.drop(session.hold(token, job.service if job is not None else None), self.turn.now)

    def _take_over(self, session: Session, token: bytes) -> bool:
        """A token that a worker names is its own from now on, if it is live. False if it is dead."""
        assignment = self.held.assignments.get(token)
        if assignment is None:
            if self.recovery.adopt(token, session) is None:
                return False
            assignment = self.held.assignments[token]
        assert assignment.service is not None, token
        if self._keys.work_fault(session.peer[2], (assignment.service,)) is not None:
            return False
        holder = assignment.taker
        if isinstance(holder, Session) and holder is not session:
            holder.let_go(token)
            self.results.not_coming(holder, token)
            holder.stand_in_line()
        assignment.taker = session
        session.now_holds(assignment)
        self.turn.counters["reattached"] += 1
        return True

    def _end_older(self, peer: Peer, session: Session, named: set[bytes]) -> None:
        """End older sessions. What a foreign worker held counts as a lost worker's, and so does what another
        process held; what ours held and does not name never arrived, which is no failure."""
        older = self.sessions.by_id.get(session.id) if session.ours else None
        for old in {self.sessions.by_peer.get(peer), older} - {None}:
            assert old is not None
            same_process = _same_process(old, session)
            for token, assignment in list(old.holding.items()):
                if assignment.job is None:
                    continue
                if token in named:
                    assignment.taker = None  # taken over in a moment
                    old.let_go(token)
                elif same_process:
                    self.sessions.remove(old)
                    self.life.give_back(assignment.job, "the request never reached its worker")
            self.sessions.end(old, "registered anew")

    # ------------------------------------------------------------ living

    def on_heartbeat(self, session: Session, frames: tuple[bytes, ...]) -> None:
        """A sign of life; of our workers also what they hold, what they will not begin, and what they want
        confirmed."""
        if max(len(session.holding), len(session.confirming), len(session.done)) > TOKENS_MAX:
            self.turn.counters["workers_with_too_many_tokens"] += 1
            self.turn.command(session.peer, DISCONNECT, session.link)
            return self.sessions.end(session, "it named more tokens than a worker can have")
        beat = beat_of(frames)
        session.names(beat.holds)
        room = max(0, HOLDING_MAX - len(session.holding))
        for token in beat.holds[:room]:
            if token not in session.holding and self.held.live(token) is None:
                self._hold_dead(session, token)
        for token in beat.release:
            self._release(session, token)
        if beat.slots is not None:
            session.slots = beat.slots
            self._look_for_another(session)
        if beat.memory_bytes is not None:
            session.memory_bytes = beat.memory_bytes
        if beat.confirm is not None:
            self.results.want_confirmed(session, beat.confirm)
        session.stand_in_line()
        session.look()
        return None

    def _release(self, session: Session, token: bytes) -> None:
        """It has not begun this, and never will: the dispatch is as if it had not been. A token that is not
        live frees its slot, is counted, and changes no job."""
        assignment = session.holding.get(token)
        session.let_go(token)
        self.results.not_coming(session, token)
        if assignment is not None and assignment.job is not None:
            self.turn.counters["released"] += 1
            self.life.take_back(assignment.job)
        else:
            self.turn.counters["released_dead"] += 1

    def heard_from(self, session: Session) -> None:
        """RFC 18: any command but DISCONNECT counts as a heartbeat.

        It does not make a lost connection whole: what was sent into that may never have arrived, and
        only READY (ours) or the FINAL itself can say.
        """
        stalled = session.stalled
        session.heard = self.turn.now
        if session.blocked_until > self.turn.now or stalled:
            session.blocked_until = 0.0
            self._wake(session)

    def _look_for_another(self, session: Session) -> None:
        """It was kept free for a suspect, perhaps, and cannot get empty any more."""
        if session.reserved is not None:
            self.turn.wake(session.reserved.service)

    def _wake(self, session: Session) -> None:
        for name in session.service_names:
            self.turn.wake(name)

    # ------------------------------------------------------------ going

    def drain(self, session: Session) -> None:
        """It is to finish what it holds, and leave: nothing more is given to it."""
        session.draining = True
        session.leave_line()
        self._look_for_another(session)
        if session.info is None:
            return self._send_off(session)
        self._drained[_process(session.info)] = None
        if len(self._drained) > self.turn.limits.strangers_max:
            self._drained.popitem(last=False)
        self.turn.command(session.peer, DRAIN, session.link)
        return session.look()

    def _send_off(self, session: Session) -> None:
        """A foreign worker that is drained: away with it, as soon as it holds nothing."""
        session.look()
        if not session.holding:
            self.turn.command(session.peer, DISCONNECT, session.link)
            self.sessions.end(session, "drained")

    def on_disconnect(self, session: Session) -> None:
        """The worker leaves; what it holds is given back, no failure. But a job that may run only once, and
        that it has begun, has failed."""
        if session.info is not None:
            self._drained.pop(_process(session.info), None)
        self.sessions.remove(session)
        for assignment in list(session.holding.values()):
            job = assignment.job
            if job is None:
                continue
            if session.ours and job.retries == 0 and assignment.name_by is None:
                why = f"the worker {session.id} left and gave it back, and it may run only once"
                self.life.fail(job, error("worker_lost", why), LOST)
            else:
                self.life.give_back(job, "its worker left")
        for token in list(session.holding):
            session.let_go(token)  # it brings nothing more
        self.sessions.end(session, "left")

    def undeliverable(self, peer: Peer, message: object, why: str) -> None:
        """A send could not be made: the connection is `gone`, or the pipe `full`; perhaps a worker's."""
        session = self.sessions.by_peer.get(peer)
        if isinstance(message, WorkerRequest):
            # It never arrived: back to the head of its queue, no failure, and not to this worker.
            if session is not None:
                session.let_go(message.token)
            job = self.held.live(message.token)
            if job is not None:
                self.life.give_back(job, "the request could not be sent")
        if session is None:
            return
        if why == "gone":
            self._lost(session)
        else:
            session.blocked_until = self.turn.now + self.turn.limits.stuck_peer_s
            self.turn.timers.add(session.blocked_until, self._unblocked, session)
            session.stand_in_line()
            session.look()

    def _lost(self, session: Session) -> None:
        session.leave_line()
        if not session.jobs:
            self.sessions.end(session, "its connection is gone")
        elif session.lost_until is None:
            session.lost_until = self.turn.now + self.turn.limits.reattach_window_s
            session.plan()
            self._look_for_another(session)
            self.turn.counters["workers_lost"] += 1

    def _turn_away(self, peer: Peer, link: Link, counter: str, why: str) -> None:
        self.turn.counters[counter] += 1
        session = self.sessions.by_peer.get(peer)
        if session is not None:
            self.sessions.end(session, "registered anew, and was refused")
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
        if self.sessions.by_peer.get(session.peer) is not session or now < session.timer_at:
            return
        if session.lost_until is not None and now >= session.lost_until:
            return self.sessions.end(session, "its connection is gone")
        for assignment in list(session.holding.values()):
            job = assignment.job
            if job is not None and now >= job.deadline_mono:
                self.life.run_out(job, f"the attempt ran past its ttr of {job.ttr:g} s")
                if not session.ours:
                    return self._give_up(session, "its job ran past its ttr")
            elif assignment.drop_by is not None and now >= assignment.drop_by:
                if session.ours:
                    self._hangs(session, assignment.job_id)
                    assignment.drop_by, assignment.hung = None, True
                    self._wake(session)
                elif assignment.hung:
                    session.let_go(assignment.token)
                    session.stand_in_line()
                else:
                    turn.counters["workers_dropped"] += 1
                    return self._give_up(session, "it did not let go of a cancelled job")
        session.look()
        session.look_ahead()
        if session.draining and not session.ours and not session.holding:
            return self._send_off(session)
        # The very sum that Session makes: a difference could round to just below, for ever.
        if not session.holding and now >= session.heard + session.expiry_s:
            turn.counters["workers_expired"] += 1
            turn.command(session.peer, DISCONNECT, session.link)
            return self.sessions.end(session, f"silent for {session.expiry_s:g} s")
        if session.heartbeat_due <= now:
            session.heartbeat_due = now + session.heartbeat_interval_s
            if session.lost_until is None:
                session.beat()
        session.plan()
        return None

    def _give_up(self, session: Session, why: str) -> None:
        """A foreign worker knows no CANCEL, so it gets DISCONNECT; what it runs is over, but may come."""
        self.turn.command(session.peer, DISCONNECT, session.link)
        assignment = next(iter(session.holding.values()))
        self.sessions.end(session, why)
        self.strangers.owes(session.peer, assignment.token, self.turn.now + assignment.ttr_s)

    def _hangs(self, session: Session, job_id: str) -> None:
        """A worker of ours still runs a job that is over."""
        self.turn.counters["workers_hung"] += 1
        grace = f"{self.turn.limits.cancel_grace_s:g} s after CANCEL"
        text = f"worker {session.id} is hung: {grace} it still runs job {job_id}"
        self.turn.note_rarely(f"hung {session.id}", "warning", text)

    def connection_lost(self) -> None:
        """The shell saw some worker's connection break; which one, a probe will show."""
        if not self._probe_due:
            self._probe_due = True
            at = max(self.turn.now, self._probed + self.turn.limits.probe_gap_s)
            self.turn.timers.add(at, self._probe_soon, None)

    def probe_now(self) -> None:
        """Send every worker that holds something a HEARTBEAT: to a broken connection it fails."""
        self._probe_due = False
        self._probed = self.turn.now
        for session in list(self.sessions.by_peer.values()):
            if session.holding and session.lost_until is None:
                session.beat()


def _same_process(old: Session, new: Session) -> bool:
    """Whether a worker of ours has come back, and not another one in its place: what that one ran died with
    it, whatever name or routing id they share."""
    if old.info is None or new.info is None:
        return False
    return _process(old.info) == _process(new.info)


def _process(info: WorkerInfo) -> _Process:
    """What is the same as long as a worker of ours lives, whatever its connection does."""
    return info.id, info.host, info.pid


def _foreign_id(peer: Peer, secret: bytes) -> str:
    """The name of a worker that has told none: for one routing id the same as long as the broker lives.

    The secret keeps others from trying which routing id has this name: libzmq's are only 32 bits.
    """
    socket, routing_id, _ = peer
    mixed = hashlib.blake2b(socket.encode() + b"\0" + routing_id, digest_size=5, key=secret)
    return f"foreign-{mixed.hexdigest()}"
