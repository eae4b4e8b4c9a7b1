"""The services inside the broker: SERVER-* and zmws.* (docs/protocol.md).

Rule 1: whoever looks on never delays a job: what memory knows is answered at once, one record is read
        in order with the writes, lists are read beside them.
Rule 2: an answer about a job waits for the job's last write, so that nobody is told of what a crash
        could undo.
Rule 3: zmws.* answers a status of three digits and one JSON frame; from 400 on the JSON is an ERROR.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from zmws.core.answers import Waiters, Watchers
from zmws.core.job import Caller, Job, events, iso, record, summary
from zmws.core.jobs import Jobs
from zmws.core.leases import Leases
from zmws.core.messages import Answer, ClientRequest
from zmws.core.operations import Operation, Operations
from zmws.core.options import ID_PATTERN
from zmws.core.question import Question, is_seconds, question_body
from zmws.core.roster import Roster
from zmws.core.turn import Turn
from zmws.core.writes import Filter, Read, ReadJob, ReadJobs, ReadMatching, Row, Rows, job_of


class Inspection:
    """Answers about jobs, services and workers; hands operators' verbs on."""

    def __init__(self, turn: Turn, jobs: Jobs, roster: Roster) -> None:
        self.turn = turn
        self.jobs = jobs
        self.roster = roster
        self.operations = Operations(turn, jobs)
        self.leases = Leases(turn, jobs)
        self.started_at = 0.0
        self._lists_asked = 0
        self._records_asked = 0
        self.store_is_full = False  # new stored jobs are refused, for lack of room
        self._lists: dict[str, Callable[[], list[dict[str, Any]]]] = {
            "SERVER-JOBS": self._server_jobs,
            "SERVER-ACTIVE": self._server_active,
            "SERVER-HIST": self._server_hist,
            "SERVER-WORKERS": self._server_workers,
        }
        self._verbs: dict[str, Callable[[Question], None]] = {
            "zmws.job": self._by_id,
            "zmws.wait": self._by_id,
            "zmws.events": self._by_id,
            "zmws.cancel": self.operations.cancel,
            "zmws.retry": self.operations.retry,
            "zmws.delete": self.operations.delete,
            "zmws.purge": self.operations.purge,
            "zmws.pause": self.operations.pause,
            "zmws.resume": self.operations.resume,
            "zmws.lease": self.leases.lease,
            "zmws.extend": self.leases.extend,
            "zmws.report": self.leases.report,
            "zmws.jobs": self._jobs,
            "zmws.services": self._services,
            "zmws.workers": self._workers,
            "zmws.stats": self._stats,
        }

    def on_request(self, caller: Caller, name: str, message: ClientRequest) -> None:
        """A request for a reserved name."""
        listing = self._lists.get(name)
        if listing is not None:
            self.turn.send(caller.peer, Answer(name, (_json(listing()),), caller.reply_to))
            return
        question = Question(self.turn, caller, name, {})
        verb = self._verbs.get(name)
        if verb is None:
            if name.startswith("zmws."):
                question.refuse(501, "unknown_service", f"there is no service '{name}' in this broker")
                return
            text = f"no worker can register the reserved name '{name}'"
            self.jobs.answers.refuse(caller, name, None, "unknown_service", text)
            return
        question.asked = question_body(message.body)
        if not isinstance(question.asked, dict):
            question.refuse(400, "bad_request", f"{name} takes one frame with a JSON object")
            return
        verb(question)

    # ------------------------------------------------------------ one job

    def _by_id(self, question: Question) -> None:
        asked, limits = question.asked, self.turn.limits
        job_id = asked.get("id")
        if not isinstance(job_id, str) or not ID_PATTERN.match(job_id):
            return question.refuse(400, "bad_request", f"{question.service} needs 'id', the id of a job")
        if not is_seconds(asked.setdefault("timeout", _TIMEOUT_S[question.service]), limits.wait_s_max):
            text = f"'timeout' must be a number of seconds from 0 to {limits.wait_s_max:g}"
            return question.refuse(400, "bad_request", text)
        after = asked.setdefault("after", 0)
        if not isinstance(after, int) or isinstance(after, bool) or after < 0:
            return question.refuse(400, "bad_request", "'after' must be the number of an event, from 0")
        job = self.jobs.memory.get(job_id)
        if job is not None:
            return self._tell(question, job)
        if question.service == "zmws.wait":
            job = self.jobs.find(job_id)
            if job is not None and not job.final:
                return self._wait(question, job)
        # The whole of a stored job is in the store alone; read in order with the writes.
        if self._records_asked >= limits.waits_max:
            text = "too many records are to be read already (waits_max)"
            return question.refuse(429, "too_many_waits", text)
        return self._read(question)

    def _read(self, question: Question) -> None:
        asked, events_only = question.asked, question.service == "zmws.events"
        self._records_asked += 1
        past = asked["after"] if events_only else None
        self.turn.reads.append(ReadJob(question, asked["id"], whole=not events_only, past=past))

    def loaded(self, read: Read, rows: Rows) -> None:
        """A record or a page has been read; by now the job may be in memory."""
        asker = read.asker
        if isinstance(read, ReadJobs):
            self._lists_asked -= 1
            page = [summary(job_of(row), self.turn.lead) for row in rows.rows]
            return _question(asker).answer(200, {"jobs": page, "next": _cursor(rows.next)})
        if isinstance(read, ReadMatching):
            return self.operations.matching_loaded(asker, rows)
        assert isinstance(read, ReadJob), read
        if isinstance(asker, Operation):
            return self.operations.job_loaded(asker, read.job_id, rows)
        if isinstance(asker, Waiters):
            return self._end_waits(asker, rows)
        if isinstance(asker, Watchers):
            return self._go_on_watching(asker, read.job_id, rows)
        question = _question(asker)
        if question.service == "zmws.report":
            return self.leases.loaded(question, rows)
        self._records_asked -= 1
        if not rows.rows:
            text = f"there is no job '{read.job_id}', or its record has been forgotten"
            return question.refuse(404, "unknown_job", text)
        return self._tell(question, self._as_it_is(rows.rows[0]))

    def _as_it_is(self, row: Row) -> Job:
        """A stored job as its record says, but for what is on its way there."""
        job = job_of(row)
        held = self.jobs.stored.get(job.id)
        if held is not None and held.progress_n > job.progress_n:
            job.progress, job.progress_text = held.progress, held.progress_text
            job.progress_at, job.progress_n = held.progress_at, held.progress_n
        return job

    def _tell(self, question: Question, job: Job) -> None:
        if question.service == "zmws.job":
            return question.answer(200, record(job, self.turn.lead))
        if question.service == "zmws.events":
            return self._events(question, job)
        held = self.jobs.find(job.id)
        if job.final:
            return question.answer(200, record(job, self.turn.lead))
        if held is not None and held.final:
            # It has ended since it was read: once more, behind the write of its end.
            return self._read(question)
        return self._wait(question, job)

    def _wait(self, question: Question, job: Job) -> None:
        if self._too_many(question):
            return
        until = self.turn.now + float(question.asked["timeout"])
        self.jobs.answers.wait_for(job, question.caller, until)

    def _events(self, question: Question, job: Job) -> None:
        answers, asked = self.jobs.answers, question.asked
        told = events(job, asked["after"])
        if told or job.final or not asked["timeout"]:
            answers.tell_events(question.caller, told[: self.turn.limits.list_rows_max])
        elif not self._too_many(question):
            answers.watch(job, question.caller, asked["after"], self.turn.now + float(asked["timeout"]))
            held = self.jobs.stored.get(job.id)
            if held is not None and held.events > job.events:
                answers.happened(held)  # since it was read

    def _too_many(self, question: Question) -> bool:
        if self.jobs.answers.waits_count < self.turn.limits.waits_max:
            return False
        question.refuse(429, "too_many_waits", "too many requests wait already (waits_max)")
        return True

    def _end_waits(self, waiters: Waiters, rows: Rows) -> None:
        """The record of a job that has ended, for those who waited for that."""
        if rows.rows:
            self.jobs.answers.tell_record(waiters.callers, job_of(rows.rows[0]))
            return
        for caller in waiters.callers:
            text = "the job has ended, and its record has been forgotten"
            Question(self.turn, caller, "zmws.wait", {}).refuse(404, "unknown_job", text)

    def _go_on_watching(self, watchers: Watchers, job_id: str, rows: Rows) -> None:
        job = self._as_it_is(rows.rows[0]) if rows.rows else None
        for caller, after, until in watchers.watching:
            if job is None:
                text = f"the record of job '{job_id}' has been forgotten"
                Question(self.turn, caller, "zmws.events", {}).refuse(404, "unknown_job", text)
                continue
            left = max(0.0, until - self.turn.now)
            asked = {"id": job_id, "after": after, "timeout": left}
            self._events(Question(self.turn, caller, "zmws.events", asked), job)

    # ------------------------------------------------------------ lists

    def _jobs(self, question: Question) -> None:
        asked, limits = question.asked, self.turn.limits
        limit, cursor = asked.get("limit", 100), asked.get("cursor")
        if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= limits.list_rows_max:
            text = f"'limit' must be a whole number from 1 to {limits.list_rows_max}"
            return question.refuse(400, "bad_request", text)
        if cursor is not None and not (isinstance(cursor, str) and _is_number(cursor)):
            return question.refuse(400, "bad_request", "'cursor' must be the 'next' of the page before")
        where = question.filter()
        if where is None:
            return None
        below = int(cursor) if cursor is not None else None
        if not asked.get("memory"):
            if self._lists_asked >= limits.lists_max:
                text = "too many lists are being made already (lists_max)"
                return question.refuse(429, "too_many_lists", text)
            self._lists_asked += 1
            self.turn.reads.append(ReadJobs(question, where, limit, below))
            return None
        matching = [job for job in self.jobs.memory.values() if _matches(job, where, below)]
        matching.sort(key=lambda job: job.number, reverse=True)
        page = [summary(job, self.turn.lead) for job in matching[:limit]]
        after = matching[limit - 1].number if len(matching) > limit else None
        return question.answer(200, {"jobs": page, "next": _cursor(after)})

    def _services(self, question: Question) -> None:
        rows = []
        for service in self.jobs.services.values():
            rows.append(
                {
                    "service": service.name,
                    "waiting": service.waiting_count,
                    "scheduled": service.scheduled_count,
                    "running": len(service.running),
                    "failed": service.ended["failed"],
                    "complete": service.ended["complete"],
                    "workers": len(service.sessions),
                    "idle": len(service.ring),
                    "oldest_s": service.oldest_s(self.turn.steady),
                    "paused": service.paused,
                    "calls_complete": service.calls_complete,
                    "calls_failed": service.calls_failed,
                }
            )
        question.answer(200, sorted(rows, key=lambda row: str(row["service"])))

    def _workers(self, question: Question) -> None:
        now, wall = self.turn.now, self.turn.wall
        rows = []
        for session in self.roster.by_peer.values():
            rows.append(
                {
                    "id": session.id,
                    "host": session.info.get("host"),
                    "pid": session.info.get("pid"),
                    "service": session.service.name,
                    "state": session.state(now),
                    "job": session.job.id if session.job is not None else None,
                    "job_since": iso(session.job_since_at),
                    "since": iso(session.registered_at),
                    "done": session.done_count,
                    "failed": session.failed_count,
                    "memory_bytes": session.memory_bytes,
                    "heard_at": iso(wall - (now - session.heard)),
                }
            )
        question.answer(200, rows)

    def _stats(self, question: Question) -> None:
        limits, jobs = self.turn.limits, self.jobs
        question.answer(
            200,
            {
                "started_at": iso(self.started_at),
                "uptime_s": round(self.turn.steady - self.started_at, 3),
                "durability": jobs.durability,
                "store_is_full": self.store_is_full,
                "workers": len(self.roster.by_peer),
                "services": len(jobs.services),
                "memory_jobs": len(jobs.memory),
                "stored_jobs_held": len(jobs.stored) + len(jobs.inserting),
                "waits": jobs.answers.waits_count,
                "counters": dict(sorted(self.turn.counters.items())),
                "limits": {f.name: getattr(limits, f.name) for f in fields(limits)},
            },
        )

    # ------------------------------------------------------------ the PHP program's lists

    def _server_jobs(self) -> list[dict[str, Any]]:
        """Jobs that wait, oldest first, at most a page."""
        most = self.turn.limits.list_rows_max
        rows: list[dict[str, Any]] = []
        for service in self.jobs.services.values():
            for job in [*service.waiting(), *service.scheduled.values()]:
                rows.append(_short(job))
                if len(rows) >= most:
                    return rows
        return rows

    def _server_active(self) -> list[dict[str, Any]]:
        most = self.turn.limits.list_rows_max
        services = self.jobs.services.values()
        return [_short(job) for service in services for job in service.running.values()][:most]

    def _server_hist(self) -> list[dict[str, Any]]:
        """The jobs that ended last, the newest last."""
        return [
            {"id": job_id, "service": service, "state": state, "ended_at": iso(at), "attempt": attempt}
            for job_id, service, state, at, attempt in self.jobs.history
        ]

    def _server_workers(self) -> list[dict[str, Any]]:
        rows = []
        for session in list(self.roster.by_peer.values())[: self.turn.limits.list_rows_max]:
            left = session.heard + session.expiry_s - self.turn.now
            row = {"hb": round(left, 3), "service": session.service.name, "workerid": session.id}
            rows.append(row | {"state": session.state(self.turn.now)})
        return rows


_TIMEOUT_S = {"zmws.job": 0.0, "zmws.wait": 30.0, "zmws.events": 0.0}


def _question(asker: object) -> Question:
    assert isinstance(asker, Question), asker
    return asker


def _json(value: Any) -> bytes:
    return json.dumps(value, default=str).encode()


def _short(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "service": job.service,
        "state": job.state,
        "attempt": job.attempt,
        "created_at": iso(job.created_at),
        "worker": job.worker,
    }


def _cursor(number: int | None) -> str | None:
    return str(number) if number is not None else None


def _is_number(cursor: str) -> bool:
    return cursor.isascii() and cursor.isdigit() and len(cursor) <= 18


def _matches(job: Job, where: Filter, below: int | None) -> bool:
    return (
        (below is None or job.number < below)
        and (where.service is None or job.service == where.service)
        and (where.state is None or job.state == where.state)
        and (where.group is None or job.group == where.group)
        and (where.since is None or job.created_at >= where.since)
        and (where.before is None or job.created_at < where.before)
    )
