"""The jobs that the broker holds: made, queued, started, ended (DESIGN sections 4 to 6).

Rule 1: a stored job is queued when its insert is committed; its acknowledgement and its first
        dispatch both come out of `committed`. A memory job is queued at once and touches no store.
Rule 2: whatever is said of a stored job waits for the job's last write (`Job.last_write`); a REQUEST
        does not, for a crash in between runs the job again, fenced by its token.
Rule 3: a job is final for every later command from the moment it is decided here; a stored one stays
        in memory until its finish is committed.
"""

from __future__ import annotations

import heapq
import json
from collections import Counter, OrderedDict, deque
from itertools import chain
from typing import Any

from zmws.core.answers import Answers
from zmws.core.job import (
    MEMORY,
    RUNNING,
    SCHEDULED,
    STORED,
    WAITING,
    Caller,
    Job,
    job_id_of,
    make_token,
)
from zmws.core.kept import JOB_BYTES, KeptJobs
from zmws.core.messages import Answer, Heartbeat, WorkerRequest
from zmws.core.options import BACKOFF_S_MAX, KEEP_S, ServiceOptions
from zmws.core.service import Service
from zmws.core.session import Session
from zmws.core.turn import Turn
from zmws.core.writes import (
    EXISTING,
    FULL,
    NEW,
    UNIQUE_CONFLICT,
    UNKNOWN,
    AppendToJob,
    FinishJob,
    InsertJob,
    PruneJobs,
    RememberService,
    ReviveJob,
    Row,
    UpdateJob,
    Verdict,
    Write,
    job_of,
    row_of,
    size_of,
)

TAKEN_TOKENS_MAX = 10_000  # of FINALs taken that are remembered, to know a repeat from a late one
Error = dict[str, Any]


class Jobs:
    """Every job that is not final on disk, and the services they belong to."""

    def __init__(self, turn: Turn, services: dict[str, ServiceOptions], durability: str) -> None:
        self.turn = turn
        self.services: dict[str, Service] = {}
        self.durability = durability  # what a stored job's acknowledgement says
        self.memory: dict[str, Job] = {}
        self.stored: dict[str, Job] = {}
        self.inserting: dict[str, Job] = {}  # insert or revival not yet committed
        self.answers = Answers(turn)
        self.kept = KeptJobs(turn, self.memory)
        self.history: deque[tuple[str, str, str, float, int]] = deque(maxlen=turn.limits.history_max)
        # Results taken whose write is not on disk: token -> that write, and who is then told DONE.
        self.unconfirmed: OrderedDict[bytes, tuple[Write, Session]] = OrderedDict()
        self._taken: OrderedDict[bytes, None] = OrderedDict()  # the tokens whose FINALs were taken last
        self._uncommitted: deque[tuple[Write, Job | None]] = deque()
        self.unfinished_memory_bytes = 0
        self._number = 0
        self._expiring: list[tuple[float, int, str]] = []  # when, number and id of jobs that wait
        self._expiring_max = 1_000
        self._forget_in: Counter[int] = Counter()  # ended stored jobs, by the minute they are forgotten
        for name, options in services.items():
            self.services[name] = Service(name, options)
            self.services[name].registered = True

    # ------------------------------------------------------------ look-ups

    def find(self, job_id: str) -> Job | None:
        """A job held in memory, of either kind: memory jobs first."""
        return self.memory.get(job_id) or self.stored.get(job_id) or self.inserting.get(job_id)

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
        return token in self._taken or (job is not None and job.final_token == token)

    def register_service(self, name: str) -> Service | None:
        """The service a worker registers; from now on it is known. None if there are too many."""
        service = self.services.get(name)
        if service is None:
            if len(self.services) >= self.turn.limits.services_max:
                return None
            service = self.services[name] = Service(name)
        if not service.registered:
            service.registered = True
            self._write(RememberService(name), None)
        return service

    # ------------------------------------------------------------ a new job

    def next_number(self) -> int:
        """The order among jobs of one rank."""
        self._number += 1
        return self._number

    def add_memory(self, job: Job) -> None:
        """A memory job is accepted and queued at once."""
        self.unfinished_memory_bytes += job.body_bytes + JOB_BYTES
        self.memory[job.id] = job
        if not job.sync:
            callers, job.callers = job.callers, []
            for caller in callers:
                self.answers.accepted(job, caller, existing=False)
        self._queue(self.services[job.service], job)

    def add_stored(self, job: Job, only_if_known: bool) -> None:
        """A stored job goes to the store, whose verdict decides. `only_if_known`: a limit is reached, so
        anything but a repeat of a known job is refused."""
        self.inserting[job.id] = job
        self._write(InsertJob(row_of(job), only_if_known=only_if_known, size=600 + job.body_bytes), job)

    # ------------------------------------------------------------ the store has spoken

    def committed(self, seq: int, verdicts: list[Verdict]) -> None:
        """All writes up to `seq` are on disk; `verdicts` of its inserts and revivals, in order."""
        queue, answers = self._uncommitted, iter(verdicts)
        ready: dict[Service, None] = {}
        while queue and queue[0][0].seq <= seq:
            write, job = queue.popleft()
            if job is None:
                continue
            if isinstance(write, InsertJob):
                self._on_inserted(job, next(answers), ready)
            elif isinstance(write, ReviveJob):
                self._on_revived(job, next(answers), ready)
            elif isinstance(write, FinishJob):
                # A dead letter that is being revived is in `inserting` by now, as another Job.
                if self.stored.get(job.id) is job:
                    del self.stored[job.id]
            elif job.progress_in_flight:
                job.progress_in_flight = False
            if job.last_write is write:
                job.last_write = None
        while self.unconfirmed:
            token, (write, session) = next(iter(self.unconfirmed.items()))
            if write.seq > seq:
                break
            del self.unconfirmed[token]
            self.confirm(session, token)
        for service in ready:
            self.dispatch(service)

    def _on_inserted(self, job: Job, answer: Verdict, ready: dict[Service, None]) -> None:
        callers, job.callers = job.callers, []
        if answer.verdict == NEW:
            self._is_stored(job, ready)
            for n, caller in enumerate(callers):
                self.answers.accepted(job, caller, existing=n > 0)
            return
        del self.inserting[job.id]
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
                assert answer.verdict == FULL, answer
                self.turn.counters["refused_queue_full"] += 1
                text = f"{job.service} takes no more jobs: its limit or the store's is reached"
                self.answers.refuse(caller, job.service, job.id if caller.named else None, "queue_full", text)

    def _on_revived(self, job: Job, answer: Verdict, ready: dict[Service, None]) -> None:
        callers, job.callers = job.callers, []
        body: dict[str, Any]
        if answer.verdict == NEW:
            self._is_stored(job, ready)
            status, body = b"200", {"count": 1}
        elif answer.verdict == UNKNOWN:
            del self.inserting[job.id]
            status, body = (
                b"404",
                error("unknown_job", f"the record of job '{job.id}' was forgotten meanwhile"),
            )
        else:
            del self.inserting[job.id]
            text = f"its unique key is held by job '{answer.job_id}' now"
            status, body = b"409", error("not_possible", text)
        for caller in callers:
            message = Answer("zmws.retry", (status, json.dumps(body).encode()), caller.reply_to)
            self.turn.send(caller.peer, message)

    def _is_stored(self, job: Job, ready: dict[Service, None]) -> None:
        """Its insert is on disk: from here on it can be lost no more, and waits to be started."""
        del self.inserting[job.id]
        self.stored[job.id] = job
        service = self.services[job.service]
        self.answers.announce(job, None)
        if job.state == SCHEDULED:
            self._schedule(service, job)
        else:
            service.push(job)
            self._watch_expiry(job)
            ready[service] = None

    def recover(self, row: Row) -> None:
        """An unfinished job of an earlier run. A running one waits for its worker (section 6)."""
        job = job_of(row)
        service = self._service(job.service)
        job.number = self.next_number()
        self.stored[job.id] = job
        turn = self.turn
        if job.expires_at is not None:
            job.expires_mono = turn.now + (job.expires_at - turn.wall)
        if job.state == RUNNING:
            assert job.nonce is not None and job.started_at is not None, job
            job.token = make_token(job.id, job.attempt, job.nonce)
            elapsed = max(0.0, turn.wall - job.started_at)
            grace_over = turn.now + turn.limits.reattach_grace
            job.deadline_mono = max(grace_over, turn.now + job.ttr - elapsed)
            service.running[job.id] = job
            turn.timers.add(grace_over, "reattach", (job, job.token))
        elif job.state == SCHEDULED:
            self._schedule(service, job)
        else:
            service.push(job)
            self._watch_expiry(job)

    # ------------------------------------------------------------ waiting and starting

    def _queue(self, service: Service, job: Job) -> None:
        if job.state == SCHEDULED:
            self._schedule(service, job)
            return
        service.push(job)
        self.answers.announce(job, job.last_write)
        self.dispatch(service)
        if job.state == WAITING:
            self._watch_expiry(job)

    def _watch_expiry(self, job: Job) -> None:
        """One timer, at the earliest; what is remembered holds on to no job, and is not many more than
        there are jobs that wait."""
        if job.expires_mono is None:
            return
        heapq.heappush(self._expiring, (job.expires_mono, job.number, job.id))
        if self._expiring[0][1] == job.number:
            self.turn.timers.add(job.expires_mono, "expire")
        if len(self._expiring) > self._expiring_max:
            services = self.services.values()
            waiting = chain.from_iterable((*s.waiting(), *s.scheduled.values()) for s in services)
            self._expiring = [(j.expires_mono, j.number, j.id) for j in waiting if j.expires_mono is not None]
            heapq.heapify(self._expiring)
            self._expiring_max = max(1_000, 2 * len(self._expiring))

    def expire_late(self) -> None:
        """End the jobs whose time to start has passed."""
        expiring = self._expiring
        while expiring and expiring[0][0] <= self.turn.now:
            _, number, job_id = heapq.heappop(expiring)
            for job in (self.memory.get(job_id), self.stored.get(job_id)):
                if job is not None and job.number == number:
                    self.expire_if_late(job)
        if self._expiring:
            self.turn.timers.add(self._expiring[0][0], "expire")

    def _schedule(self, service: Service, job: Job) -> None:
        service.scheduled[job.id] = job
        turn = self.turn
        turn.timers.add(turn.now + max(0.0, job.ready_at - turn.wall), "due", job)
        self._watch_expiry(job)

    def due(self, job: Job) -> None:
        """A scheduled job's time has come."""
        service = self.services[job.service]
        if job.state == SCHEDULED and service.scheduled.pop(job.id, None) is not None:
            job.move("due")
            self._write(UpdateJob(job.id, {"state": WAITING}), job)
            self._queue(service, job)

    def expire_if_late(self, job: Job, in_queue: bool = True) -> bool:
        """End a job whose time to start has passed; true if it was. `in_queue`: it was not taken out."""
        if (
            job.expires_mono is None
            or self.turn.now < job.expires_mono
            or job.state not in (WAITING, SCHEDULED)
            or (job.attempt > 0 and not job.sync)
        ):
            return False
        was_waiting = job.state == WAITING
        self.services[job.service].scheduled.pop(job.id, None)
        job.move("expire")
        if was_waiting and in_queue:
            self.services[job.service].left(job)
        self.turn.counters["jobs_expired"] += 1
        self._end(job, error("expired", f"no worker of {job.service} began it in time"))
        self._drop_if_unused(self.services[job.service])
        return True

    def _drop_if_unused(self, service: Service) -> None:
        """A service that only a strict request named is forgotten with its last job."""
        if not (service.registered or service.waiting_count or service.scheduled or service.running):
            self.services.pop(service.name, None)

    def dispatch(self, service: Service) -> None:
        """Give waiting jobs to waiting workers, as far as both reach and the limits allow."""
        turn = self.turn
        while service.waiting_count and service.ring:
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
            if self.expire_if_late(job, in_queue=False):
                continue
            self._start(service, job, session)

    def _next_worker(self, service: Service) -> Session | None:
        now = self.turn.now
        for session in service.ring:
            if session.blocked_until <= now:
                return session
        return None

    def _start(self, service: Service, job: Job, session: Session) -> None:
        turn = self.turn
        del service.ring[session]
        job.move("dispatch")
        job.attempt += 1
        job.nonce = nonce = turn.suppliers.nonce()
        job.token = token = make_token(job.id, job.attempt, nonce)
        job.session, job.worker, job.worker_ours = session, session.id, session.link.ours
        job.started_at = turn.wall
        job.deadline_mono = turn.now + job.ttr
        session.job, session.job_since_at = job, turn.wall
        session.held[token] = None
        if job.deadline_mono < session.timer_at:
            session.timer_at = job.deadline_mono
            turn.timers.add(job.deadline_mono, "session", session)
        service.started(job, turn.now)
        described = f'{{"id": "{job.id}", "attempt": {job.attempt}, "ttr": {job.ttr}}}'
        request = WorkerRequest(token, service.name, described.encode(), job.body)
        turn.command(session.peer, request, session.link)
        if job.kind == STORED:
            changes = {
                "state": RUNNING,
                "attempt": job.attempt,
                "nonce": nonce,
                "worker": job.worker,
                "worker_ours": job.worker_ours,
                "started_at": job.started_at,
            }
            self._write(UpdateJob(job.id, changes), job)
        self.answers.announce(job, job.last_write)

    # ------------------------------------------------------------ an attempt ends

    def complete(self, job: Job, token: bytes, result: tuple[bytes, ...], plain: bool) -> None:
        """A worker's FINAL with a live token says: done."""
        job.result, job.result_plain = result, plain
        self.take_final(job, token)
        self._leave_worker(job)
        job.ends_attempt(self.turn.wall, None, self.turn.limits.attempts_kept_max)
        job.move("complete")
        self.services[job.service].complete += 1
        self._end(job, None)

    def attempt_failed(
        self, job: Job, why: Error, cause: str, retry: bool = True, delay_s: float | None = None
    ) -> None:
        """An attempt failed. `cause`: reported (by the worker), ttr (passed), lost (its worker was).

        A failure that work() reports on a synchronous call, and a passed ttr, go to the caller at
        once; a lost worker's call is given to another (DESIGN section 2).
        """
        turn = self.turn
        job.failures += 1
        turn.counters[f"attempts_{cause}"] += 1
        self._leave_worker(job)
        job.ends_attempt(turn.wall, why, turn.limits.attempts_kept_max)
        if cause == "lost":
            job.losses += 1
        if not retry or job.failures > job.retries or (job.sync and cause != "lost"):
            job.move("exhaust")
            self.services[job.service].failed += 1
            self._end(job, why)
            return
        at_once = cause == "lost" and job.losses == 1
        if at_once:
            # It keeps its rank, and so stands at the head of its group.
            job.move("give_back")
        else:
            job.move("back_off")
            job.ready_at = turn.wall + (self._backoff_s(job) if delay_s is None else delay_s)
            job.rank = self.services[job.service].rank(job.ready_at, job.priority)
        changes = {
            "state": job.state,
            "nonce": None,
            "ready_at": job.ready_at,
            "rank": job.rank,
            "failures": job.failures,
            "losses": job.losses,
            "attempts": job.attempts,
        }
        self._write(UpdateJob(job.id, changes), job)
        self._queue(self.services[job.service], job)

    def give_back(self, job: Job, why: str) -> None:
        """An attempt ends without a failure: it waits again, at the head of its group."""
        self._leave_worker(job)
        note = error("given_back", why)
        job.ends_attempt(self.turn.wall, note, self.turn.limits.attempts_kept_max)
        self.turn.counters["given_back"] += 1
        job.move("give_back")
        changes = {"state": WAITING, "nonce": None, "attempts": job.attempts}
        self._write(UpdateJob(job.id, changes), job)
        self._queue(self.services[job.service], job)

    def cancel(self, job: Job) -> None:
        """Final at once. A running attempt's token is dead, and its worker is told."""
        turn = self.turn
        session: Session | None = job.session
        token, deadline, service = job.token, job.deadline_mono, self.services[job.service]
        if job.state == RUNNING:
            self._leave_worker(job)
            job.ends_attempt(turn.wall, error("cancelled", "cancelled"), turn.limits.attempts_kept_max)
        was_waiting = job.state == WAITING
        service.scheduled.pop(job.id, None)
        job.move("cancel")
        if was_waiting:
            service.left(job)
        turn.counters["jobs_cancelled"] += 1
        self._end(job, error("cancelled", "the job was cancelled"))
        if token is not None and session is not None:
            self.tell_cancelled(session, token, deadline)

    def tell_cancelled(self, session: Session, token: bytes, deadline: float) -> None:
        """CANCEL to a worker of ours, which then has `cancel_grace`; a foreign one knows no CANCEL
        and keeps the job until its FINAL or its ttr."""
        turn = self.turn
        if session.link.ours:
            session.cancelled = True
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
        job.session = None
        if session is not None and session.job is job:
            session.job = session.job_since_at = None
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
        if job.kind == STORED:
            changes = {
                "state": job.state,
                "nonce": None,
                "ended_at": job.ended_at,
                "failures": job.failures,
                "losses": job.losses,
                "result": job.result,
                "result_plain": job.result_plain,
                "error": job.error,
                "progress": job.progress,
                "progress_text": job.progress_text,
                "attempts": job.attempts,
                "partials_cut": job.partials_cut,
                "log_bytes": job.log_bytes,
                "log_cut": job.log_cut,
            }
            keep = job.keep if job.keep is not None else KEEP_S[job.state]
            size = 400 + size_of(job.result)
            self._write(FinishJob(job.id, changes, turn.wall + keep, size=size), job)
            self._forget_in[int((turn.wall + keep) // 60) + 1] += 1
        else:
            self.unfinished_memory_bytes -= job.body_bytes + JOB_BYTES
            self.kept.keep(job)
            callers, job.callers = job.callers, []
            for caller in callers:
                self.answers.ended(job, caller)
        self.answers.announce(job, job.last_write)
        self.answers.answer_waits(job)

    def take_final(self, job: Job, token: bytes) -> None:
        """A FINAL with the live token is taken: its repeat is no stale result."""
        job.final_token = token
        if job.kind == STORED:  # a memory job stays in memory itself
            self._taken[token] = None
            if len(self._taken) > TAKEN_TOKENS_MAX:
                self._taken.popitem(last=False)

    def taken(self, session: Session, token: bytes) -> None:
        """A FINAL was taken or refused: DONE follows when what its job has become is on disk."""
        job = self.stored.get(job_id_of(token) or "")
        if job is not None and job.last_write is not None:
            self.unconfirmed[token] = (job.last_write, session)
        elif not self.reassigned(session, token):
            self.confirm(session, token)

    def reassigned(self, session: Session, token: bytes) -> bool:
        """DONE for this token will go to this session; false if none is outstanding."""
        outstanding = self.unconfirmed.get(token)
        if outstanding is None:
            return False
        self.unconfirmed[token] = (outstanding[0], session)
        return True

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
            session.cancelled, session.drop_at = False, None
            session.service.ring[session] = None
            self.dispatch(session.service)

    def revive(self, job: Job, caller: Caller) -> None:
        """A dead letter waits again, when its commit has said that its unique key is free; then the
        caller is answered."""
        turn = self.turn
        job.move("revive")
        job.number = self.next_number()
        job.failures = job.losses = 0
        job.expires_at = job.expires_mono = job.error = job.ended_at = job.last_write = None
        job.ready_at = turn.wall
        service = self._service(job.service)
        job.rank = service.rank(job.ready_at, job.priority)
        self.stored.pop(job.id, None)
        self.inserting[job.id] = job
        job.callers = [caller]
        self._write(ReviveJob(job.id, {name: getattr(job, name) for name in _REVIVED}), job)

    def _service(self, name: str) -> Service:
        """The service of a job out of the store: it was known when the job was accepted."""
        service = self.services.get(name)
        if service is None:
            service = self.services[name] = Service(name)
            service.registered = True
        return service

    # ------------------------------------------------------------ what a running job says

    def partial(self, job: Job, body: tuple[bytes, ...], plain: bool) -> None:
        """A partial result: to those who wait, and into the record."""
        for caller in job.callers:
            self.answers.partial(job, caller, body, plain)
        limits, size = self.turn.limits, size_of(body)
        if len(job.partials) < limits.partials_max and job.partials_bytes + size <= limits.partials_bytes_max:
            if isinstance(job.partials, tuple):
                job.partials = []
            job.partials.append(body)
            job.partials_bytes += size
            self._write(AppendToJob(job.id, "partial", body, size=100 + size), job)
        else:
            job.partials_cut += 1
            self.turn.counters["partials_cut"] += 1

    def progress(self, job: Job, done: float | None, text: str | None) -> None:
        """How far it is; the last one per commit is written."""
        job.progress, job.progress_text = done, text
        if not job.progress_in_flight:
            self._write(UpdateJob(job.id, {"progress": done, "progress_text": text}), job)
            job.progress_in_flight = job.kind == STORED
        body = {"id": job.id, "service": job.service, "done": done, "text": text}
        self.turn.news(f"{job.service}.progress", body, job.last_write)

    def log(self, job: Job, line: str) -> None:
        """A captured log line, as long as `log_bytes_max` allows."""
        size = len(line.encode())
        if job.log_bytes + size > self.turn.limits.log_bytes_max:
            job.log_cut += size
            self.turn.counters["log_bytes_cut"] += size
            return
        job.log_bytes += size
        if isinstance(job.log, tuple):
            job.log = []
        job.log.append(line)
        self._write(AppendToJob(job.id, "log", line, size=100 + size), job)

    # ------------------------------------------------------------ writes

    def prune(self, rows_max: int) -> None:
        """Let the store forget ended jobs whose `keep` has passed, in steps of at most `rows_max`."""
        minute = int(self.turn.wall // 60)
        due = sum(count for at, count in self._forget_in.items() if at <= minute)
        if not due:
            return
        self.write(PruneJobs(self.turn.wall, rows_max))
        taken = min(due, rows_max)
        for at in sorted(at for at in self._forget_in if at <= minute):
            step = min(taken, self._forget_in[at])
            self._forget_in[at] -= step
            taken -= step
            if not self._forget_in[at]:
                del self._forget_in[at]

    def write(self, write: Write) -> None:
        """A write that no job in memory is changed by."""
        self._write(write, None)

    def _write(self, write: Write, job: Job | None) -> None:
        if job is not None:
            if job.kind == MEMORY:
                return
            job.last_write = write
        self.turn.writes.append(write)
        self._uncommitted.append((write, job))


_REVIVED = ("state", "failures", "losses", "expires_at", "error", "ended_at", "ready_at", "rank")


def error(code: str, text: str, **more: Any) -> Error:
    """ERROR of WIRE section 2."""
    return {"code": code, "error": text, **more}
