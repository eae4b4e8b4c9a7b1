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
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from zmws.core.job import FAILED, STATES, Caller, Job, iso, record, summary
from zmws.core.jobs import Jobs, error
from zmws.core.messages import Answer, ClientRequest
from zmws.core.options import ID_PATTERN
from zmws.core.roster import Roster
from zmws.core.turn import Turn
from zmws.core.writes import DeleteJob, Read, ReadJob, ReadJobs, Rows, Write, job_of


@dataclass(slots=True)
class Question:
    """Who asked what: comes back with a read."""

    caller: Caller
    service: str
    asked: dict[str, Any]


class Inspection:
    """Answers about jobs, services and workers, and what an operator does to a job."""

    def __init__(self, turn: Turn, jobs: Jobs, roster: Roster) -> None:
        self.turn = turn
        self.jobs = jobs
        self.roster = roster
        self.started_at = 0.0
        self._lists: dict[str, Callable[[], list[dict[str, Any]]]] = {
            "SERVER-JOBS": self._server_jobs,
            "SERVER-ACTIVE": self._server_active,
            "SERVER-HIST": self._server_hist,
            "SERVER-WORKERS": self._server_workers,
        }
        self._verbs: dict[str, Callable[[Question], None]] = {
            "zmws.job": self._by_id,
            "zmws.wait": self._by_id,
            "zmws.cancel": self._by_id,
            "zmws.retry": self._by_id,
            "zmws.delete": self._by_id,
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
        verb = self._verbs.get(name)
        if verb is None:
            if name.startswith("zmws."):
                text = f"there is no service '{name}' in this broker"
                self._answer(Question(caller, name, {}), 501, error("unknown_service", text))
                return
            text = f"no worker can register the reserved name '{name}'"
            self.jobs.answers.refuse(caller, name, None, "unknown_service", text)
            return
        asked = _asked(message.body)
        if asked is None:
            why = error("bad_request", f"{name} takes one frame with a JSON object")
            self._answer(Question(caller, name, {}), 400, why)
            return
        verb(Question(caller, name, asked))

    # ------------------------------------------------------------ one job

    def _by_id(self, question: Question) -> None:
        job_id = question.asked.get("id")
        if not isinstance(job_id, str) or not ID_PATTERN.match(job_id):
            why = error("bad_request", f"{question.service} needs 'id', the id of a job")
            return self._answer(question, 400, why)
        if question.service == "zmws.wait":
            timeout = question.asked.setdefault("timeout", 30.0)
            if not _is_seconds(timeout, self.turn.limits.wait_s_max):
                most = self.turn.limits.wait_s_max
                why = error("bad_request", f"'timeout' must be a number of seconds from 0 to {most:g}")
                return self._answer(question, 400, why)
        job = self.jobs.find(job_id)
        if job is None or (
            job.final and question.service in ("zmws.retry", "zmws.delete") and job.kind != "memory"
        ):
            # Not here, or on its way to the store: read in order with the writes.
            self.turn.reads.append(ReadJob(question, job_id))
            return None
        return self._act(question, job)

    def loaded(self, read: Read, rows: Rows) -> None:
        """A record or a page has been read; by now the job may be in memory."""
        question: Question = read.asker
        if isinstance(read, ReadJobs):
            page = [summary(job_of(row)) for row in rows.rows]
            return self._answer(question, 200, {"jobs": page, "next": rows.next})
        assert isinstance(read, ReadJob), read
        job = self.jobs.find(read.job_id)
        if job is None and rows.rows:
            job = job_of(rows.rows[0])
        if job is None:
            why = error("unknown_job", f"there is no job '{read.job_id}', or its record has been forgotten")
            return self._answer(question, 404, why)
        return self._act(question, job)

    def _act(self, question: Question, job: Job) -> None:
        verb = question.service
        if verb == "zmws.job":
            return self._answer(question, 200, record(job), job.last_write)
        if verb == "zmws.wait":
            return self._wait(question, job)
        inserting = self.jobs.inserting.get(job.id) is job
        if verb == "zmws.cancel":
            if job.final or inserting:
                state = "not accepted yet" if inserting else f"{job.state} already"
                return self._not_possible(question, job, f"it is {state}")
            self.jobs.cancel(job)
            return self._answer(question, 200, {"count": 1}, job.last_write)
        if job.kind == "memory":
            return self._not_possible(question, job, "it is a memory job, which is forgotten by itself")
        if verb == "zmws.retry":
            if job.state != FAILED or inserting:
                return self._not_possible(
                    question, job, f"it is {job.state}, and only a failed job is retried"
                )
            return self.jobs.revive(job, question.caller)
        assert verb == "zmws.delete", verb
        if not job.final:
            return self._not_possible(question, job, f"it is {job.state}; cancel it first")
        write = DeleteJob(job.id)
        self.jobs.write(write)
        return self._answer(question, 200, {"count": 1}, write)

    def _wait(self, question: Question, job: Job) -> None:
        if job.final:
            return self._answer(question, 200, record(job), job.last_write)
        if self.jobs.answers.waits_count >= self.turn.limits.waits_max:
            why = error("too_many_waits", "too many requests wait already (waits_max)")
            return self._answer(question, 429, why)
        until = self.turn.now + float(question.asked["timeout"])
        self.jobs.answers.wait_for(job, question.caller, until)
        return None

    def _not_possible(self, question: Question, job: Job, why: str) -> None:
        text = f"job '{job.id}': {why}"
        self._answer(question, 409, error("not_possible", text), job.last_write)

    # ------------------------------------------------------------ lists

    def _jobs(self, question: Question) -> None:
        asked, limits = question.asked, self.turn.limits
        limit = asked.get("limit", 100)
        state, cursor = asked.get("state"), asked.get("cursor")
        fault = None
        if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= limits.list_rows_max:
            fault = f"'limit' must be a whole number from 1 to {limits.list_rows_max}"
        elif state is not None and state not in STATES:
            fault = f"'state' must be one of {', '.join(STATES)}"
        elif cursor is not None and not _is_cursor(cursor):
            fault = "'cursor' must be the 'next' of the page before"
        since, before = _moment(asked.get("since")), _moment(asked.get("before"))
        if fault is None and (since is False or before is False):
            fault = "'since' and 'before' must be ISO 8601 times with zone"
        for name in ("service", "group"):
            value = asked.get(name)
            if fault is None and value is not None and not (isinstance(value, str) and value.isprintable()):
                fault = f"'{name}' must be a printable text"
        if fault is not None:
            return self._answer(question, 400, error("bad_request", fault))
        read = ReadJobs(
            question,
            asked.get("service"),
            state,
            asked.get("group"),
            since or None,
            before or None,
            limit,
            cursor,
        )
        if not asked.get("memory"):
            self.turn.reads.append(read)
            return None
        matching = [job for job in self.jobs.memory.values() if _matches(job, read)]
        matching.sort(key=lambda job: (job.created_at, job.id), reverse=True)
        page = [summary(job) for job in matching[:limit]]
        after = (
            f"{matching[limit - 1].created_at!r}/{matching[limit - 1].id}" if len(matching) > limit else None
        )
        return self._answer(question, 200, {"jobs": page, "next": after})

    def _services(self, question: Question) -> None:
        rows = []
        for service in self.jobs.services.values():
            rows.append(
                {
                    "service": service.name,
                    "waiting": service.waiting_count,
                    "scheduled": len(service.scheduled),
                    "running": len(service.running),
                    "failed": service.failed,
                    "complete": service.complete,
                    "workers": len(service.sessions),
                    "idle": len(service.ring),
                    "oldest_s": service.oldest_s(self.turn.wall),
                    "paused": service.paused,
                }
            )
        self._answer(question, 200, sorted(rows, key=lambda row: str(row["service"])))

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
        self._answer(question, 200, rows)

    def _stats(self, question: Question) -> None:
        limits = self.turn.limits
        jobs = self.jobs
        answer = {
            "started_at": iso(self.started_at),
            "uptime_s": round(self.turn.wall - self.started_at, 3),
            "durability": jobs.durability,
            "workers": len(self.roster.by_peer),
            "services": len(jobs.services),
            "memory_jobs": len(jobs.memory),
            "stored_jobs_held": len(jobs.stored) + len(jobs.inserting),
            "waits": jobs.answers.waits_count,
            "counters": dict(sorted(self.turn.counters.items())),
            "limits": {f.name: getattr(limits, f.name) for f in fields(limits)},
        }
        self._answer(question, 200, answer)

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

    # ------------------------------------------------------------ answers

    def _answer(self, question: Question, status: int, body: Any, after: Write | None = None) -> None:
        frames = (str(status).encode(), _json(body))
        caller = question.caller
        self.turn.send(caller.peer, Answer(question.service, frames, caller.reply_to), after)


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


def _asked(body: tuple[bytes, ...]) -> dict[str, Any] | None:
    """The JSON object of a question; no frame is an empty one."""
    frames = [frame for frame in body if frame]
    if not frames:
        return {}
    if len(frames) > 1:
        return None
    frame = frames[0].removeprefix(b"PARAM-JSON: ").removeprefix(b"JSON-PARAM: ")
    try:
        asked = json.loads(frame)
    except (ValueError, RecursionError):
        return None
    return asked if isinstance(asked, dict) else None


def _is_seconds(value: object, most: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= most


def _is_cursor(cursor: object) -> bool:
    if not isinstance(cursor, str):
        return False
    at, _, job_id = cursor.partition("/")
    try:
        float(at)
    except ValueError:
        return False
    return ID_PATTERN.match(job_id) is not None


def _moment(value: object) -> float | bool | None:
    """Wall seconds of an ISO 8601 time with zone; None for none, False for a wrong one."""
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        return moment.timestamp() if moment is not None and moment.tzinfo is not None else False
    except (ValueError, OverflowError):
        return False


def _matches(job: Job, read: ReadJobs) -> bool:
    if read.cursor is not None:
        at, _, job_id = read.cursor.partition("/")
        if (job.created_at, job.id) >= (float(at), job_id):
            return False
    return (
        (read.service is None or job.service == read.service)
        and (read.state is None or job.state == read.state)
        and (read.group is None or job.group == read.group)
        and (read.since is None or job.created_at >= read.since)
        and (read.before is None or job.created_at < read.before)
    )
