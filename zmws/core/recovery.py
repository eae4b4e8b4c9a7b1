"""After a restart: what an earlier run left is taken in, and workers find their jobs again
(docs/architecture.md, "After a crash").

Rule 1: a running job waits `reattach_grace` for its worker, then goes back to the head of its group, which is
        no failure (but one of `retries: 0` has failed, for it may have run). A leased one keeps its token
        until its time is over.
Rule 2: a dispatch that was not on disk when the broker died is adopted from the worker that was given it.
"""

from __future__ import annotations

from dataclasses import replace

from zmws.core.held import Held
from zmws.core.job import Job
from zmws.core.life import LOST, STARTED, Life, error
from zmws.core.rows import Row, Unfinished, job_of
from zmws.core.session import Session
from zmws.core.states import CANCELLED, WAITING
from zmws.core.taker import Assignment
from zmws.core.timers import Reminder
from zmws.core.tokens import job_id_of, make_token
from zmws.core.turn import Turn
from zmws.core.writes import UpdateJob

NONCE_CHARS_MAX = 64


class Recovery:
    """Takes in what was left."""

    def __init__(self, turn: Turn, held: Held, life: Life) -> None:
        self.turn = turn
        self.held = held
        self.life = life
        self._awaited: dict[str, set[bytes]] = {}  # by the id of a worker of ours: what it ran
        self._reattach = Reminder(self._on_not_reattached, self._is_awaited)

    def recover(self, left: Unfinished, running: list[Row]) -> None:
        """What an earlier run left. A running job waits for its worker (docs/architecture.md), the others are
        paged in. Before this no request is taken: the numbers of new jobs follow those there are."""
        held = self.held
        assert not held.last_number, "a job was made before the recovery"
        held.last_number = left.number
        self.life.prune.recover(left.forget_at)
        for known in left.services:
            held.recall(known)
        for row in running:
            self._recover_running(row)
        for (name, state), count in left.ended.items():
            held.service_of(name).ended[state] = count
        self.life.backlog.recover(
            [(held.known(name), group, count) for name, group, count in left.waiting],
            [(held.known(name), count) for name, count in left.scheduled],
        )

    def _recover_running(self, row: Row) -> None:
        job, turn = job_of(row), self.turn
        assert job.nonce is not None and job.started_at is not None, job
        self.held.stored[job.id] = job
        self.held.known(job.service).running[job.id] = job
        job.token = token = make_token(job.id, job.attempt, job.nonce)
        assignment = Assignment(token, job.service, job, since_at=job.started_at, alone=job.suspect)
        self.held.assignments[token] = assignment
        left = job.ttr - max(0.0, turn.wall - job.started_at)
        job.lease_written = job.lease is not None or job.deadline_at is not None
        if job.deadline_at is not None:
            # No longer than it had, though the clock was set back meanwhile.
            left = job.deadline_at - max(turn.wall, job.started_at)
        if job.lease is not None:
            # Whoever leased it need not come back before the end of its time.
            job.deadline_mono = turn.now + max(0.0, left)
            self.life.bound(job, assignment)
            return
        grace_over = turn.now + turn.limits.reattach_grace
        job.deadline_mono = max(grace_over, turn.now + left)
        turn.timers.add(grace_over, self._reattach, token)
        if job.worker_ours and job.worker is not None:
            self._awaited.setdefault(job.worker, set()).add(token)

    def returned(self, session: Session, named: set[bytes]) -> None:
        """A worker of ours is back, and has named all that it has: what else it ran never reached it."""
        for token in self._awaited.pop(session.id, set()) - named:
            assignment = self.held.assignments.get(token)
            if assignment is not None and assignment.taker is None and assignment.job is not None:
                self.life.give_back(assignment.job, "its worker came back without it")

    def _is_awaited(self, token: bytes, at: float) -> bool:
        assignment = self.held.assignments.get(token)
        return assignment is not None and assignment.taker is None

    def _on_not_reattached(self, token: bytes) -> None:
        assignment = self.held.assignments.get(token)
        if assignment is None or assignment.taker is not None or assignment.job is None:
            return
        if assignment.job.retries == 0:
            # It is to run at most once, and may have run.
            why = "its worker did not come back after the broker's restart"
            self.life.fail(assignment.job, error("worker_lost", why), LOST)
        else:
            self.life.give_back(assignment.job, "its worker did not come back after the broker's restart")

    def adopt(self, token: bytes, session: Session) -> Job | None:
        """A dispatch that a crash of the broker has undone, for its write was not on disk yet: the job
        waits at just that attempt, and the worker that was given it says that it has it. It goes on."""
        old = self.held.stored.get(job_id_of(token) or "")
        if old is None or old.state != WAITING or old.service not in session.service_names:
            return None
        _, attempt, nonce = token.decode().rsplit("/", 2)
        if attempt != str(old.attempt + 1) or not 0 < len(nonce) <= NONCE_CHARS_MAX:
            return None
        if nonce == old.nonce:
            return None  # it was released, and is not to be begun
        turn, service = self.turn, self.held.services[old.service]
        job = replace(old)
        old.state = CANCELLED  # a stale entry in its queue; the job itself is another object from here on
        service.left(old)
        turn.wake(service.name)
        self.held.stored[job.id] = job
        job.attempt += 1
        job.nonce = nonce
        self.life.run(service, job, session, token)
        job.deadline_mono = turn.now + job.ttr
        turn.write(UpdateJob(job.id, {name: getattr(job, name) for name in STARTED}), job)
        turn.counters["adopted"] += 1
        self.life.watchers.announce(job, job.last_write)
        self.life.backlog.want(service, job.group)
        return job
