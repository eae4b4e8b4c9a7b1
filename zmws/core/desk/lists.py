"""Lists of what there is: zmws.jobs, zmws.services, zmws.service, zmws.workers, zmws.stats, and the PHP
program's SERVER-* (docs/protocol.md).

Rule: stored jobs are read beside the writes; everything else is in memory, and counted as it moves.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from typing import Any

from zmws.core.desk.permits import Permits
from zmws.core.desk.service_rows import row, whole_row
from zmws.core.figures import COUNTED
from zmws.core.held import Held
from zmws.core.host import Host
from zmws.core.job import Job, iso, summary
from zmws.core.question import Question, known_service
from zmws.core.reads import Filter, Read, ReadFamily, ReadJobs, ReadSearch
from zmws.core.rows import Rows, job_of
from zmws.core.series import Series
from zmws.core.sessions import Sessions
from zmws.core.taker import Assignment
from zmws.core.turn import Turn
from zmws.core.watchers import Watchers

HOST_FIGURES = ("store_bytes", "free_bytes", "free_bytes_min", "memory_bytes", "cpu_s")
PLACES = ("id", "error", "params", "result")  # where a search looks


class Lists:
    """Answers about many."""

    def __init__(
        self,
        turn: Turn,
        held: Held,
        watchers: Watchers,
        sessions: Sessions,
        series: Series,
        host: Host,
        permits: Permits,
    ) -> None:
        self._permits = permits
        self._series = series
        self._turn = turn
        self._held = held
        self._watchers = watchers
        self._sessions = sessions
        self._host = host
        self._lists_asked = 0
        self.of_old: dict[str, Callable[[], list[dict[str, Any]]]] = {
            "SERVER-JOBS": self._server_jobs,
            "SERVER-ACTIVE": self._server_active,
            "SERVER-HIST": self._server_hist,
            "SERVER-WORKERS": self._server_workers,
        }

    def read(self, question: Question, read: Read) -> None:
        """Ask the store for something that a person looks at; what is too much at once is refused."""
        if self._lists_asked >= self._turn.limits.lists_max:
            text = "too many lists are being made already (lists_max)"
            return question.refuse(429, "too_many_lists", text)
        self._lists_asked += 1
        return self._turn.reads.append(read)

    def read_done(self) -> None:
        """A list has been read, or could not be."""
        self._lists_asked -= 1

    def jobs(self, question: Question) -> None:
        """zmws.jobs: a page of them."""
        asked = question.asked
        limit, below, where = asked["limit"], asked.get("cursor"), question.filter()
        lead = self._turn.lead
        if not asked.get("memory"):
            if "q" in asked:
                places = PLACES[:2] if asked.get("places") == "names" else PLACES
                search = ReadSearch(
                    *(question, where, asked["q"], places, limit, below), render=partial(_page, True, lead)
                )
                return self.read(question, search)
            return self.read(
                question, ReadJobs(question, where, limit, below, render=partial(_page, False, lead))
            )
        if "q" in asked:
            text = "'q' searches stored jobs, and memory jobs are no such"
            return question.refuse(400, "bad_request", text)
        matching = [job for job in self._held.memory.values() if _matches(job, where, below)]
        matching.sort(key=lambda job: job.number, reverse=True)
        page = [summary(job, self._turn.lead) for job in matching[:limit]]
        after = matching[limit - 1].number if len(matching) > limit else None
        return question.answer(200, {"jobs": page, "next": _cursor(after)})

    def family(self, question: Question) -> None:
        """zmws.family: the jobs that followed from each other's ends, of which one is this."""
        read = ReadFamily(question, question.asked["id"], question.asked["limit"])
        self.read(question, read)

    def family_loaded(self, question: Question, rows: Rows) -> None:
        """It was read."""
        if not rows.rows:
            text = f"there is no job '{question.asked['id']}', or its record has been forgotten"
            return question.refuse(404, "unknown_job", text)
        jobs = []
        for one in rows.rows:
            job = job_of(one)
            more = {"depth": job.depth, "step": job.step or None, "steps": job.steps or None}
            jobs.append(summary(job, self._turn.lead) | more)
        return question.answer(200, {"jobs": jobs, "next": None if rows.next is None else "more"})

    def services(self, question: Question) -> None:
        """zmws.services."""
        known = [
            one
            for one in self._held.services.values()
            if not one.forgotten and self._permits.sees(question, one.name)
        ]
        rows = [row(one, self._held, self._turn, self._series) for one in known]
        question.answer(200, sorted(rows, key=lambda row: str(row["service"])))

    def service(self, question: Question) -> None:
        """zmws.service: one of them, with the options of its jobs and where each comes from."""
        service = known_service(self._held, question)
        if service is None:
            return
        question.answer(200, whole_row(service, self._held, self._turn, self._series, self._host))

    def peek(self, question: Question) -> None:
        """zmws.peek: the jobs of a service that are next, of those that memory holds; none is taken."""
        service = known_service(self._held, question)
        if service is not None:
            coming = service.coming(question.asked["limit"])
            question.answer(200, {"jobs": [summary(job, self._turn.lead) for job in coming]})

    def workers(self, question: Question) -> None:
        """zmws.workers."""
        now, wall = self._turn.now, self._turn.wall
        rows = []
        for session in self._sessions.by_peer.values():
            if not all(self._permits.sees(question, name) for name in session.service_names):
                continue
            info = session.info
            rows.append(
                {
                    "id": session.id,
                    "host": info.host if info is not None else None,
                    "pid": info.pid if info is not None else None,
                    "services": session.service_names,
                    "slots": session.slots,
                    "state": session.state(),
                    "jobs": [_job_in_hand(assignment) for assignment in session.holding.values()],
                    "since": iso(session.registered_at),
                    "done": session.done_count,
                    "failed": session.failed_count,
                    "memory_bytes": session.memory_bytes,
                    "heard_at": iso(wall - (now - session.heard)),
                }
            )
        question.answer(200, rows)

    def stats(self, question: Question) -> None:
        """zmws.stats."""
        limits, held, host = self._turn.limits, self._held, self._host
        question.answer(
            200,
            {
                "version": host.version,
                "libzmq": host.libzmq,
                "started_at": iso(host.started_at),
                "uptime_s": round(self._turn.steady - host.started_at, 3),
                "pid": host.pid,
                "installation": host.installation,
                "durability": held.durability,
                "store_is_full": host.store_is_full,
                "store_waits_for": host.store_waits_for,
                "descriptors": host.descriptors,
                "descriptors_max": host.descriptors_max,
                **{name: getattr(host, name) for name in HOST_FIGURES},
                "workers": len(self._sessions.by_peer),
                "services": len(held.services),
                "memory_jobs": len(held.memory),
                "stored_jobs_held": len(held.stored) + len(held.inserting),
                "waits": self._watchers.waits_count,
                "batches_open": len(held.open_batches),
                "strict_held": held.overflow.count,
                "strict_held_bytes": held.overflow.bytes,
                "rates": self._series.rates(),
                "totals": dict(zip(COUNTED, self._series.totals, strict=True)),
                "counters": dict(sorted(self._turn.counters.items())),
                "limits": {f.name: getattr(limits, f.name) for f in fields(limits)},
            },
        )

    # ------------------------------------------------------------ the PHP program's lists

    def _server_jobs(self) -> list[dict[str, Any]]:
        """Jobs that wait, oldest first, at most a page."""
        most = self._turn.limits.list_rows_max
        rows: list[dict[str, Any]] = []
        for service in self._held.services.values():
            for job in [*service.waiting(), *service.scheduled.values()]:
                rows.append(_short(job))
                if len(rows) >= most:
                    return rows
        return rows

    def _server_active(self) -> list[dict[str, Any]]:
        most = self._turn.limits.list_rows_max
        services = self._held.services.values()
        return [_short(job) for service in services for job in service.running.values()][:most]

    def _server_hist(self) -> list[dict[str, Any]]:
        """The jobs that ended last, the newest last."""
        return [
            {"id": job_id, "service": service, "state": state, "ended_at": iso(at), "attempt": attempt}
            for job_id, service, state, at, attempt in self._held.history
        ]

    def _server_workers(self) -> list[dict[str, Any]]:
        rows = []
        for session in list(self._sessions.by_peer.values())[: self._turn.limits.list_rows_max]:
            left = session.heard + session.expiry_s - self._turn.now
            row = {"hb": round(left, 3), "service": session.service_names[0], "workerid": session.id}
            rows.append(row | {"state": session.state()})
        return rows


def _job_in_hand(assignment: Assignment) -> dict[str, Any]:
    return {
        "id": assignment.job_id,
        "service": assignment.service,
        "since": iso(assignment.since_at),
        "state": "hung" if assignment.hung else "ahead" if assignment.ahead else "running",
    }


def _short(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "service": job.service,
        "state": job.state,
        "attempt": job.attempt,
        "created_at": iso(job.created_at),
        "worker": job.worker,
    }


def _page(searched: bool, lead: float, rows: Rows) -> bytes:
    """A page of zmws.jobs; beside the loop."""
    page = [summary(job_of(row), lead) for row in rows.rows]
    told: dict[str, Any] = {"jobs": page, "next": _cursor(rows.next)}
    if searched:
        told |= {"looked": rows.looked, "looked_to": iso(rows.looked_to)}
    return json.dumps(told, default=str).encode()


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
        and where.cause is None  # only the store says one
        and where.parent is None
        and where.chain is None
        and where.batch is None  # no memory job has one
        and (where.submitter is None or job.submitter == where.submitter)
    )
