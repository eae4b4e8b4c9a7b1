"""zmws.lease, zmws.extend, zmws.report: a worker without a socket of its own (docs/protocol.md).

Rule 1: who asks for a lease takes a turn in the service's ring as a worker does, for as long as it waits.
Rule 2: the lease's id is the asker's own: a repeat gets the same job, as long as its token is live.
Rule 3: a lease has no heartbeats: its job is bounded by `ttr`, which `extend` moves; it keeps its token
        over a restart of the broker.
"""

from __future__ import annotations

import json
from typing import Any

from zmws.core.desk.questions import BadQuestion
from zmws.core.held import Held
from zmws.core.job import Job, leased
from zmws.core.lease import Lease
from zmws.core.life import Life
from zmws.core.question import Asker, Question
from zmws.core.reads import ReadJob
from zmws.core.results import Results
from zmws.core.rows import KeyRow, Rows, job_of
from zmws.core.states import COMPLETE
from zmws.core.table import ID_PATTERN
from zmws.core.timers import Reminder
from zmws.core.tokens import job_id_of, make_token
from zmws.core.turn import Turn
from zmws.errors import BadJson
from zmws.wire.messages import Log, Note, Partial, Peer, Progress, Report
from zmws.wire.values import frames_of, json_object
from zmws.wire.words import SAVE_BYTES_MAX, TEXT_MAX, failure_of, printable, saved_of


class Leases:
    """Those who wait for a job, and what those have who were given one."""

    def __init__(self, turn: Turn, held: Held, life: Life, results: Results) -> None:
        self.turn = turn
        self.held = held
        self.life = life
        self.results = results
        self._waiting: dict[str, Lease] = {}
        self._given: dict[str, bytes] = {}  # lease id -> token
        self._told: dict[str, tuple[Peer, Asker]] = {}  # lease id -> who was told of its job last
        self._waited = Reminder(self._on_waited, lambda lease, at: self._is_waiting(lease))

    # ------------------------------------------------------------ zmws.lease

    def lease(self, question: Question) -> None:
        """A job, when there is one within `wait` seconds; else 202."""
        asked, limits = question.asked, self.turn.limits
        name, lease_id, wait = asked["service"], asked["lease"], asked["wait"]
        ttr, service = asked.get("ttr", limits.lease_ttr_s), self.held.services.get(name)
        if service is None or not service.registered:
            return question.refuse(404, "unknown_service", f"no worker ever registered the service '{name}'")
        job = self.held.live(self._given.get(lease_id, b""))
        if job is not None and job.lease == lease_id:
            _, known = self._told.get(lease_id, (None, question.asker))
            if job.service != name or known != question.asker:
                return question.refuse(409, "id_conflict", f"the lease '{lease_id}' is another's")
            assert job.token is not None, job
            self._told[lease_id] = (question.caller.peer, question.asker)
            return question.answer(200, leased(job, self.turn.lead, self.turn.now), job.last_write)
        self._given.pop(lease_id, None)
        self._forget_dead()
        old = self._waiting.get(lease_id)
        if old is not None and old.asker != question.asker:
            return question.refuse(409, "id_conflict", f"the lease '{lease_id}' is another's")
        if old is not None and old.service == service.name:
            old.caller = question.caller  # a repeat keeps its turn, and waits no longer than the first did
            return None
        if old is not None:
            # The asker has turned to another service.
            old.leave_line()
            Question(self.turn, old.caller, "zmws.lease", {}).answer(202, {})
        elif len(self._waiting) >= limits.waits_max:
            return question.refuse(429, "too_many_waits", "too many requests wait already (waits_max)")
        until = self.turn.now + wait
        asker = question.asker
        lease = Lease(self.turn, question.caller, asker, lease_id, service.ring, ttr, until, self._on_given)
        self._waiting[lease_id] = lease
        lease.stand_in_line()
        self.turn.timers.add(until, self._waited, lease)
        return None

    def recover(self) -> None:
        """Leases of an earlier run go on, and whoever asks for one again gets the same job."""
        for job in self.held.stored.values():
            if job.lease is not None and job.token is not None:
                self._given[job.lease] = job.token

    def _on_given(self, lease: Lease, token: bytes) -> None:
        del self._waiting[lease.id]
        self._given[lease.id] = token
        self._told[lease.id] = (lease.caller.peer, lease.asker)

    def _on_waited(self, lease: Lease) -> None:
        """Its time to wait may be over."""
        if self._is_waiting(lease) and self.turn.now >= lease.until:
            del self._waiting[lease.id]
            lease.leave_line()
            Question(self.turn, lease.caller, "zmws.lease", {}).answer(202, {})

    def _is_waiting(self, lease: Lease) -> bool:
        return self._waiting.get(lease.id) is lease

    def undeliverable(self, peer: Peer, body: tuple[bytes, ...]) -> None:
        """The asker went away before its job reached it: no failure, and to the next."""
        said = json_object(body[1]) if body[0] == b"200" else None
        job = self.held.live(str((said or {}).get("token", "")).encode())
        # Not if the asker has come back meanwhile, and is told over another connection.
        if job is not None and job.lease is not None and self._told.get(job.lease, (peer, None))[0] == peer:
            self.life.give_back(job, "the answer could not be sent to who leased it")

    def end_of_key(self, row: KeyRow) -> None:
        """A key or token was revoked or changed: what was leased by it goes to others, and it waits for
        nothing."""
        for lease in [one for one in self._waiting.values() if one.asker.is_of(row)]:
            del self._waiting[lease.id]
            lease.leave_line()
        for lease_id in [one for one, (_, asker) in self._told.items() if asker.is_of(row)]:
            job = self.held.live(self._given.pop(lease_id, b""))
            if job is not None and job.lease == lease_id:
                self.life.give_back(job, "the key of who leased it was revoked or changed")

    def _forget_dead(self) -> None:
        if len(self._given) > 2 * len(self._waiting) + 1_000:
            self._given = {k: token for k, token in self._given.items() if self.held.live(token)}
            self._told = {k: told for k, told in self._told.items() if k in self._given}

    # ------------------------------------------------------------ zmws.extend, zmws.report

    def extend(self, question: Question) -> None:
        """The attempt may run `seconds` longer from now."""
        job = self._job(question)
        if job is None:
            return None
        self.life.extend(job, question.asked["seconds"])
        return question.answer(200, {}, job.last_write)

    def report(self, question: Question) -> None:
        """What the attempt says: how far it is, a part of its result, its end."""
        job = self._job(question)
        if job is None:
            return None
        told = report_in(question.asked)
        assignment, deadline = self.held.assignment_of(job), job.deadline_mono
        if isinstance(told, Report):
            assert job.token is not None, job
            self.results.take(job, told, job.token, question.caller.peer[2], question.asked.get("by"))
        elif told is not None:
            self.results.note(job, told)
        else:
            self.life.give_back(job, "it was released")
        if job.token is None and assignment is not None and assignment.taker is not None:
            # Any live token can be reported on: the worker's session that holds it is free of it.
            assignment.taker.drop(assignment, deadline)
        return question.answer(200, {}, job.last_write)

    def _job(self, question: Question) -> Job | None:
        """The running job whose live token is given; None if the question was answered, or will be."""
        token = question.asked["token"].encode()
        job, job_id = self.held.live(token), job_id_of(token) or ""
        if job is not None:
            return job
        if question.asked.get("kind") == "complete":
            if self.results.completed(token):
                holder = self.held.find(job_id)
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


def report_in(asked: dict[str, Any]) -> Report | Note | None:
    """What a question of zmws.report says of its job; None for `release`. Raises BadQuestion."""
    kind = asked["kind"]
    if kind == "progress":
        if "done" not in asked:
            raise BadQuestion("a report of progress needs 'done', a number from 0 to 1")
        text = asked.get("text")
        return Progress(asked["done"], printable(text, TEXT_MAX) if text else None)
    if kind == "partial":
        return Partial(_frames(asked, "value"))
    if kind == "log":
        if "text" not in asked:
            raise BadQuestion("a report of a log line needs 'text'")
        return Log(printable(asked["text"], len(asked["text"])))
    if kind == "save":
        if "value" not in asked:
            raise BadQuestion("a report of what is to be saved needs 'value'")
        saved = saved_of(json.dumps(asked["value"]).encode())
        if saved is None:
            raise BadQuestion(f"'value' must be JSON of at most {SAVE_BYTES_MAX} bytes")
        return saved
    if kind == "complete":
        jobs = asked.get("enqueue") or []
        if not isinstance(jobs, list):
            raise BadQuestion("'enqueue' must be a list of jobs, as zmws.submit takes them")
        return Report(False, _frames(asked, "result"), jobs=jobs)
    return failure_of(asked, "the job failed") if kind == "fail" else None


def _frames(asked: dict[str, Any], name: str) -> tuple[bytes, ...]:
    try:
        return frames_of(asked, name)
    except BadJson as wrong:
        raise BadQuestion(str(wrong)) from None
