"""The jobs that the broker holds: made, queued, started, ended (docs/architecture.md).

Rule 1: a stored job is queued when its insert is committed; its acknowledgement and its first
        dispatch both come out of `committed`. A memory job is queued at once and touches no store.
Rule 2: whatever is said of a stored job waits for the job's last write (`Job.last_write`); a REQUEST
        does not, for a crash in between runs the job again, fenced by its token.
Rule 3: a job is final for every later command from the moment it is decided here; a stored one stays
        in memory until its finish is committed.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from itertools import chain
from typing import Any

from zmws.core.answers import Answers
from zmws.core.backlog import Backlog
from zmws.core.confirmations import Confirmations
from zmws.core.expiry import Expiry
from zmws.core.job import (
    CANCELLED,
    COMPLETE,
    FAILED,
    MEMORY,
    RUNNING,
    SCHEDULED,
    STORED,
    WAITING,
    Job,
    error_json,
    job_id_of,
    leased,
    make_token,
)
from zmws.core.journal import Journal, Told
from zmws.core.kept import JOB_BYTES, KeptJobs
from zmws.core.options import BACKOFF_S_MAX, KEEP_S, ServiceOptions
from zmws.core.overflow import Overflow
from zmws.core.progress import Progress
from zmws.core.service import Service
from zmws.core.session import Session
from zmws.core.turn import Turn
from zmws.core.writes import (
    DISK_FULL,
    EXISTING,
    FULL,
    NEW,
    UNIQUE_CONFLICT,
    FinishJob,
    ForgetService,
    InsertJob,
    Pruned,
    PruneJobs,
    RememberService,
    ReviveJob,
    Row,
    Rows,
    Unfinished,
    UpdateJob,
    Verdict,
    Write,
    job_of,
    row_of,
    size_of,
)
from zmws.wire.messages import Answer, Failed, Heartbeat, WorkerRequest

PRUNE_ROWS_MAX = 500
NONCE_CHARS_MAX = 64
Error = dict[str, Any]


class Jobs:
    """Every job that is not final on disk, and the services they belong to."""

    def __init__(self, turn: Turn, services: dict[str, ServiceOptions], durability: str) -> None:
        self.turn = turn
        self.services: dict[str, Service] = {}
        self.durability = durability  # what a stored job's acknowledgement says
        self.memory: dict[str, Job] = {}
        self.stored: dict[str, Job] = {}
        self.inserting: dict[str, Job] = {}  # its insert is not yet committed; a repeat, perhaps
        self.reviving: set[str] = set()  # ended jobs whose revival is not yet committed
        self.backlog = Backlog(turn, self.services, self.stored, self._take_in)
        self.confirmations = Confirmations()
        self.answers = Answers(turn)
        self.journal = Journal(turn)
        self.progress = Progress(turn, self.journal, self.answers)
        self.expiry = Expiry(turn, self._waiting)
        self.kept = KeptJobs(turn, self.memory)
        self.overflow = Overflow(turn)
        self.history: deque[tuple[str, str, str, float, int]] = deque(maxlen=turn.limits.history_max)
        self.unfinished_memory_bytes = 0
        self.last_number = 0
        self._forget_at: float | None = None  # steady time at which the first ended job is to be forgotten
        self._pruning = False
        for name, options in services.items():
            self.services[name] = Service(name, options)
            self.services[name].registered = True
        self._configured = frozenset(services)

    # ------------------------------------------------------------ look-ups

    def find(self, job_id: str) -> Job | None:
        """A job held in memory, of either kind: memory jobs first. Not what is on its way to the store:
        that may be the repeat of another job."""
        return self.memory.get(job_id) or self.stored.get(job_id)

    def _waiting(self) -> Iterable[Job]:
        services = self.services.values()
        return chain.from_iterable((*s.waiting(), *s.scheduled.values()) for s in services)

    def live(self, token: bytes) -> Job | None:
        """The running job whose live token this is."""
        job_id = job_id_of(token)
        if job_id is None:
            return None
        job = self.memory.get(job_id)
        if job is not None and job.token == token:
            return job
        job = self.stored.get(job_id)
        return job if job is not None and job.token == token else None

    def was_taken(self, token: bytes) -> bool:
        """Whether a FINAL with this token was taken before, as far as memory reaches."""
        job = self.memory.get(job_id_of(token) or "")
        return self.confirmations.was_taken(token) or (job is not None and job.final_token == token)

    def register_service(self, name: str) -> Service | None:
        """The service a worker registers; from now on it is known. None if there are too many."""
        service = self.services.get(name)
        if service is None:
            if len(self.services) >= self.turn.limits.services_max:
                return None
            service = self.services[name] = Service(name)
        if not service.registered:
            service.registered = True
            self.remember(service, None)
        return service

    # ------------------------------------------------------------ a new job

    def next_number(self) -> int:
        """The order among jobs of one rank."""
        self.last_number += 1
        return self.last_number

    def add_memory(self, job: Job) -> None:
        """A memory job is accepted and queued at once."""
        self.unfinished_memory_bytes += job.body_bytes + JOB_BYTES
        self.memory[job.id] = job
        if not job.sync:
            callers, job.callers = job.callers, []
            for caller in callers:
                self.answers.accepted(job, caller, existing=False)
        self._queue(self.services[job.service], job)

    def add_stored(self, job: Job, only_if_known: bool, together: bool) -> None:
        """A stored job goes to the store, whose verdict decides. `only_if_known`: a limit is reached, so
        anything but a repeat of a known job is refused. `together`: in one commit with the one before."""
        self.inserting[job.id] = job
        self.services[job.service].inserting += 1
        self.journal.write(InsertJob(row_of(job), only_if_known, together, size=600 + job.body_bytes), job)

    # ------------------------------------------------------------ the store has spoken

    def committed(self, seq: int, verdicts: list[Verdict]) -> None:
        """All writes up to `seq` are on disk; `verdicts` of those that have one, in order."""
        ready: dict[Service, None] = {}
        for write, job, verdict in self.journal.committed(seq, verdicts):
            if verdict is not None:
                self._on_inserted(job, verdict, ready)
            elif isinstance(write, FinishJob):
                if self.stored.get(job.id) is job:
                    del self.stored[job.id]
            else:
                self.progress.written(job, write)
                if job.last_write is None and job.state in (WAITING, SCHEDULED):
                    self.backlog.settled(job)
        for session, token in self.confirmations.on_disk(seq):
            self.confirm(session, token)
        for service in ready:
            self.dispatch(service)

    def _on_inserted(self, job: Job, answer: Verdict, ready: dict[Service, None]) -> None:
        callers, job.callers = job.callers, []
        self.services[job.service].inserting -= 1
        if answer.verdict == NEW:
            self._is_stored(job, ready)
            for n, caller in enumerate(callers):
                self.answers.accepted(job, caller, existing=n > 0)
            return
        self._not_inserting(job)
        for caller in callers:
            if answer.verdict == EXISTING and answer.service != job.service:
                text = f"job '{job.id}' exists already, for the service {answer.service}"
                self.answers.refuse(caller, job.service, job.id, "id_conflict", text)
            elif answer.verdict in (EXISTING, UNIQUE_CONFLICT):
                self.turn.counters["repeated_requests"] += 1
                # The job that stands for this one may have a write of its own under way.
                holder = self.stored.get(answer.job_id)
                after = holder.last_write if holder is not None else None
                self.answers.accepted_as(job.service, answer.job_id, self.durability, caller, after)
            else:
                assert answer.verdict in (FULL, DISK_FULL), answer
                self.turn.counters["refused_queue_full"] += answer.verdict == FULL
                code = "queue_full"
                text = f"{job.service} takes no more jobs: its limit or the store's is reached"
                if answer.verdict == DISK_FULL:
                    code, text = "disk_full", "the disk of the job store is full; nothing was accepted"
                self.answers.refuse(caller, job.service, job.id if caller.named else None, code, text)

    def _is_stored(self, job: Job, ready: dict[Service, None]) -> None:
        """Its insert is on disk: from here on it can be lost no more, and waits to be started."""
        self._not_inserting(job)
        self.stored[job.id] = job
        service = self.services[job.service]
        self.answers.announce(job, None)
        if job.state == SCHEDULED:
            self._schedule(service, job)
        else:
            self.backlog.arrived(service, job)
            ready[service] = None

    def _not_inserting(self, job: Job) -> None:
        if self.inserting.get(job.id) is job:  # else another of the same id came after it
            del self.inserting[job.id]

    # ------------------------------------------------------------ an earlier run

    def recover(self, left: Unfinished, running: list[Row]) -> None:
        """What an earlier run left. A running job waits for its worker (docs/architecture.md), the others are
        paged in. Before this no request is taken: the numbers of new jobs follow those there are."""
        assert not self.last_number, "a job was made before the recovery"
        self.last_number = left.number
        self._forget_at = left.forget_at
        for name, paused in left.services:
            service = self._known(name)
            if paused is not None:
                service.paused = paused
        for row in running:
            self._recover_running(row)
        for (name, state), count in left.ended.items():
            self._service(name).ended[state] = count
        self.backlog.recover(
            [(self._known(name), group, count) for name, group, count in left.waiting],
            [(self._known(name), count) for name, count in left.scheduled],
        )

    def _recover_running(self, row: Row) -> None:
        job, turn = job_of(row), self.turn
        assert job.nonce is not None and job.started_at is not None, job
        self.stored[job.id] = job
        self._known(job.service).running[job.id] = job
        job.token = make_token(job.id, job.attempt, job.nonce)
        left = job.ttr - max(0.0, turn.wall - job.started_at)
        job.lease_written = job.lease is not None or job.deadline_at is not None
        if job.deadline_at is not None:
            # No longer than it had, though the clock was set back meanwhile.
            left = job.deadline_at - max(turn.wall, job.started_at)
        if job.lease is not None:
            # Whoever leased it need not come back before the end of its time.
            job.deadline_mono = turn.now + max(0.0, left)
            turn.timers.add(job.deadline_mono, "lease", job.token)
            return
        grace_over = turn.now + turn.limits.reattach_grace
        job.deadline_mono = max(grace_over, turn.now + left)
        turn.timers.add(grace_over, "reattach", (job, job.token))

    # ------------------------------------------------------------ waiting and starting

    def _queue(self, service: Service, job: Job) -> None:
        if job.state == SCHEDULED:
            self._schedule(service, job)
            self.answers.announce(job, job.last_write)
            return
        if job.kind == STORED:
            self.backlog.arrived(service, job)
        else:
            service.push(job)
        self.answers.announce(job, job.last_write)
        self.dispatch(service)
        if job.state == WAITING and job.kind == MEMORY:
            self.expiry.watch(job)

    def _take_in(self, service: Service, job: Job) -> None:
        """A stored job that is not running has come into memory: watch its times."""
        if job.state == SCHEDULED:
            self._await_due(job)
        self.expiry.watch(job)

    def _await_due(self, job: Job) -> None:
        timers = self.turn.wall_timers if job.by_wall else self.turn.steady_timers
        timers.add(job.ready_at, "due", job.id)  # not the job: it may be let go before

    def expire_late(self) -> None:
        """End the jobs whose time to start has passed."""
        for number, job_id in self.expiry.late():
            for job in (self.memory.get(job_id), self.stored.get(job_id)):
                if job is not None and job.number == number:
                    self.expire_if_late(job)

    def expire_loaded(self, found: Rows) -> None:
        """End what has expired in the store alone."""
        for job in self.backlog.expired_loaded(found):
            self.expire_if_late(job, in_queue=False)

    def _schedule(self, service: Service, job: Job) -> None:
        if job.kind == MEMORY:
            service.scheduled[job.id] = job
        elif not self.backlog.scheduled(service, job):
            return
        self._take_in(service, job)

    def due(self, job_id: str) -> None:
        """A scheduled job's time has come."""
        for job in (self.memory.get(job_id), self.stored.get(job_id)):
            if job is None or job.state != SCHEDULED:
                continue
            if (self.turn.wall if job.by_wall else self.turn.steady) < job.ready_at:
                continue
            service = self.services[job.service]
            if self.backlog.no_longer_scheduled(service, job):
                job.move("due", self.turn.wall)
                changes = {"state": WAITING, **_events_of(job)}
                if job.by_wall:
                    # From here on it stands among the others, whose order goes by the steady clock.
                    job.ready_at, job.by_wall = self.turn.steady, False
                    job.rank = service.rank(job.ready_at, job.priority)
                    changes |= {"ready_at": job.ready_at, "by_wall": False, "rank": job.rank}
                self.journal.write(UpdateJob(job.id, changes), job)
                self._queue(service, job)

    def expire_if_late(self, job: Job, in_queue: bool = True) -> bool:
        """End a job whose time to start has passed; true if it was. `in_queue`: it was not taken out."""
        if (
            job.expires_at is None
            or self.turn.steady < job.expires_at
            or job.state not in (WAITING, SCHEDULED)
            or (job.attempt > 0 and not job.sync)
        ):
            return False
        was = job.state
        job.move("expire", self.turn.wall)
        self._leave_queue(job, was, in_queue)
        self.turn.counters["jobs_expired"] += 1
        self._end(job, error("expired", _why_expired(job)))
        self.drop_if_unused(self.services[job.service])
        return True

    def _leave_queue(self, job: Job, was: str, in_queue: bool) -> None:
        """A job that was waiting or scheduled has ended. `in_queue`: it has not been taken out."""
        service = self.services[job.service]
        if was == SCHEDULED:
            self.backlog.no_longer_scheduled(service, job)
        elif was == WAITING and in_queue:
            service.left(job)
            self.backlog.want(service, job.group)

    def drop_if_unused(self, service: Service) -> None:
        """A service that only a strict request named is forgotten with its last job, and one that an operator
        has forgotten with the last record."""
        if service.forgotten and not any(service.ended.values()) and service.name not in self.overflow:
            self.services.pop(service.name, None)

    def dispatch(self, service: Service) -> None:
        """Give waiting jobs to waiting workers, as far as both reach and the limits allow."""
        turn = self.turn
        while service.ready and service.ring:
            at = service.may_start_at(turn.now)
            if at is None:
                return
            if at > turn.now:
                if service.start_timer_at is None or at < service.start_timer_at:
                    service.start_timer_at = at
                    turn.timers.add(at, "start", service)
                return
            session = self._next_worker(service)
            if session is None:
                return
            job = service.pop()
            if job is None:
                return
            self.backlog.want(service, job.group)
            if self.expire_if_late(job, in_queue=False):
                continue
            self._start(service, job, session)

    def _next_worker(self, service: Service) -> Any:
        now = self.turn.now
        for taker in service.ring:
            if taker.blocked_until <= now:
                return taker
        return None

    def _start(self, service: Service, job: Job, taker: Any) -> None:
        """A job goes to a worker's session, or to a lease."""
        turn = self.turn
        del service.ring[taker]
        job.attempt += 1
        job.move("dispatch", turn.wall)
        job.nonce = nonce = turn.suppliers.nonce()
        job.token = token = make_token(job.id, job.attempt, nonce)
        job.started_at = turn.wall
        service.started(job, turn.now)
        if isinstance(taker, Session):
            job.worker, job.worker_ours = taker.id, taker.link.ours
            self._give(job, token, taker)
        else:
            job.worker, job.worker_ours, job.lease = taker.worker, False, taker.id
            job.deadline_mono, job.deadline_at = turn.now + taker.ttr_s, turn.wall + taker.ttr_s
            turn.timers.add(job.deadline_mono, "lease", token)
        if job.kind == STORED:
            names = _STARTED if job.lease is None else (*_STARTED, "lease", "deadline_at")
            job.lease_written = job.lease is not None
            changes = {name: getattr(job, name) for name in names}
            self.journal.write(UpdateJob(job.id, changes), job)
        if job.lease is not None:
            # Unlike a worker, whoever leases cannot say again what it holds: what it is told must hold.
            taker.gave(job, token)
            body = json.dumps(leased(job, turn.lead), default=str).encode()
            answer = Answer("zmws.lease", (b"200", body), taker.caller.reply_to)
            turn.send(taker.caller.peer, answer, job.last_write)
        self.answers.announce(job, job.last_write)

    def adopt(self, token: bytes, session: Session) -> Job | None:
        """A dispatch that a crash of the broker has undone, for its write was not on disk yet: the job
        waits at just that attempt, and the worker that was given it says that it has it. It goes on."""
        job = self.stored.get(job_id_of(token) or "")
        if job is None or job.state != WAITING or job.service != session.service.name:
            return None
        _, attempt, nonce = token.decode().rsplit("/", 2)
        if attempt != str(job.attempt + 1) or not 0 < len(nonce) <= NONCE_CHARS_MAX:
            return None
        service, old = self.services[job.service], job
        job = replace(old)
        old.state = CANCELLED  # a stale entry in its queue; the job itself is another object from here on
        service.left(old)
        self.stored[job.id] = job
        turn = self.turn
        job.attempt += 1
        job.move("dispatch", turn.wall)
        job.nonce, job.token, job.started_at = nonce, token, turn.wall
        job.worker, job.worker_ours = session.id, session.link.ours
        job.deadline_mono = turn.now + job.ttr
        service.started(job, turn.now)
        self.journal.write(UpdateJob(job.id, {name: getattr(job, name) for name in _STARTED}), job)
        turn.counters["adopted"] += 1
        self.answers.announce(job, job.last_write)
        self.backlog.want(service, job.group)
        return job

    def _give(self, job: Job, token: bytes, session: Session) -> None:
        """REQUEST to a worker, which is not held for the write of the start."""
        turn = self.turn
        job.session = session
        job.deadline_mono = turn.now + job.ttr
        session.job, session.job_since_at, session.ttr_s = job, turn.wall, job.ttr
        session.held[token] = None
        if job.deadline_mono < session.timer_at:
            session.timer_at = job.deadline_mono
            turn.timers.add(job.deadline_mono, "session", session)
        described = f'{{"id": "{job.id}", "attempt": {job.attempt}, "ttr": {job.ttr}}}'
        request = WorkerRequest(token, job.service, described.encode(), job.body)
        turn.command(session.peer, request, session.link)

    # ------------------------------------------------------------ an attempt ends

    def complete(self, job: Job, token: bytes, result: tuple[bytes, ...], plain: bool) -> None:
        """A worker's FINAL with a live token says: done."""
        job.result, job.result_plain = result, plain
        self.take_final(job, token)
        self._leave_worker(job)
        job.ends_attempt(self.turn.wall, None, self.turn.limits.attempts_kept_max)
        job.move("complete", self.turn.wall)
        self._end(job, None)

    def attempt_failed(
        self, job: Job, why: Error, cause: str, retry: bool = True, delay_s: float | None = None
    ) -> None:
        """An attempt failed. `cause`: reported (by the worker), ttr (passed), lost (its worker was).

        A failure that work() reports on a synchronous call, and a passed ttr, go to the caller at
        once; a lost worker's call is given to another (docs/options.md).
        """
        turn = self.turn
        job.failures += 1
        turn.counters[f"attempts_{cause}"] += 1
        self._leave_worker(job)
        job.ends_attempt(turn.wall, why, turn.limits.attempts_kept_max)
        if cause == "lost":
            job.losses += 1
        if not retry or job.failures > job.retries or (job.sync and cause != "lost"):
            job.move("exhaust", turn.wall)
            self._end(job, why)
            return
        at_once = cause == "lost" and job.losses == 1
        if at_once:
            # It keeps its rank, and so stands at the head of its group.
            job.move("give_back", turn.wall)
        else:
            job.move("back_off", turn.wall)
            job.ready_at = turn.steady + (self._backoff_s(job) if delay_s is None else delay_s)
            job.rank = self.services[job.service].rank(job.ready_at, job.priority)
        changes = {
            "state": job.state,
            "ready_at": job.ready_at,
            "rank": job.rank,
            "failures": job.failures,
            "losses": job.losses,
            **_attempt_over(job),
        }
        if job.by_wall:
            job.by_wall = changes["by_wall"] = False  # from here on it counts from its failure
        self.journal.write(UpdateJob(job.id, changes), job)
        self._queue(self.services[job.service], job)

    def give_back(self, job: Job, why: str) -> None:
        """An attempt ends without a failure: it waits again, at the head of its group."""
        self._leave_worker(job)
        note = error("given_back", why)
        job.ends_attempt(self.turn.wall, note, self.turn.limits.attempts_kept_max)
        self.turn.counters["given_back"] += 1
        job.move("give_back", self.turn.wall)
        self.journal.write(UpdateJob(job.id, {"state": WAITING, **_attempt_over(job)}), job)
        self._queue(self.services[job.service], job)

    def cancel(self, job: Job, in_queue: bool = True) -> None:
        """Final at once. A running attempt's token is dead, and its worker is told. `in_queue`: it was
        not taken out of the store alone just now."""
        turn = self.turn
        session: Session | None = job.session
        token, deadline = job.token, job.deadline_mono
        if job.state == RUNNING:
            self._leave_worker(job)
            job.ends_attempt(turn.wall, error("cancelled", "cancelled"), turn.limits.attempts_kept_max)
        was = job.state
        job.move("cancel", turn.wall)
        self._leave_queue(job, was, in_queue)
        turn.counters["jobs_cancelled"] += 1
        self._end(job, error("cancelled", "the job was cancelled"))
        if token is not None and session is not None:
            self.tell_cancelled(session, token, deadline)

    def cancel_overflow(self, service: Service) -> int:
        """Answer all requests that wait to be jobs of a service; how many they were."""
        count = self.overflow.count_of(service.name)
        for _ in range(count):
            peer, (_, reply_to, _, _) = self.overflow.take(service.name)
            why = error_json(error("cancelled", "the job was cancelled"))
            self.turn.send(peer, Failed(service.name, None, why, True, reply_to))
        return count

    def tell_cancelled(self, session: Session, token: bytes, deadline: float) -> None:
        """CANCEL to a worker of ours, which is hung if it has not let go after `cancel_grace`; a foreign one
        knows no CANCEL and keeps the job until its FINAL or its ttr."""
        turn = self.turn
        if session.link.ours:
            turn.command(session.peer, Heartbeat((b"CANCEL " + token,)), session.link)
            drop_at = turn.now + turn.limits.cancel_grace_s
            session.drop_at = drop_at if session.drop_at is None else min(session.drop_at, drop_at)
        else:
            session.drop_at = deadline
        if session.drop_at < session.timer_at:
            session.timer_at = session.drop_at
            turn.timers.add(session.drop_at, "session", session)

    def _leave_worker(self, job: Job) -> None:
        """The attempt is over as far as the job is concerned; what the session holds is its own."""
        self.services[job.service].running.pop(job.id, None)
        session: Session | None = job.session
        job.session = job.lease = job.deadline_at = None
        if session is not None and session.job is job:
            session.job = None
        if self.services[job.service].options.max_running is not None:
            self.turn.timers.add(self.turn.now, "start", self.services[job.service])

    def _backoff_s(self, job: Job) -> float:
        # Retry n counts from 0. The jitter spreads a crowd that failed together: 0.75 to 1.25.
        doubled = job.backoff * 2.0 ** min(job.failures - 1, 60)
        return min(doubled, BACKOFF_S_MAX) * (0.75 + 0.5 * self.turn.suppliers.jitter())

    # ------------------------------------------------------------ a job ends

    def _end(self, job: Job, why: Error | None) -> None:
        turn = self.turn
        job.ended_at = turn.wall
        if why is not None:
            job.error = {**why, "attempts": job.attempt}
        self.history.append((job.id, job.service, job.state, turn.wall, job.attempt))
        service = self.services[job.service]
        if job.kind == STORED:
            changes = {"state": job.state, "ended_at": job.ended_at, **_attempt_over(job)}
            # What is as a new job has it is not written again.
            changes |= {name: value for name in _ENDED if (value := getattr(job, name))}
            if job.state == COMPLETE:
                del changes["nonce"]  # by it a repeated report is known, also after a restart
            keep = job.keep if job.keep is not None else KEEP_S[job.state]
            forget_at = turn.steady + keep
            size = 400 + size_of(job.result)
            self.journal.write(FinishJob(job.id, changes, job.service, forget_at, size=size), job)
            service.ended[job.state] += 1
            if self._forget_at is None or forget_at < self._forget_at:
                self._forget_at = forget_at
        else:
            self.unfinished_memory_bytes -= job.body_bytes + JOB_BYTES
            self.kept.keep(job)
            service.calls_complete += job.state == COMPLETE
            service.calls_failed += job.state == FAILED
            callers, job.callers = job.callers, []
            for caller in callers:
                self.answers.ended(job, caller)
        self.answers.announce(job, job.last_write)
        self.answers.answer_waits(job)

    def take_final(self, job: Job, token: bytes) -> None:
        """A FINAL with the live token is taken: its repeat is no stale result."""
        job.final_token = token
        if job.kind == STORED:  # a memory job stays in memory itself
            self.confirmations.remember(token)

    def taken(self, session: Session, token: bytes) -> None:
        """A FINAL was taken or refused: DONE follows when what its job has become is on disk."""
        job = self.stored.get(job_id_of(token) or "")
        if job is not None and job.last_write is not None:
            self.confirmations.await_write(session, token, job.last_write)
        elif not self.confirmations.reassigned(session, token):
            self.confirm(session, token)

    def confirm(self, session: Session, token: bytes) -> None:
        """The worker may forget this result: with the next HEARTBEAT, or at once if it waits."""
        session.done[token] = None
        if session.confirming:
            session.confirming.discard(token)
            if not session.confirming:
                self.heartbeat(session)
                self.free(session)

    def heartbeat(self, session: Session) -> None:
        """A HEARTBEAT, with what the worker may forget, all tokens in one frame."""
        frames: tuple[bytes, ...] = ()
        if session.done:
            frames = (b"DONE " + b" ".join(session.done),)
            session.done = {}
        self.turn.command(session.peer, Heartbeat(frames), session.link)

    def free(self, session: Session) -> None:
        """A worker that holds nothing any more goes to the tail of its ring."""
        if session.free:
            session.job_since_at = None
            session.service.ring[session] = None
            self.dispatch(session.service)

    def revive(self, job: Job, told: Told) -> None:
        """A job (light) that failed, expired or was cancelled waits again, when its commit has said that its
        unique key is free. `told` is called with the verdict."""
        turn, was = self.turn, job.state
        job.move("revive", turn.wall)
        job.failures = job.losses = 0
        job.ready_at, job.by_wall = turn.steady, False
        service = self._service(job.service)
        job.rank = service.rank(job.ready_at, job.priority)
        self.reviving.add(job.id)

        def revived(verdict: Verdict) -> None:
            self.reviving.discard(job.id)
            if verdict.verdict == NEW:
                service.ended[was] -= 1
                if not service.registered:  # an operator had forgotten it
                    service.registered = True
                    self.remember(service, None)
                self.answers.announce(job, None)
                self.backlog.revived(service, job)
            told(verdict)

        changes = {name: getattr(job, name) for name in _REVIVED}
        self.journal.write_for(ReviveJob(job.id, changes | dict.fromkeys(_CLEARED)), revived)

    def _service(self, name: str) -> Service:
        """The service of a job's record, known or not."""
        service = self.services.get(name)
        if service is None:
            service = self.services[name] = Service(name)
        return service

    def _known(self, name: str) -> Service:
        """The service of a job out of the store that has not ended, for which it was accepted."""
        service = self._service(name)
        service.registered = True
        return service

    def extend(self, job: Job, seconds: float) -> None:
        """The attempt may run `seconds` longer from now, also if the broker is restarted meanwhile."""
        turn = self.turn
        job.deadline_mono, job.deadline_at = turn.now + seconds, turn.wall + seconds
        self.journal.write(UpdateJob(job.id, {"deadline_at": job.deadline_at}), job)
        job.lease_written = True
        if job.lease is not None:
            turn.timers.add(job.deadline_mono, "lease", job.token)
        elif job.session is not None:
            session: Session = job.session
            if job.deadline_mono < session.timer_at:
                session.timer_at = job.deadline_mono
                turn.timers.add(job.deadline_mono, "session", session)

    def lease_over(self, token: bytes) -> None:
        """Whoever leased it had `ttr` to report, unless that was extended."""
        job = self.live(token)
        if job is not None and job.lease is not None and self.turn.now >= job.deadline_mono:
            self.attempt_failed(job, error("timeout", "the lease ran past its ttr"), "ttr")

    # ------------------------------------------------------------ writes

    def prune(self) -> None:
        """Let the store forget ended jobs whose `keep` has passed, in small steps, each in a commit among
        the others."""
        due = self._forget_at is not None and self._forget_at <= self.turn.steady
        # The memory store forgets by itself what is too much for it, and says so with the next prune.
        if not self._pruning and (due or (self.durability == MEMORY and self._forget_at is not None)):
            self._pruning = True
            self.journal.write_for(PruneJobs(self.turn.steady, PRUNE_ROWS_MAX), self._pruned)

    def _pruned(self, verdict: Verdict) -> None:
        assert isinstance(verdict, Pruned), verdict
        self._pruning = False
        self._forget_at = verdict.next_at
        for (name, state), count in verdict.counts.items():
            service = self.services.get(name)
            if service is not None:
                service.ended[state] -= count
                self.drop_if_unused(service)
        if self._forget_at is not None and self._forget_at <= self.turn.steady:
            self.prune()

    def why_needed(self, service: Service) -> str | None:
        """What keeps a service from being forgotten, None if nothing does."""
        if service.name in self._configured:
            return "the settings name it"
        if service.sessions or service.ring:
            return "a worker serves it, or somebody waits for a lease of its jobs"
        if service.unfinished_count or service.name in self.overflow:
            return "it has jobs that have not ended"
        return None

    def forget_service(self, service: Service) -> Write:
        """It is unknown from now on, until a worker registers it again."""
        service.registered = False
        service.paused = service.options.paused
        self.drop_if_unused(service)
        write = ForgetService(service.name)
        self.journal.write_for(write, None)
        return write

    def remember(self, service: Service, paused: bool | None) -> Write:
        """A service, and whether an operator paused it, survive a restart."""
        write = RememberService(service.name, paused)
        self.journal.write_for(write, None)
        return write


_STARTED = (
    "state",
    "attempt",
    "nonce",
    "started_at",
    "worker",
    "worker_ours",
    "events",
    "states",
)
_COUNTED = ("partials_count", "partials_cut", "log_bytes", "log_cut")
_ENDED = (
    "failures",
    "losses",
    "result",
    "result_plain",
    "error",
    "progress",
    "progress_text",
    "progress_at",
    "progress_n",
)
_REVIVED = ("state", "failures", "losses", "ready_at", "by_wall", "rank", "events", "states")
_CLEARED = ("expires_at", "error", "ended_at", "nonce")


def _why_expired(job: Job) -> str:
    """A synchronous call that lost its worker waits for another, and expires meanwhile."""
    if not job.attempt:
        return f"no worker of {job.service} began it in time"
    ended = job.attempts[-1].get("error", {}).get("error", "")
    return f"attempt {job.attempt} ended ({ended}), and no worker of {job.service} began another in time"


def _events_of(job: Job) -> dict[str, Any]:
    return {"events": job.events, "states": job.states}


def _attempt_over(job: Job) -> dict[str, Any]:
    """What is written when an attempt is over."""
    changes = {"nonce": None, "attempts": job.attempts, "events": job.events, "states": job.states}
    changes |= {name: value for name in _COUNTED if (value := getattr(job, name))}
    if job.lease_written:
        job.lease_written = False
        changes |= {"lease": None, "deadline_at": None}
    return changes


def error(code: str, text: str, **more: Any) -> Error:
    """ERROR of docs/errors.md."""
    return {"code": code, "error": text, **more}
