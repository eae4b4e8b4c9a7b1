"""What an operator does to jobs, services and workers: zmws.cancel, retry, delete, purge, pause, resume,
limit, forget, drain.

Rule 1: a job is acted on as it is now: as it is in memory if it is there, else as its record says, which
        is read in order with the writes.
Rule 2: a filter works in chunks, each a commit, and touches no job that came after it.
Rule 3: what the commit decides (whether the unique key of a job to be revived is free) is counted and
        answered when it has decided.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

from zmws.core.desk.service_rows import version_of, whole_row
from zmws.core.held import Held
from zmws.core.host import Host
from zmws.core.job import MEMORY, Job, Pending
from zmws.core.life import Life, error
from zmws.core.options import LIMITS
from zmws.core.question import FILTER_KEYS, Question, known_service
from zmws.core.reads import Filter, ReadJob, ReadMatching
from zmws.core.roster import Roster
from zmws.core.rows import Rows, job_of
from zmws.core.series import Series
from zmws.core.service import Service
from zmws.core.states import FAILED, FINAL_STATES, REVIVABLE, RUNNING, SCHEDULED, STATES, WAITING
from zmws.core.turn import Turn
from zmws.core.writes import DELETED, NEW, UNIQUE_CONFLICT, DeleteJob, Verdict
from zmws.wire.messages import Failed

CHUNK_ROWS = 250
UNFINISHED = (SCHEDULED, WAITING, RUNNING)


@dataclass(slots=True)
class Operation:
    """One request on its way. `one`: it names a job, and answers why it could not be done."""

    question: Question
    verb: str  # cancel, retry or delete
    states: tuple[str, ...]  # that it can be done in
    one: bool = False
    dry: bool = False  # it only counts, and touches nothing
    where: Filter = field(default_factory=Filter)
    last: int = 0  # the highest number there was when it came
    count: int = 0
    passed_over: int = 0  # that could not be done after all: a unique key is taken, a record is gone
    pending: int = 0  # verdicts that are not in yet
    grown: bool = False  # of a chain or a batch: a job ended meanwhile, and may have made another
    read_all: bool = False
    after: Pending | None = None  # its last write


class Operations:
    """Operators' verbs."""

    def __init__(
        self, turn: Turn, held: Held, life: Life, roster: Roster, series: Series, host: Host
    ) -> None:
        self.turn = turn
        self.series = series
        self.host = host
        self.held = held
        self.life = life
        self.roster = roster
        self._act: dict[str, Callable[[Operation, Job, bool], None]] = {
            "cancel": self._cancel,
            "retry": self._retry,
            "delete": self._delete,
        }

    # ------------------------------------------------------------ jobs

    def cancel(self, question: Question) -> None:
        """End jobs that have not ended."""
        self._begin(question, "cancel", UNFINISHED)

    def retry(self, question: Question) -> None:
        """Let jobs wait again that have ended without a result; of a filter the dead letters alone, unless it
        says another state: nobody who retries what has failed means what was cancelled on purpose."""
        by_filter = "id" not in question.asked and question.filter().state is None
        self._begin(question, "retry", (FAILED,) if by_filter else REVIVABLE)

    def delete(self, question: Question) -> None:
        """Forget ended jobs now."""
        self._begin(question, "delete", tuple(state for state in STATES if state in FINAL_STATES))

    def purge(self, question: Question) -> None:
        """Cancel all that waits or is scheduled for a service."""
        service = known_service(self.held, question)
        if service is None:
            return
        operation = Operation(question, "cancel", (SCHEDULED, WAITING), where=Filter(service=service.name))
        operation.count += self._cancel_overflow(service)
        for job in [*service.waiting(), *service.scheduled.values()]:
            if job.kind == MEMORY:
                self.life.cancel(job)
                operation.count += 1
        self._read_on(operation, 0)

    def _cancel_overflow(self, service: Service) -> int:
        """Answer all requests that wait to be jobs of a service; how many they were."""
        overflow = self.held.overflow
        count = overflow.count_of(service.name)
        why = json.dumps(error("cancelled", "the job was cancelled")).encode()
        for _ in range(count):
            peer, (_, reply_to, _, _) = overflow.take(service.name)
            self.turn.send(peer, Failed(service.name, None, why, True, reply_to))
        return count

    def _begin(self, question: Question, verb: str, states: tuple[str, ...]) -> None:
        asked = question.asked
        if "id" in asked:
            dry = bool(asked.get("dry_run"))
            return self._one(Operation(question, verb, states, one=True, dry=dry), asked["id"])
        if not asked.get("all") and not any(key in asked for key in FILTER_KEYS):
            keys = ", ".join(FILTER_KEYS)
            text = f"{question.service} needs 'id', or a filter ({keys}), or {{\"all\": true}} for every job"
            return question.refuse(400, "bad_request", text)
        where = question.filter()
        if where.state is not None and where.state not in states:
            text = f"{verb} is for jobs in state {' or '.join(states)}, not {where.state}"
            return question.refuse(400, "bad_request", text)
        dry = bool(asked.get("dry_run"))
        return self._read_on(Operation(question, verb, states, where=where, dry=dry), 0)

    def _one(self, operation: Operation, job_id: str) -> None:
        job = self.held.find(job_id)
        if job is None or (job.final and job.kind != MEMORY):
            # Not here, or on its way to the store: read in order with the writes.
            self.turn.reads.append(ReadJob(operation, job_id, whole=False))
        else:
            self._on_one(operation, job, in_queue=True)

    def job_loaded(self, operation: Operation, job_id: str, rows: Rows) -> None:
        """The record of the job that was named; by now the job may be in memory."""
        held = self.held.find(job_id)
        if held is not None and held.final and held.kind != MEMORY:
            # It has ended since it was read: once more, behind the write of its end.
            self.turn.reads.append(ReadJob(operation, job_id, whole=False))
        elif held is not None:
            self._on_one(operation, held, in_queue=True)
        elif rows.rows:
            self._on_one(operation, job_of(rows.rows[0]), in_queue=False)
        else:
            text = f"there is no job '{job_id}', or its record has been forgotten"
            operation.question.refuse(404, "unknown_job", text)

    def _on_one(self, operation: Operation, job: Job, in_queue: bool) -> None:
        why = self._not_possible(operation, job)
        if why is not None:
            text = f"job '{job.id}': {why}"
            return operation.question.refuse(409, "not_possible", text, job.last_write)
        self._do(operation, job, in_queue)
        operation.read_all = True
        return self._finish(operation)

    def _not_possible(self, operation: Operation, job: Job) -> str | None:
        """Why this cannot be done to the job as it is, or None."""
        if job.id in self.held.reviving:
            return "it is being retried already"
        if operation.verb != "cancel" and job.kind == MEMORY:
            return "it is a memory job, which is forgotten by itself"
        if operation.verb == "retry" and (job.error or {}).get("code") == "bad_previous":
            return "its parameters could not be made of the result before it; copy it with other 'params'"
        if job.state not in operation.states:
            hint = {
                "retry": f", and only a job that is {' or '.join(REVIVABLE)} is retried",
                "delete": "; cancel it first",
            }
            return f"it is {job.state}{hint.get(operation.verb, ' already')}"
        return None

    # ------------------------------------------------------------ many

    def _read_on(self, operation: Operation, after: int) -> None:
        if not operation.last:
            operation.last = max(1, self.held.last_number)
        read = ReadMatching(operation, operation.where, operation.states, after, operation.last, CHUNK_ROWS)
        self.turn.reads.append(read)

    def matching_loaded(self, operation: Operation, rows: Rows) -> None:
        """A chunk of those that the filter names."""
        for row in rows.rows:
            held = self.held.stored.get(row["id"])
            final_here = held is not None and held.final
            job = held if held is not None and not final_here else job_of(row)
            if final_here and operation.verb == "cancel":
                operation.grown = True
                continue  # it has ended since
            if self._not_possible(operation, job) is None:
                self._do(operation, job, held is not None and not final_here)
        if rows.next is not None:
            self._read_on(operation, rows.next)
        elif operation.grown and (operation.where.chain or operation.where.batch):
            operation.grown, operation.last = False, 0
            self._read_on(operation, 0)
        else:
            operation.read_all = True
            self._finish(operation)

    # ------------------------------------------------------------ what is done to a job

    def _do(self, operation: Operation, job: Job, in_queue: bool) -> None:
        if operation.dry:
            operation.count += 1
        else:
            self._act[operation.verb](operation, job, in_queue)

    def _cancel(self, operation: Operation, job: Job, in_queue: bool) -> None:
        if not in_queue:
            job.light = True
            self.life.backlog.take_out(job)
        self.life.cancel(job, in_queue)
        operation.count += 1
        operation.after = job.last_write or operation.after

    def _retry(self, operation: Operation, job: Job, in_queue: bool) -> None:
        operation.pending += 1
        self.life.revive(job, lambda verdict: self._decided(operation, verdict))

    def _delete(self, operation: Operation, job: Job, in_queue: bool) -> None:
        operation.pending += 1

        def deleted(verdict: Verdict) -> None:
            service = self.held.services.get(verdict.service)
            if verdict.verdict == DELETED and service is not None:
                service.ended[verdict.state] -= 1
                self.held.drop_if_unused(service)
            self._decided(operation, verdict)

        self.turn.write_for(DeleteJob(job.id), deleted)

    def _decided(self, operation: Operation, verdict: Verdict) -> None:
        operation.pending -= 1
        if verdict.verdict in (NEW, DELETED):
            operation.count += 1
        elif not operation.one:
            operation.passed_over += 1
        else:
            if verdict.verdict == UNIQUE_CONFLICT:
                text = f"its unique key is held by job '{verdict.job_id}' now"
                return operation.question.refuse(409, "not_possible", text)
            text = f"the record of job '{verdict.job_id}' was forgotten meanwhile"
            return operation.question.refuse(404, "unknown_job", text)
        return self._finish(operation)

    def _finish(self, operation: Operation) -> None:
        if operation.read_all and not operation.pending:
            told = {"count": operation.count}
            if operation.verb != "cancel" and not operation.one:
                told["passed_over"] = operation.passed_over
            operation.question.answer(200, told, operation.after)

    # ------------------------------------------------------------ services

    def pause(self, question: Question) -> None:
        """Its jobs wait from now on; what runs goes on. A restart of the broker does not end it."""
        self._set_paused(question, True)

    def resume(self, question: Question) -> None:
        """Its jobs start again."""
        self._set_paused(question, False)

    def _set_paused(self, question: Question, paused: bool) -> None:
        service = known_service(self.held, question)
        if service is None:
            return
        service.paused = paused
        service.changes += 1
        write = self.held.remember(service, paused)
        self.turn.note("info", f"{service.name} is {'paused' if paused else 'resumed'}")
        question.answer(200, {"service": service.name, "paused": paused}, write)
        self.turn.wake(service.name)

    def limit(self, question: Question) -> None:
        """Limits of a service, until they are set anew; null: as the configuration says. A restart of the
        broker does not end them. `version`: only if nobody has changed the service since."""
        service = known_service(self.held, question)
        if service is None:
            return
        asked, version = question.asked, version_of(service, self.host)
        if asked.get("version", version) != version:
            text = f"{service.name} has been changed meanwhile: its version is {version}"
            question.refuse(409, "changed", text)
            return
        limited = {name: value for name, value in service.limited.items() if name not in asked}
        limited |= {name: asked[name] for name in LIMITS if asked.get(name) is not None}
        service.changes += 1
        write = self.held.limit(service, limited)
        if "paused" in asked:
            service.paused = asked["paused"]
            write = self.held.remember(service, service.paused)
        changes = {name: asked[name] for name in (*LIMITS, "paused") if name in asked}
        self.turn.note("info", f"{service.name} is set to {json.dumps(changes)}")
        self.turn.wake(service.name)
        question.answer(200, whole_row(service, self.held, self.turn, self.series, self.host), write)

    def forget(self, question: Question) -> None:
        """A service that is no longer needed is unknown from now on, also after a restart; records of its
        jobs are kept as long as they would be."""
        service = known_service(self.held, question)
        if service is None:
            return
        why = self.held.why_needed(service)
        if why is not None:
            question.refuse(409, "not_possible", f"{service.name} cannot be forgotten: {why}")
            return
        write = self.held.forget(service)
        self.turn.note("info", f"{service.name} is forgotten")
        question.answer(200, {"service": service.name}, write)

    # ------------------------------------------------------------ workers

    def drain(self, question: Question) -> None:
        """A worker, or all of a service, finish what they hold and leave; they are given nothing more."""
        asked = question.asked
        if ("worker" in asked) == ("service" in asked):
            question.refuse(400, "bad_request", "zmws.drain needs 'worker' or 'service', one of them")
            return
        if "worker" in asked:
            workers = self.roster.sessions.named(asked["worker"])
            if not workers:
                text = f"there is no worker '{asked['worker']}'"
                question.refuse(404, "unknown_worker", text)
                return
        else:
            service = known_service(self.held, question)
            if service is None:
                return
            workers = self.roster.sessions.of_service(service)
        for session in workers:
            self.roster.drain(session)
        self.turn.note("info", f"drained: {', '.join(one.id for one in workers[:20]) or 'no worker'}")
        question.answer(200, {"count": len(workers)})
