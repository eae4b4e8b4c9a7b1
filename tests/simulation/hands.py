"""What each worker of ours holds, as the wire tells it: slots, suspects, what is released, who is charged."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.simulation.ahead import Ahead
from tests.simulation.turns import Before, suspect
from tests.simulation.violation import demand
from zmws.core.broker import Broker
from zmws.core.states import FINAL_STATES, RUNNING, WAITING
from zmws.core.tokens import job_id_of
from zmws.wire.messages import (
    ClientRequest,
    Heartbeat,
    Peer,
    Ready,
    WorkerFinal,
    WorkerPartial,
    WorkerRequest,
)
from zmws.wire.words import beat_of


@dataclass
class Hand:
    """One session of a worker of ours."""

    worker: str
    slots: int
    services: dict[str, int]
    prefetch: int = 0
    tokens: dict[bytes, str] = field(default_factory=dict)  # and their service
    confirming: set[bytes] = field(default_factory=set)


class Hands:
    """Follows every message between the broker and workers of ours."""

    def __init__(self, ahead: Ahead) -> None:
        self.ahead = ahead
        self.by_peer: dict[Peer, Hand] = {}
        self.drained: set[str] = set()  # worker ids, each of one process
        self.retries: dict[str, int] = {}  # by job id, as it was asked for
        self.begun: Counter[str] = Counter()
        self.numbers: dict[str, int] = {}  # by job id
        self.revived: dict[str, int] = {}  # how often an operator has retried what had ended
        self.saved: dict[str, str] = {}  # by job id: what its attempts left

    def restarted(self) -> None:
        """A new broker: what an attempt did may be undone, and be done again."""
        self.by_peer.clear()
        self.drained.clear()
        self.saved.clear()

    def asked(self, message: ClientRequest) -> None:
        """How often a job may be tried, as it was asked for first."""
        jobs = [json.loads(message.options)] if message.options else []
        if message.service == "zmws.submit":
            jobs = json.loads(message.body[0])
        for job in jobs:
            if isinstance(job, dict) and "id" in job:
                self.retries.setdefault(job["id"], job.get("retries", 3))

    # ------------------------------------------------------------ from workers

    def adoptable(self, message: Any, core: Broker) -> list[bytes]:
        """Which tokens that a READY names are of dispatches that a crash has undone."""
        if not isinstance(message, Ready) or message.info is None:
            return []
        info, found = message.info, []
        for token in (*info.holding, *info.finished):
            job_id, attempt, _ = token.decode().rsplit("/", 2)
            job = core.held.stored.get(job_id)
            if job is not None and job.state == WAITING and int(attempt) == job.attempt + 1:
                found.append(token)
        return found

    def heard(self, peer: Peer, message: Any, core: Broker, before: Before, adoptable: list[bytes]) -> None:
        """A worker's message has been taken in."""
        if isinstance(message, Ready) and message.info is not None and peer in core.roster.sessions.by_peer:
            for token in adoptable:
                # Two crashes may have undone two dispatches of one job: it goes on with one of them.
                of_it = [one for one in adoptable if job_id_of(one) == job_id_of(token)]
                adopted = any(core.held.live(one) is not None for one in of_it)
                demand(adopted, f"{token!r}, which a crash undid, was not adopted")
            self._ready(peer, message, core)
        elif isinstance(message, WorkerFinal):
            for hand in self.by_peer.values():
                hand.tokens.pop(message.token, None)
        elif isinstance(message, Heartbeat) and peer in self.by_peer:
            self._beat(peer, self.by_peer[peer], message, core, before)

    def noted(self, message: WorkerPartial, core: Broker) -> None:
        """A PARTIAL has come: if its token is live, what it saves stands."""
        job_id = job_id_of(message.token) or ""
        if message.body[:1] == (b"SAVE",) and core.held.live(message.token) is not None:
            self.saved[job_id] = message.body[1].decode()

    def _ready(self, peer: Peer, message: Ready, core: Broker) -> None:
        info = message.info
        assert info is not None
        services = {message.service: info.slots}
        if info.services is not None:
            services = {name: told.slots for name, told in info.services.items()}
        if info.services is None:
            services = {message.service: info.slots + info.prefetch}
        hand = Hand(info.id, info.slots, services, info.prefetch)
        alive = [token for token in info.finished if core.held.live(token) is not None]
        for token in (*info.holding, *alive):
            for other in self.by_peer.values():
                other.tokens.pop(token, None)
            live = core.held.assignments.get(token)
            hand.tokens[token] = live.service if live is not None else next(iter(services))
        self.by_peer[peer] = hand

    def _beat(self, peer: Peer, hand: Hand, message: Heartbeat, core: Broker, before: Before) -> None:
        beat = beat_of(message.frames)
        session = core.roster.sessions.by_peer.get(peer)
        if session is None:
            return
        if beat.slots is not None:
            hand.slots = beat.slots
        for token in beat.release:
            hand.tokens.pop(token, None)
            if before.sessions.get(session, {}).get(token) is not None:
                self._released(token, core)
        hand.confirming |= set(beat.confirm or ()) - set(session.done)

    def _released(self, token: bytes, core: Broker) -> None:
        """A dispatch that was taken back counts nowhere."""
        job_id, attempt, _ = token.decode().rsplit("/", 2)
        job, number = core.held.find(job_id), int(attempt)
        assert job is not None, token
        again = job.state == RUNNING  # it was given out again at once
        demand(job.attempt == number - 1 + again, f"{token!r} was released, and counts as attempt")
        told = any(entry["attempt"] >= number for entry in job.attempts)
        demand(not told, f"{token!r} was released, and stands in the attempts")

    # ------------------------------------------------------------ to workers

    def given(self, peer: Peer, message: WorkerRequest, core: Broker) -> None:
        """A REQUEST leaves."""
        told = json.loads(message.job)
        job = core.held.live(message.token)
        assert job is not None, message
        if self.numbers.get(job.id) != job.number:
            self.numbers[job.id] = job.number  # a new job, perhaps under the id of one that was forgotten
            self.begun.pop(job.id, None)
        self.revived[job.id] = sum(state in FINAL_STATES for _, _, state, _ in job.states)
        if job.attempt == 1:
            self.saved.pop(job.id, None)  # a new job, under the id of one that was forgotten
        left, says = self.saved.get(job.id), told.get("saved")
        if left is not None:
            demand(says == json.loads(left), f"{job.id} was given {says!r} as saved, and not {left}")
        hand = self.by_peer.get(peer)
        if hand is None:
            return  # a foreign one has one slot (Watcher.given)
        demand(hand.worker not in self.drained, f"{job.id} was given to {hand.worker}, which was drained")
        others = [core.held.live(token) for token in hand.tokens]
        demand(not others or not suspect(job), f"the suspect {job.id} was given in company")
        for other in others:
            alone = other is None or not suspect(other)
            demand(alone, f"{job.id} was given to a worker that holds a suspect")
        service, tokens = message.service, hand.tokens
        self.ahead.given(message, len(tokens), hand.slots, core)
        tokens[message.token] = service
        room = hand.slots + hand.prefetch
        demand(len(tokens) <= room, f"{len(tokens)} jobs in {hand.slots} slots and {hand.prefetch} ahead")
        of_it = sum(one == service for one in tokens.values())
        most = hand.services.get(service, 0)
        demand(of_it <= most, f"{of_it} jobs of {service} in {most} slots")
        demand(not hand.confirming, f"{job.id} was given to a worker that waits for DONE")

    def told(self, peer: Peer, message: Heartbeat) -> None:
        """A HEARTBEAT leaves."""
        hand = self.by_peer.get(peer)
        for frame in message.frames if hand is not None else ():
            if frame.startswith(b"DONE "):
                hand.confirming -= set(frame[5:].split())
            if frame == b"DRAIN":
                self.drained.add(hand.worker)

    # ------------------------------------------------------------ attempts

    def began(self, job_id: str) -> None:
        """A job without retries runs at most once, whatever becomes of its worker; once more for each time
        that an operator has retried it."""
        self.begun[job_id] += 1
        if self.retries.get(job_id) == 0:
            most = 1 + self.revived.get(job_id, 0)
            demand(self.begun[job_id] <= most, f"{job_id}, which is not to be tried again, began once more")

    def after(self, core: Broker, before: Before) -> None:
        """Who is charged for a worker that died: one job that was alone, and none of several but those that
        may run only once."""
        left = core.roster.sessions.by_peer.values()
        gone = [session for session in before.sessions if session not in left]
        for session in gone:
            jobs = before.sessions[session]
            ends = {token: _end_of(token, job) for token, job in jobs.items() if job is not None}
            lost = [token for token, end in ends.items() if end.get("code") == "worker_lost"]
            back = [token for token, end in ends.items() if end.get("code") == "given_back"]
            in_hand = len(jobs) - len(back)
            for token in lost:
                job = jobs[token]
                assert job is not None
                counted = ends[token].get("counted", True)
                should = in_hand == 1 or job.retries == 0
                how = "was" if counted else "was not"
                demand(counted == should, f"{job.id} {how} charged for its worker, which held {in_hand}")


def _end_of(token: bytes, job: Any) -> dict[str, Any]:
    """How the attempt of this token ended, if it has."""
    _, attempt, _ = token.decode().rsplit("/", 2)
    last = job.attempts[-1] if job.attempts else {}
    return last.get("error", {}) if last.get("attempt") == int(attempt) else {}
