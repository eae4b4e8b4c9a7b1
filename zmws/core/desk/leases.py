"""zmws.lease, zmws.extend, zmws.report: a worker without a socket of its own (docs/protocol.md).

Rule 1: who asks for a lease takes a turn in the service's ring as a worker does, for as long as it waits.
Rule 2: the lease's id is the asker's own: a repeat gets the same job, as long as its token is live.
Rule 3: a lease has no heartbeats: its job is bounded by `ttr`, which `extend` moves; it keeps its token
        over a restart of the broker.
"""

from __future__ import annotations

from typing import Any

from zmws.core.desk.question import Question
from zmws.core.desk.questions import REPORTS, BadQuestion
from zmws.core.job import COMPLETE, Caller, Job, job_id_of, leased, make_token
from zmws.core.jobs import Jobs, error
from zmws.core.service import Service
from zmws.core.table import ID_PATTERN
from zmws.core.turn import Turn
from zmws.core.writes import ReadJob, Rows, job_of
from zmws.errors import BadJson
from zmws.wire.values import frames_of, json_object

TEXT_MAX = 1_000  # characters of a progress text
ERROR_TEXT_MAX = 20_000  # characters of each text of an ERROR


class Lease:
    """One asker in the ring of a service."""

    blocked_until = 0.0  # it can always be given a job
    free = True

    def __init__(self, leases: Leases, caller: Caller, lease_id: str, service: Service, ttr_s: float) -> None:
        self._leases = leases
        self.caller = caller
        self.id = lease_id
        self.worker = f"lease:{lease_id}"
        self.service = service
        self.ttr_s = ttr_s
        self.until = 0.0  # monotonic: how long it waits

    def gave(self, job: Job, token: bytes) -> None:
        """It was given a job."""
        self._leases.given(self, token)


class Leases:
    """Those who wait for a job, and what those have who were given one."""

    def __init__(self, turn: Turn, jobs: Jobs) -> None:
        self.turn = turn
        self.jobs = jobs
        self._waiting: dict[str, Lease] = {}
        self._given: dict[str, bytes] = {}  # lease id -> token

    # ------------------------------------------------------------ zmws.lease

    def lease(self, question: Question) -> None:
        """A job, when there is one within `wait` seconds; else 202."""
        asked, limits = question.asked, self.turn.limits
        name, lease_id, wait = asked["service"], asked["lease"], asked["wait"]
        ttr, service = asked.get("ttr", limits.lease_ttr_s), self.jobs.services.get(name)
        if service is None or not service.registered:
            return question.refuse(404, "unknown_service", f"no worker ever registered the service '{name}'")
        job = self.jobs.live(self._given.get(lease_id, b""))
        if job is not None and job.lease == lease_id:
            assert job.token is not None, job
            return question.answer(200, leased(job, self.turn.lead), job.last_write)
        self._given.pop(lease_id, None)
        self._forget_dead()
        old = self._waiting.get(lease_id)
        if old is not None and old.service is service:
            old.caller = question.caller  # a repeat keeps its turn, and waits no longer than the first did
            return None
        if old is not None:
            # The asker has turned to another service.
            old.service.ring.pop(old, None)
            Question(self.turn, old.caller, "zmws.lease", {}).answer(202, {})
        elif len(self._waiting) >= limits.waits_max:
            return question.refuse(429, "too_many_waits", "too many requests wait already (waits_max)")
        lease = Lease(self, question.caller, lease_id, service, ttr)
        lease.until = self.turn.now + wait
        self._waiting[lease_id] = lease
        service.ring[lease] = None
        self.jobs.dispatch(service)
        if self.is_waiting(lease):
            self.turn.timers.add(lease.until, "lease_wait", lease)
        return None

    def recover(self) -> None:
        """Leases of an earlier run go on, and whoever asks for one again gets the same job."""
        for job in self.jobs.stored.values():
            if job.lease is not None and job.token is not None:
                self._given[job.lease] = job.token

    def given(self, lease: Lease, token: bytes) -> None:
        """A job was dispatched to it."""
        del self._waiting[lease.id]
        self._given[lease.id] = token

    def waited(self, lease: Lease) -> None:
        """Its time to wait may be over."""
        if self.is_waiting(lease) and self.turn.now >= lease.until:
            del self._waiting[lease.id]
            lease.service.ring.pop(lease, None)
            Question(self.turn, lease.caller, "zmws.lease", {}).answer(202, {})

    def is_waiting(self, lease: Lease) -> bool:
        """Whether it still waits for a job."""
        return self._waiting.get(lease.id) is lease

    def undeliverable(self, body: tuple[bytes, ...]) -> None:
        """The asker went away before its job reached it: no failure, and to the next."""
        said = json_object(body[1]) if body[0] == b"200" else None
        job = self.jobs.live(str((said or {}).get("token", "")).encode())
        if job is not None and job.lease is not None:
            self.jobs.give_back(job, "the answer could not be sent to who leased it")

    def _forget_dead(self) -> None:
        if len(self._given) > 2 * len(self._waiting) + 1_000:
            self._given = {k: token for k, token in self._given.items() if self.jobs.live(token)}

    # ------------------------------------------------------------ zmws.extend, zmws.report

    def extend(self, question: Question) -> None:
        """The attempt may run `seconds` longer from now."""
        job = self._job(question)
        if job is None:
            return None
        self.jobs.extend(job, question.asked["seconds"])
        return question.answer(200, {}, job.last_write)

    def report(self, question: Question) -> None:
        """What the attempt says: how far it is, a part of its result, its end."""
        job = self._job(question)
        if job is None:
            return None
        _KINDS[question.asked["kind"]](self, job, question.asked)
        return question.answer(200, {}, job.last_write)

    def _job(self, question: Question) -> Job | None:
        """The running job whose live token is given; None if the question was answered, or will be."""
        token = question.asked["token"].encode()
        job, job_id = self.jobs.live(token), job_id_of(token) or ""
        if job is not None:
            return job
        if question.asked.get("kind") == "complete":
            if self.jobs.was_taken(token):
                holder = self.jobs.find(job_id)
                question.answer(200, {}, holder.last_write if holder is not None else None)
                return None
            if ID_PATTERN.match(job_id):
                # Taken before a restart, perhaps: the record tells.
                self.turn.reads.append(ReadJob(question, job_id, whole=False))
                return None
        self._dead(question)
        return None

    def loaded(self, question: Question, rows: Rows) -> None:
        """The record of a job whose token is dead: did this token complete it?"""
        job = job_of(rows.rows[0]) if rows.rows else None
        if job is None or job.state != COMPLETE or job.nonce is None:
            return self._dead(question)
        token = make_token(job.id, job.attempt, job.nonce).decode()
        return question.answer(200, {}) if token == question.asked["token"] else self._dead(question)

    def _dead(self, question: Question) -> None:
        self.turn.counters["reports_refused"] += 1
        question.refuse(409, "token_dead", "this token is no longer live: the attempt is over")

    # ------------------------------------------------------------ the kinds of a report

    def _progress(self, job: Job, asked: dict[str, Any]) -> None:
        if "done" not in asked:
            raise BadQuestion("a report of progress needs 'done', a number from 0 to 1")
        text = asked.get("text")
        self.jobs.progress.progress(job, asked["done"], _printable(text, TEXT_MAX) if text else None)

    def _partial(self, job: Job, asked: dict[str, Any]) -> None:
        self.jobs.progress.partial(job, _frames(asked, "value"), plain=True)

    def _log(self, job: Job, asked: dict[str, Any]) -> None:
        if "text" not in asked:
            raise BadQuestion("a report of a log line needs 'text'")
        self.jobs.progress.log(job, _printable(asked["text"], len(asked["text"])))

    def _complete(self, job: Job, asked: dict[str, Any]) -> None:
        token = job.token
        assert token is not None, job
        frames = _frames(asked, "result")
        self._left(job)
        self.jobs.complete(job, token, frames, plain=True)

    def _fail(self, job: Job, asked: dict[str, Any]) -> None:
        why = error("job_failed", "the job failed")
        for name in ("code", "error", "type", "traceback"):
            if name in asked:
                why[name] = _printable(asked[name], ERROR_TEXT_MAX)
        self._left(job)
        self.jobs.attempt_failed(job, why, "reported", asked["retry"], asked.get("delay"))

    def _release(self, job: Job, asked: dict[str, Any]) -> None:
        self._left(job)
        self.jobs.give_back(job, "it was released")

    def _left(self, job: Job) -> None:
        """A worker's session holds the job: it is free of it. (Any live token can be reported on.)"""
        if job.session is not None and job.token is not None:
            session = job.session
            self.jobs.tell_cancelled(session, job.token, job.deadline_mono)


_KINDS = {
    "progress": Leases._progress,
    "partial": Leases._partial,
    "log": Leases._log,
    "complete": Leases._complete,
    "fail": Leases._fail,
    "release": Leases._release,
}
assert tuple(_KINDS) == REPORTS


def _frames(asked: dict[str, Any], name: str) -> tuple[bytes, ...]:
    try:
        return frames_of(asked, name)
    except BadJson as wrong:
        raise BadQuestion(str(wrong)) from None


def _printable(text: str, most: int) -> str:
    # A lone surrogate passes JSON, and could be neither stored nor sent.
    return text[:most].encode("utf-8", "replace").decode()
