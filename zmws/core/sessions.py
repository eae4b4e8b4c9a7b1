"""The workers' sessions that there are, and how one is over.

Rule 1: a session ends once: it is out of every table before anything is made of what it held.
Rule 2: what it held has lost its worker, and is charged with that (dispatch.py, suspects); what was never
        sent to it has not.
Rule 3: the peer of one who has proved who he is says also by which key: no other speaks for his session.
"""

from __future__ import annotations

from typing import Any

from zmws.core.held import Held
from zmws.core.job import Job, iso
from zmws.core.lanes import Lanes
from zmws.core.life import LOST, Life, error
from zmws.core.service import Service
from zmws.core.session import Session
from zmws.core.strangers import Strangers
from zmws.core.turn import Turn
from zmws.core.user import public_of
from zmws.wire.messages import DISCONNECT, Peer, WorkerInfo

# How a session ends that has not lost its worker.
_IN_ORDER = frozenset({"left", "drained", "registered anew"})


class Sessions:
    """The sessions by routing id and by worker id."""

    def __init__(self, turn: Turn, held: Held, life: Life, strangers: Strangers, lanes: Lanes) -> None:
        self._turn = turn
        self._held = held
        self._life = life
        self._strangers = strangers
        self._lanes = lanes
        self._routes: dict[tuple[str, bytes], Peer] = {}  # of sessions that have proved who they are
        self.by_peer: dict[Peer, Session] = {}
        self.by_id: dict[str, Session] = {}

    def add(self, session: Session) -> None:
        """One that has registered."""
        peer = session.peer
        self.by_peer[peer] = session
        if peer[2]:
            self._routes[peer[:2]] = peer
        self._lanes.came(session)
        if session.ours:
            self.by_id[session.id] = session
        for ring in session.rings:
            ring.workers[session] = None

    def named(self, worker_id: str) -> list[Session]:
        """The worker of this id, as zmws.workers shows it."""
        return [session for session in self.by_peer.values() if session.id == worker_id]

    def of_service(self, service: Service) -> list[Session]:
        """The workers that serve it."""
        return [session for session in service.ring.workers if isinstance(session, Session)]

    def other_fault(self, peer: Peer, info: WorkerInfo | None) -> str | None:
        """Why a worker is not the one that it says it is, None if it may be."""
        known = self.by_id.get(info.id) if info is not None else None
        if known is None or public_of(known.peer[2]) == public_of(peer[2]):
            return None
        return f"it says that it is {known.id}, which came with another key"

    def only_at(self, peer: Peer) -> None:
        """Somebody who has proved who he is says something: a session under his routing id that was another's
        is over."""
        known = self._routes.get(peer[:2])
        if known is not None and known != peer and known in self.by_peer:
            self.end(self.by_peer[known], "another came under its routing id")

    def end_of_key(self, public: str) -> None:
        """The sessions of a key that was revoked or changed are over; what they held goes to others."""
        for peer in [one for one in self._routes.values() if public_of(one[2]) == public]:
            session = self.by_peer.get(peer)
            if session is not None:
                self._turn.command(peer, DISCONNECT, session.link)
                self.end(session, "its key was revoked or changed")

    def end(self, session: Session, why: str) -> None:
        """The session is over. What it still holds has lost its worker; what was not sent to it has not."""
        self.remove(session)
        if why not in _IN_ORDER and not session.draining:
            for name in session.service_names:
                service = self._held.services.get(name)
                if service is not None:
                    service.figures.workers_lost += 1
        for assignment in list(session.holding.values()):
            if assignment.unsent:
                session.let_go(assignment.token)
                if assignment.job is not None:
                    self._life.give_back(assignment.job, "its worker was gone before it was sent")
        jobs = session.jobs
        self._keep_owed(session)
        self._lose(session, jobs, why)
        self._lanes.went(session, why)
        names = ", ".join(session.service_names[:20])
        self._turn.note("info", f"worker {session.id} of {names} is gone: {why}")
        self.announce("worker.gone", session, why)

    def _lose(self, session: Session, jobs: list[Job], why: str) -> None:
        """A worker died with these. With one in hand, that is charged. With several nobody can know which it
        was: none is charged but those that may run only once, and all are suspects (dispatch.py)."""
        lost = error("worker_lost", f"the worker {session.id} was lost: {why}")
        alone = len(session.holding) == 1  # what is over may run on, too
        for job in jobs:
            charged = alone or job.retries == 0
            self._life.fail(job, lost if charged else {**lost, "counted": False}, LOST, count=charged)

    def _keep_owed(self, session: Session) -> None:
        """A foreign worker that hangs on a job owes its FINAL, whoever comes back under its routing id."""
        for assignment in session.holding.values():
            if assignment.hung and assignment.drop_by is not None and not session.ours:
                self._strangers.owes(session.peer, assignment.token, assignment.drop_by)

    def remove(self, session: Session) -> None:
        """Out of every table, so that nothing that follows can give it a job."""
        session.gone = True
        session.leave_line()
        for ring in session.rings:
            ring.workers.pop(session, None)
            if ring.reserved is session:
                self._turn.wake(ring.service)
        if self.by_peer.get(session.peer) is session:
            del self.by_peer[session.peer]
        if self.by_id.get(session.id) is session:
            del self.by_id[session.id]

    def announce(self, topic: str, session: Session, why: str | None = None) -> None:
        if self._turn.news_wanted:
            body: dict[str, Any] = {"id": session.id, "service": session.service_names[0]}
            body["at"] = iso(self._turn.wall)
            if session.info is not None and session.info.services is not None:
                body["services"] = session.service_names
            if why is not None:
                body["why"] = why
            self._turn.news(topic, body)
