"""The services inside the broker: SERVER-*, zmws.* and mmi.* (docs/protocol.md, RFC 8).

Rule 1: whoever looks on never delays a job: what memory knows is answered at once, one record is read
        in order with the writes, lists are read beside them.
Rule 2: an answer about a job waits for the job's last write, so that nobody is told of what a crash
        could undo.
Rule 3: zmws.* answers a status of three digits and one JSON frame; from 400 on the JSON is an ERROR.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from zmws.core.answers import Waiters, Watchers
from zmws.core.desk.asks import Asks
from zmws.core.desk.leases import Leases
from zmws.core.desk.operations import Operation, Operations
from zmws.core.desk.question import Question
from zmws.core.desk.questions import BadQuestion, checked, question_body
from zmws.core.job import Caller, Job, events, iso, record, summary
from zmws.core.jobs import Jobs
from zmws.core.roster import Roster
from zmws.core.turn import Turn
from zmws.core.writes import Filter, Read, ReadJob, ReadJobs, ReadMatching, Row, Rows, job_of
from zmws.wire.messages import Answer, ClientRequest
from zmws.wire.values import without_raw


@dataclass(slots=True)
class Host:
    """What the shell tells of the process around the core, for whoever asks how it is."""

    version: str = ""  # of zmws
    pid: int = 0
    installation: str = ""  # which one the broker belongs to: settings.Settings.installation
    store_is_full: bool = False  # new stored jobs are refused, for lack of room
    store_waits_for: str | None = None  # what keeps commits waiting, in words
    descriptors: int = 0  # of the process: in use
    descriptors_max: int = 0  # and allowed


class Inspection:
    """Answers about jobs, services and workers; hands operators' verbs on."""

    def __init__(
        self, turn: Turn, jobs: Jobs, roster: Roster, submit_many: Callable[[Question], None]
    ) -> None:
        self.turn = turn
        self.jobs = jobs
        self.roster = roster
        self.operations = Operations(turn, jobs)
        self.leases = Leases(turn, jobs)
        self.asks = Asks(turn)
        self.started_at = 0.0
        self._lists_asked = 0
        self._records_asked = 0
        self.host = Host()
        self._lists: dict[str, Callable[[], list[dict[str, Any]]]] = {
            "SERVER-JOBS": self._server_jobs,
            "SERVER-ACTIVE": self._server_active,
            "SERVER-HIST": self._server_hist,
            "SERVER-WORKERS": self._server_workers,
        }
        self._verbs: dict[str, Callable[[Question], None]] = {
            "zmws.hello": self._hello,
            "zmws.job": self._by_id,
            "zmws.wait": self._by_id,
            "zmws.events": self._by_id,
            "zmws.submit": submit_many,
            "zmws.cancel": self.operations.cancel,
            "zmws.retry": self.operations.retry,
            "zmws.delete": self.operations.delete,
            "zmws.purge": self.operations.purge,
            "zmws.pause": self.operations.pause,
            "zmws.resume": self.operations.resume,
            "zmws.forget": self.operations.forget,
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
        question = Question(self.turn, caller, name, {})
        if name in self._lists:
            return self._answer(question, self._list, message.body)
        if name in self._verbs:
            return self._answer(question, self._verb, message.body)
        if name.startswith("zmws."):
            return question.refuse(501, "unknown_service", f"there is no service '{name}' in this broker")
        if name.startswith("mmi."):
            answer = Answer(name, (self._mmi(name, message.body),), caller.reply_to)
            return self.turn.send(caller.peer, answer)
        text = f"no worker can register the reserved name '{name}'"
        return self.jobs.answers.refuse(caller, name, None, "unknown_service", text)

    def _mmi(self, name: str, body: tuple[bytes, ...]) -> bytes:
        """RFC 8: mmi.service tells whether a service is there, 200 or 404; any other mmi.* is 501."""
        if name != "mmi.service":
            return b"501"
        asked = without_raw(body)[-1].decode("utf-8", "replace") if body else ""
        service = self.jobs.services.get(asked)
        # Whoever leases stands in the ring, and is a worker too.
        there = service is not None and (service.sessions or service.ring)
        return b"200" if there or asked in self._lists or asked in self._verbs or asked == name else b"404"

    def _answer(self, question: Question, answer: Callable[[Question, Any], None], given: Any) -> None:
        """A fault while a question is answered is the asker's and never the broker's end. Only a broken
        invariant in what changes something ends it, for then nobody knows what the state is."""
        try:
            answer(question, given)
        except BadQuestion as wrong:
            question.refuse(400, "bad_request", str(wrong))
        except Exception as fault:
            if isinstance(fault, AssertionError) and question.service not in _LOOKS:
                raise
            question.broke(fault)

    def _list(self, question: Question, body: tuple[bytes, ...]) -> None:
        frames = (_json(self._lists[question.service]()),)
        answer = Answer(question.service, frames, question.caller.reply_to)
        self.turn.send(question.caller.peer, answer)

    def _verb(self, question: Question, body: tuple[bytes, ...]) -> None:
        name, limits = question.service, self.turn.limits
        question.asked = question_body(name, body, limits)
        if name != "zmws.submit":
            question.asked = checked(name, question.asked, limits)
            if "by" in question.asked:
                self.turn.note("info", f"{name} by {question.asked['by']}: {str(question.asked)[:500]}")
            if "ask" in question.asked and self._is_repeat(question):
                return
        self._verbs[name](question)

    def _is_repeat(self, question: Question) -> bool:
        """Whether a question has been asked before; then it is answered, or will be with the first."""
        asks, asked = self.asks, question.asked
        known = asks.known(asked["ask"])
        if known is None and asks.full:
            question.refuse(429, "too_many_waits", "too many questions are under way already (asks_max)")
        elif known is None:
            asks.begin(asked["ask"], question.service, asked, question.caller)
            question.asks = asks
            return False
        elif (known.service, known.asked) != (question.service, asked):
            text = f"another question was asked as '{asked['ask']}' before"
            question.refuse(409, "id_conflict", text)
        else:
            asks.again(known, question.caller)
        return True

    def _hello(self, question: Question) -> None:
        """Whom a client talks to, and what that takes."""
        limits = self.turn.limits
        told = {"zmws": 1, "version": self.host.version, "socket": question.caller.peer[0]}
        told |= {"message_bytes_max": limits.message_bytes_max, "submit_many_max": limits.submit_many_max}
        question.answer(200, told)

    # ------------------------------------------------------------ one job

    def _by_id(self, question: Question) -> None:
        job_id, limits = question.asked["id"], self.turn.limits
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
        """A record or a page has been read, or could not be; by now the job may be in memory."""
        asker = read.asker
        if isinstance(read, ReadJobs):
            self._lists_asked -= 1
        elif isinstance(asker, Question) and asker.service != "zmws.report":
            self._records_asked -= 1
        for question in self._askers(asker):
            if rows.fault is not None:
                self.turn.note("error", f"a read for {question.service} failed: {rows.fault}")
                question.refuse(500, "broker_fault", f"the store could not be read: {rows.fault}")
        if rows.fault is not None:
            return
        if isinstance(asker, Operation):
            self._answer(asker.question, lambda question, read: self._operation_loaded(read, rows), read)
        elif isinstance(asker, Waiters):
            self._end_waits(asker, rows)
        elif isinstance(asker, Watchers):
            self._go_on_watching(asker, _job_id(read), rows)
        else:
            self._answer(_question(asker), lambda question, read: self._read_for(question, read, rows), read)

    def _askers(self, asker: object) -> list[Question]:
        """Who is answered by what has been read."""
        if isinstance(asker, Question):
            return [asker]
        if isinstance(asker, Operation):
            return [asker.question]
        if isinstance(asker, Waiters):
            return [Question(self.turn, caller, "zmws.wait", {}) for caller in asker.callers]
        assert isinstance(asker, Watchers), asker
        return [Question(self.turn, caller, "zmws.events", {}) for caller, *_ in asker.watching]

    def _operation_loaded(self, read: Read, rows: Rows) -> None:
        if isinstance(read, ReadMatching):
            self.operations.matching_loaded(read.asker, rows)
        else:
            self.operations.job_loaded(read.asker, _job_id(read), rows)

    def _read_for(self, question: Question, read: Read, rows: Rows) -> None:
        if isinstance(read, ReadJobs):
            page = [summary(job_of(row), self.turn.lead) for row in rows.rows]
            return question.answer(200, {"jobs": page, "next": _cursor(rows.next)})
        if question.service == "zmws.report":
            return self.leases.loaded(question, rows)
        if not rows.rows:
            text = f"there is no job '{_job_id(read)}', or its record has been forgotten"
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
        if events(job, asked["after"]) or job.final or not asked["timeout"]:
            answers.tell_events(question.caller, job, asked["after"])
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
            question = Question(self.turn, caller, "zmws.events", asked)
            question.safely(lambda watching: self._events(watching, job))

    # ------------------------------------------------------------ lists

    def _jobs(self, question: Question) -> None:
        asked, limits = question.asked, self.turn.limits
        limit, below, where = asked["limit"], asked.get("cursor"), question.filter()
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
            if service.forgotten:
                continue
            rows.append(
                {
                    "service": service.name,
                    "waiting": service.waiting_count + self.jobs.overflow.count_of(service.name),
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
                    "job": session.job_id,
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
        limits, jobs, host = self.turn.limits, self.jobs, self.host
        question.answer(
            200,
            {
                "started_at": iso(self.started_at),
                "uptime_s": round(self.turn.steady - self.started_at, 3),
                "pid": host.pid,
                "installation": host.installation,
                "durability": jobs.durability,
                "store_is_full": host.store_is_full,
                "store_waits_for": host.store_waits_for,
                "descriptors": host.descriptors,
                "descriptors_max": host.descriptors_max,
                "workers": len(self.roster.by_peer),
                "services": len(jobs.services),
                "memory_jobs": len(jobs.memory),
                "stored_jobs_held": len(jobs.stored) + len(jobs.inserting),
                "waits": jobs.answers.waits_count,
                "strict_held": jobs.overflow.count,
                "strict_held_bytes": jobs.overflow.bytes,
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


# What changes nothing.
_LOOKS = {
    *("zmws.hello", "zmws.job", "zmws.wait", "zmws.events", "zmws.jobs"),
    *("zmws.services", "zmws.workers", "zmws.stats"),
    *("SERVER-JOBS", "SERVER-ACTIVE", "SERVER-HIST", "SERVER-WORKERS"),
}


def _job_id(read: Read) -> str:
    assert isinstance(read, ReadJob), read
    return read.job_id


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


def _matches(job: Job, where: Filter, below: int | None) -> bool:
    return (
        (below is None or job.number < below)
        and (where.service is None or job.service == where.service)
        and (where.state is None or job.state == where.state)
        and (where.group is None or job.group == where.group)
        and (where.since is None or job.created_at >= where.since)
        and (where.before is None or job.created_at < where.before)
    )
