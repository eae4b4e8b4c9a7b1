"""A job's life: an event moves it, is written, counted and announced (docs/architecture.md; job.py has the
table).

Rule 1: a stored job is queued when its insert is committed; its acknowledgement and its first
        dispatch both come out of that. A memory job is queued at once and touches no store.
Rule 2: whatever is said of a stored job waits for the job's last write (`Job.last_write`).
Rule 3: a job is final for every later command from the moment it is decided here; a stored one stays
        in memory until its finish is committed.
Rule 4: what may let a job start wakes its service. Nothing is dispatched here (dispatch.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zmws.core.backlog import Backlog
from zmws.core.follow_ups import FollowUps
from zmws.core.forgetting import JOB_BYTES, Expiry, Kept, Prune
from zmws.core.held import Held
from zmws.core.job import MEMORY, STORED, Job
from zmws.core.keys import Keys
from zmws.core.lane import NEITHER
from zmws.core.options import BACKOFF_S_MAX, KEEP_S
from zmws.core.rows import Rows, size_of
from zmws.core.service import Service
from zmws.core.states import CANCELLED, COMPLETE, FAILED, RUNNING, SCHEDULED, WAITING
from zmws.core.taker import Assignment, Taker
from zmws.core.timers import Reminder
from zmws.core.tokens import make_token
from zmws.core.turn import Turn
from zmws.core.watchers import Watchers
from zmws.core.writes import NEW, FinishJob, FinishMember, ReviveJob, Told, UpdateJob, Verdict

Error = dict[str, Any]
REPORTED, TTR, LOST = "reported", "ttr", "lost"  # why an attempt failed


class Life:
    """What happens to jobs."""

    def __init__(self, turn: Turn, held: Held, watchers: Watchers, follow_ups: FollowUps, keys: Keys) -> None:
        self.turn = turn
        self.held = held
        self.watchers = watchers
        self.follow_ups = follow_ups
        self._keys = keys
        self.backlog = Backlog(turn, held.services, held.stored, self._take_in)
        self.kept = Kept(turn, held)
        self.prune = Prune(turn, held)
        self.expiry = Expiry(turn, held, Reminder(lambda _: self._expire_late(), self._is_next_expiry))
        self._due = Reminder(self._on_due, self._is_due)
        self._lease_over = Reminder(self._on_lease_over, self._is_lease_over)

    # ------------------------------------------------------------ a new job

    def accept_memory(self, job: Job) -> None:
        """A memory job is accepted and queued at once."""
        held = self.held
        held.unfinished_memory_bytes += job.body_bytes + JOB_BYTES
        held.memory[job.id] = job
        if job.submitter is not None:
            self._keys.moved(job.submitter, 1)
        service = held.services[job.service]
        service.figures.submitted += 1
        if not job.sync:
            callers, job.callers = job.callers, []
            for caller in callers:
                self.watchers.accepted(job, caller, existing=False)
        self._queue(service, job)

    def stored(self, job: Job) -> None:
        """Its insert is on disk: from here on it can be lost no more, and waits to be started."""
        self.held.stored[job.id] = job
        service = self.held.services[job.service]
        service.figures.submitted += 1
        self.watchers.announce(job, None)
        if job.state == SCHEDULED:
            self._schedule(service, job)
        elif job.state == WAITING:  # else it has ended in the commit that made it
            self.backlog.arrived(service, job)
            self.turn.wake(service.name)

    def settled(self, job: Job) -> None:
        """All that was written of a job is on disk."""
        if job.state == RUNNING:
            assignment = self.held.assignment_of(job)
            taker = assignment.taker if assignment is not None and assignment.unsent else None
            if assignment is not None and taker is not None and not taker.send_late(assignment, job):
                self.take_back(job)
        elif job.state in (WAITING, SCHEDULED):
            self.backlog.settled(job)

    def finished(self, job: Job) -> None:
        """Its end is on disk: memory lets go of it."""
        if self.held.stored.get(job.id) is job:
            del self.held.stored[job.id]

    # ------------------------------------------------------------ waiting

    def _queue(self, service: Service, job: Job) -> None:
        if job.state == SCHEDULED:
            self._schedule(service, job)
            self.watchers.announce(job, job.last_write)
            return
        if job.kind == STORED:
            self.backlog.arrived(service, job)
        else:
            service.push(job)
            self.expiry.watch(job)
        self.watchers.announce(job, job.last_write)
        self.turn.wake(service.name)

    def _take_in(self, service: Service, job: Job) -> None:
        """A stored job that is not running has come into memory: watch its times."""
        if job.state == SCHEDULED:
            timers = self.turn.wall_timers if job.by_wall else self.turn.steady_timers
            timers.add(job.ready_at, self._due, job.id)  # not the job: it may be let go before
        self.expiry.watch(job)

    def _schedule(self, service: Service, job: Job) -> None:
        if job.kind == MEMORY:
            service.scheduled[job.id] = job
        elif not self.backlog.scheduled(service, job):
            return
        self._take_in(service, job)

    def _is_due(self, job_id: str, at: float) -> bool:
        known = (self.held.memory.get(job_id), self.held.stored.get(job_id))
        return any(job is not None and job.state == SCHEDULED and job.ready_at == at for job in known)

    def _on_due(self, job_id: str) -> None:
        """A scheduled job's time has come."""
        for job in (self.held.memory.get(job_id), self.held.stored.get(job_id)):
            if job is None or job.state != SCHEDULED:
                continue
            if (self.turn.wall if job.by_wall else self.turn.steady) < job.ready_at:
                continue
            service = self.held.services[job.service]
            if self.backlog.no_longer_scheduled(service, job):
                job.move("due", self.turn.wall)
                changes = {"state": WAITING, **_events_of(job)}
                if job.by_wall:
                    # From here on it stands among the others, whose order goes by the steady clock.
                    job.ready_at, job.by_wall = self.turn.steady, False
                    job.rank = service.rank(job.ready_at, job.priority)
                    changes |= {"ready_at": job.ready_at, "by_wall": False, "rank": job.rank}
                self.turn.write(UpdateJob(job.id, changes), job)
                self._queue(service, job)

    # ------------------------------------------------------------ expiring

    def _is_next_expiry(self, _: None, at: float) -> bool:
        return self.expiry.next_at() == at

    def _expire_late(self) -> None:
        for job in self.expiry.late():
            self.expire_if_late(job)

    def expire_loaded(self, found: Rows) -> None:
        """End what has expired in the store alone."""
        for job in self.backlog.expired_loaded(found):
            self.expire_if_late(job, in_queue=False)

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
        self.held.drop_if_unused(self.held.services[job.service])
        return True

    def _leave_queue(self, job: Job, was: str, in_queue: bool) -> None:
        """A job that was waiting or scheduled has ended. `in_queue`: it has not been taken out."""
        service = self.held.services[job.service]
        if was == SCHEDULED:
            self.backlog.no_longer_scheduled(service, job)
        elif was == WAITING:
            if in_queue:
                service.left(job)
                self.backlog.want(service, job.group)
            # Perhaps nothing waits any more, or there is nothing to keep a worker free for.
            self.turn.wake(service.name)

    # ------------------------------------------------------------ starting

    def start(self, service: Service, job: Job, taker: Taker) -> None:
        """A waiting job that was taken out of its queue is given to a taker. A REQUEST does not wait for the
        write of this: a crash in between runs the job again, fenced by its token. (That of a job that may run
        only once does.)"""
        turn = self.turn
        job.attempt += 1
        job.nonce = turn.suppliers.nonce()
        assignment = self.run(service, job, taker, make_token(job.id, job.attempt, job.nonce))
        ttr_s = job.ttr if taker.ttr_s is None else taker.ttr_s
        job.deadline_mono = turn.now + ttr_s
        if taker.lease_id is not None:
            job.lease, job.deadline_at = taker.lease_id, turn.wall + ttr_s
        if job.kind == STORED:
            names = STARTED if job.lease is None else (*STARTED, "lease", "deadline_at")
            job.lease_written = job.lease is not None
            turn.write(UpdateJob(job.id, {name: getattr(job, name) for name in names}), job)
        taker.give(assignment, job)
        self.bound(job, assignment)
        self.watchers.announce(job, job.last_write)

    def run(self, service: Service, job: Job, taker: Taker, token: bytes) -> Assignment:
        """It runs under this token from now on."""
        turn, figures = self.turn, service.figures
        figures.started += 1
        waited = turn.wall - job.states[-1][1]
        if waited > turn.steady - job.ready_at:
            waited = turn.steady - job.ready_at  # the wall was stepped: it cannot have been more
        figures.wait.note(waited)
        job.move("dispatch", turn.wall)
        job.token, job.started_at = token, turn.wall
        job.worker, job.worker_ours = taker.name, taker.ours
        service.started(job, turn.now)
        assignment = Assignment(token, service.name, job, taker, turn.wall, alone=job.suspect)
        assignment.begun = turn.now
        assignment.expected_s = service.run_time.expected_s
        self.held.assignments[token] = assignment
        return assignment

    # ------------------------------------------------------------ an attempt ends

    def complete(
        self, job: Job, result: tuple[bytes, ...], plain: bool, asked_for: Sequence[Job] = ()
    ) -> None:
        """The attempt is done. `asked_for`: the jobs that are to follow."""
        job.result, job.result_plain = result, plain
        self._attempt_over(job, None, COMPLETE)
        job.move("complete", self.turn.wall)
        self._end(job, None, asked_for)

    def fail(
        self,
        job: Job,
        why: Error,
        cause: str,
        retry: bool = True,
        delay_s: float | None = None,
        count: bool = True,
    ) -> None:
        """The attempt failed. `cause`: reported (by the worker), ttr (passed), lost (its worker was).
        `count`: it counts against `retries`.

        A failure that work() reports on a synchronous call, and a passed ttr, go to the caller at
        once; a lost worker's call is given to another (docs/options.md).
        """
        turn = self.turn
        job.failures += count
        job.losses += cause == LOST
        self.held.services[job.service].figures.attempts_failed += 1
        turn.counters[f"attempts_{cause}"] += 1
        self._attempt_over(job, why, NEITHER if cause == LOST else FAILED)
        if not retry or job.failures > job.retries or (job.sync and cause != LOST):
            job.move("exhaust", turn.wall)
            self._end(job, why)
            return
        if cause == LOST and job.losses == 1:
            # It keeps its rank, and so stands at the head of its group.
            job.move("give_back", turn.wall)
        else:
            job.move("back_off", turn.wall)
            job.ready_at = turn.steady + (self._backoff_s(job) if delay_s is None else delay_s)
            job.rank = self.held.services[job.service].rank(job.ready_at, job.priority)
        changes = {
            "state": job.state,
            "ready_at": job.ready_at,
            "rank": job.rank,
            "failures": job.failures,
            "losses": job.losses,
            **_attempt_changes(job),
        }
        turn.write(UpdateJob(job.id, changes), job)
        self._queue(self.held.services[job.service], job)

    def give_back(self, job: Job, why: str) -> None:
        """An attempt ends without a failure: it waits again, at the head of its group."""
        self._attempt_over(job, error("given_back", why), NEITHER)
        self.turn.counters["given_back"] += 1
        job.move("give_back", self.turn.wall)
        self.turn.write(UpdateJob(job.id, {"state": WAITING, **_attempt_changes(job)}), job)
        self._queue(self.held.services[job.service], job)

    def take_back(self, job: Job) -> None:
        """A dispatch that was never begun is as if it had not been: it counts nowhere, and nothing of it is
        in `attempts`. (Its events stay, for their numbers only rise; the next token has another nonce.)"""
        service, before = self.held.services[job.service], job.attempts[-1] if job.attempts else {}
        self._leave_taker(job)
        job.attempt -= 1
        job.token = None
        job.worker, job.started_at = before.get("worker"), before.get("started_at")
        service.not_started()
        job.move("give_back", self.turn.wall)
        changes = {"state": WAITING, "attempt": job.attempt, "worker": job.worker}
        changes |= {"started_at": job.started_at, **_attempt_changes(job)}
        self.turn.write(UpdateJob(job.id, changes), job)
        self._queue(service, job)

    def cancel(self, job: Job, in_queue: bool = True) -> None:
        """Final at once. A running attempt's token is dead, and its worker is told. `in_queue`: it was
        not taken out of the store alone just now."""
        turn, was, deadline = self.turn, job.state, job.deadline_mono
        assignment = self.held.assignment_of(job)
        if was == RUNNING:
            self._attempt_over(job, error("cancelled", "cancelled"), NEITHER)
        job.move("cancel", turn.wall)
        self._leave_queue(job, was, in_queue)
        turn.counters["jobs_cancelled"] += 1
        self._end(job, error("cancelled", "the job was cancelled"))
        if assignment is not None and assignment.taker is not None:
            assignment.taker.drop(assignment, deadline)

    def run_out(self, job: Job, why: str) -> None:
        """Its time has passed: the attempt failed, and whoever runs it is told."""
        assignment, deadline = self.held.assignment_of(job), job.deadline_mono
        self.fail(job, error("timeout", why), TTR)
        if assignment is not None and assignment.taker is not None:
            assignment.taker.drop(assignment, deadline)

    def _attempt_over(self, job: Job, why: Error | None, how: str) -> None:
        """The attempt is over as far as the job is concerned; what its taker holds is the taker's own. `how`:
        COMPLETE, FAILED or NEITHER, as its worker's lane has it."""
        turn, assignment = self.turn, self._leave_taker(job)
        if not assignment.ahead and job.started_at is not None:
            figures, begun = self.held.services[job.service].figures, assignment.begun
            ran_s = turn.wall - job.started_at if begun is None else turn.now - begun
            figures.ran += 1
            figures.run.note(ran_s)
            taker = assignment.taker
            if taker is not None and taker.lane is not None:
                taker.lane.ended(turn.steady, ran_s, job.service, job.id, how)
        job.ends_attempt(turn.wall, why, turn.limits.attempts_kept_max)

    def _leave_taker(self, job: Job) -> Assignment:
        service = self.held.services[job.service]
        service.running.pop(job.id, None)
        assert job.token is not None, job
        assignment = self.held.assignments.pop(job.token)
        assignment.job = None  # its token is live no more
        self.watchers.attempt_over(job.token)
        job.lease = job.deadline_at = None
        if service.options.max_running is not None:
            self.turn.wake(service.name)
        return assignment

    def _backoff_s(self, job: Job) -> float:
        # Retry n counts from 0. The jitter spreads a crowd that failed together: 0.75 to 1.25.
        doubled = job.backoff * 2.0 ** min(max(job.failures - 1, 0), 60)
        return min(doubled, BACKOFF_S_MAX) * (0.75 + 0.5 * self.turn.suppliers.jitter())

    def extend(self, job: Job, seconds: float) -> None:
        """The attempt may run `seconds` longer from now, also if the broker is restarted meanwhile."""
        turn = self.turn
        job.deadline_mono, job.deadline_at = turn.now + seconds, turn.wall + seconds
        turn.write(UpdateJob(job.id, {"deadline_at": job.deadline_at}), job)
        job.lease_written = True
        assignment = self.held.assignment_of(job)
        if assignment is not None:
            self.bound(job, assignment)

    def bound(self, job: Job, assignment: Assignment) -> None:
        """Be reminded of the end of its time: a session looks after itself, a lease has no heartbeats."""
        if job.lease is not None:
            self.turn.timers.add(job.deadline_mono, self._lease_over, assignment.token)
        elif assignment.taker is not None:
            assignment.taker.ends_by(job.deadline_mono)

    def _is_lease_over(self, token: bytes, at: float) -> bool:
        job = self.held.live(token)
        return job is not None and job.lease is not None and job.deadline_mono == at

    def _on_lease_over(self, token: bytes) -> None:
        """Whoever leased it had `ttr` to report, unless that was extended."""
        job = self.held.live(token)
        if job is not None and job.lease is not None and self.turn.now >= job.deadline_mono:
            self.run_out(job, "the lease ran past its ttr")

    # ------------------------------------------------------------ a job ends

    def _end(self, job: Job, why: Error | None, asked_for: Sequence[Job] = (), unit: bool = False) -> None:
        """`unit`: one with the write before it."""
        turn, held = self.turn, self.held
        job.ended_at = turn.wall
        if why is not None:
            job.error = {**why, "attempts": job.attempt}
        if job.submitter is not None:
            self._keys.moved(job.submitter, -1)
        held.history.append((job.id, job.service, job.state, turn.wall, job.attempt))
        service = held.services[job.service]
        figures, state = service.figures, job.state
        if state == COMPLETE:
            figures.complete += 1
        elif state == FAILED:
            figures.failed += 1
        elif state == CANCELLED:
            figures.cancelled += 1
        else:
            figures.expired += 1
        if job.kind == STORED:
            self._finish(job, service, unit)
            self._follow(job, asked_for)
        else:
            self._follow(job, asked_for)
            held.unfinished_memory_bytes -= job.body_bytes + JOB_BYTES
            self.kept.keep(job)
            service.calls_complete += job.state == COMPLETE
            service.calls_failed += job.state == FAILED
            callers, job.callers = job.callers, []
            for caller in callers:
                self.watchers.ended(job, caller)
        self.watchers.announce(job, job.last_write)
        self.watchers.answer_waits(job)

    def _follow(self, job: Job, asked_for: Sequence[Job]) -> None:
        """Write what follows from its end. An answer about a memory job waits for that."""
        told = self.follow_ups.told(job) if job.on_complete or job.on_failed else None
        for child in asked_for if told is None else (*asked_for, told):
            self._insert(child, job)
        found = self.follow_ups.next_step(job) if job.rest is not None else None
        if found is not None:
            step, why = found
            self._insert(step, job)
            if why is not None:
                step.move("reject", self.turn.wall)
                self._end(step, why, unit=True)

    def _insert(self, child: Job, job: Job) -> None:
        write = self.follow_ups.insert(child, job)
        if job.kind == MEMORY:
            job.last_write = write

    def _finish(self, job: Job, service: Service, unit: bool) -> None:
        changes = {"state": job.state, "ended_at": job.ended_at, **_attempt_changes(job)}
        # What is as a new job has it is not written again.
        changes |= {name: value for name in _ENDED if (value := getattr(job, name))}
        if job.state == COMPLETE and job.saved is not None:
            job.saved = changes["saved"] = None  # no attempt follows that could need it
        if job.state == COMPLETE:
            del changes["nonce"]  # by it a repeated report is known, also after a restart
            if job.rest is not None:
                changes["rest"] = None  # the next step has it
        turn = self.turn
        forget_at = turn.steady + (job.keep if job.keep is not None else KEEP_S[job.state])
        size = 400 + size_of(job.result)
        write = FinishJob(job.id, changes, job.service, forget_at, size=size, unit=unit)
        if job.batch is not None:
            number, times = self.held.next_number(), (turn.wall, turn.steady)
            spare_id = turn.suppliers.new_id()
            given = (job.id, changes, job.service, forget_at, job.batch, number, *times, spare_id)
            write = FinishMember(*given, size=size, unit=unit)
        turn.write(write, job)
        service.ended[job.state] += 1
        self.prune.ended(forget_at)

    def revive(self, job: Job, told: Told) -> None:
        """A job (light) that failed, expired or was cancelled waits again, when its commit has said that its
        unique key is free. `told` is called with the verdict."""
        turn, held, was = self.turn, self.held, job.state
        job.move("revive", turn.wall)
        job.failures = job.losses = 0
        job.ready_at, job.by_wall = turn.steady, False
        service = held.service_of(job.service)
        job.rank = service.rank(job.ready_at, job.priority)
        held.reviving.add(job.id)

        def revived(verdict: Verdict) -> None:
            held.reviving.discard(job.id)
            if verdict.verdict == NEW:
                service.ended[was] -= 1
                if job.submitter is not None:
                    self._keys.moved(job.submitter, 1)
                if not service.registered:  # an operator had forgotten it
                    service.registered = True
                    held.remember(service, None)
                self.watchers.announce(job, None)
                self.backlog.revived(service, job)
            told(verdict)

        changes = {name: getattr(job, name) for name in _REVIVED}
        turn.write_for(ReviveJob(job.id, changes | dict.fromkeys(_CLEARED)), revived)


# What is written when: the start, the end and the revival of a job.
STARTED = ("state", "attempt", "nonce", "started_at", "worker", "worker_ours", "events", "states")
_COUNTED = ("partials_count", "partials_cut", "log_bytes", "log_cut")
_ENDED = (
    *("failures", "losses", "result", "result_plain", "error"),
    *("progress", "progress_text", "progress_at", "progress_n"),
)
_REVIVED = ("state", "failures", "losses", "ready_at", "by_wall", "rank", "events", "states")
_CLEARED = ("expires_at", "error", "ended_at", "nonce", "cause")


def _why_expired(job: Job) -> str:
    """A synchronous call that lost its worker waits for another, and expires meanwhile."""
    if not job.attempt:
        return f"no worker of {job.service} began it in time"
    ended = job.attempts[-1].get("error", {}).get("error", "")
    return f"attempt {job.attempt} ended ({ended}), and no worker of {job.service} began another in time"


def _events_of(job: Job) -> dict[str, Any]:
    return {"events": job.events, "states": job.states}


def _attempt_changes(job: Job) -> dict[str, Any]:
    """What is written when an attempt is over."""
    changes = {"nonce": None, "attempts": job.attempts, **_events_of(job)}
    changes |= {name: value for name in _COUNTED if (value := getattr(job, name))}
    if job.saved_written is not None:
        changes["saved"] = job.saved  # there may be more than what is on its way
    if job.lease_written:
        job.lease_written = False
        changes |= {"lease": None, "deadline_at": None}
    return changes


def error(code: str, text: str) -> Error:
    """ERROR of docs/errors.md."""
    return {"code": code, "error": text}
