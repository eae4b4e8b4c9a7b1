"""zmws.schedules and zmws.schedule: recurring jobs, as operators see and set them (docs/protocol.md).

Rule: a schedule that stands in the settings is changed there; it can be paused and run like any other.
"""

from __future__ import annotations

from typing import Any

from zmws.core.desk.lists import Lists
from zmws.core.desk.questions import BadQuestion
from zmws.core.held import Held
from zmws.core.host import Host
from zmws.core.job import iso, listed_error
from zmws.core.question import Question
from zmws.core.reads import ReadSchedules
from zmws.core.rows import Row, Rows, ScheduleRow
from zmws.core.schedule import definition, schedule_of
from zmws.core.schedules import Schedules, fired_id, options_of
from zmws.core.turn import Turn
from zmws.core.writes import NEW, UNKNOWN, Verdict
from zmws.errors import OptionError

_NOT_OF_IT = ("do", "replace", "ask", "by")


class Scheduling:
    """Lists them, and does what is asked."""

    def __init__(self, turn: Turn, held: Held, lists: Lists, schedules: Schedules, host: Host) -> None:
        self._turn = turn
        self._held = held
        self._lists = lists
        self._schedules = schedules
        self._host = host

    def schedules(self, question: Question) -> None:
        """zmws.schedules: all, or one; each with its last job, which is read beside the writes."""
        self._lists.read(question, ReadSchedules(question, question.asked.get("name")))

    def loaded(self, question: Question, rows: Rows) -> None:
        """They were read. What memory has of a schedule is newer."""
        known, name = self._schedules.rows, question.asked.get("name")
        last = {row.name: job for row, job in rows.schedules if job is not None}
        told = [self.row(row, last.get(row.name)) for row in known.values() if name in (None, row.name)]
        if name is not None and not told:
            return self._unknown(question, name)
        return question.answer(200, {"schedules": sorted(told, key=lambda row: str(row["name"]))})

    def row(self, row: ScheduleRow, last: Row | None) -> dict[str, Any]:
        """A schedule as answers show it: docs/protocol.md, "A schedule is"."""
        told = definition(row)
        late_s = None
        fired = None if row.last_at is None else fired_id(row.name, row.last_at)
        if last is not None and last["id"] == fired and last["started_at"]:
            late_s = round(max(0.0, last["started_at"] - (row.last_at or 0.0)), 3)
        told |= {
            "fixed": row.fixed,
            "last_at": iso(row.last_at),
            "fired_at": iso(row.fired_at),
            "late_s": late_s,
            "next_at": iso(self._schedules.next_at.get(row.name)),
            "fired": row.fired,
            "by": row.by,
        }
        return told | {"last": None if last is None else _last(last)}

    # ------------------------------------------------------------ zmws.schedule

    def schedule(self, question: Question) -> None:
        """Add one; or pause, resume, run or remove the one of that name."""
        asked, schedules = question.asked, self._schedules
        verb, name = asked["do"], asked["name"]
        if verb == "add":
            return self._add(question)
        extra = sorted(set(asked) - {"name", *_NOT_OF_IT})
        if extra:
            raise BadQuestion(f"'{extra[0]}' is for 'add'; to {verb} a schedule takes its 'name' alone")
        row = schedules.rows.get(name)
        if row is None:
            return self._unknown(question, name)
        if verb == "run":
            return self._run(question, row)
        if verb == "remove":
            if row.fixed:
                return self._fixed(question, name, "removed")
            write = schedules.remove(name)
            self._turn.note("info", f"schedule {name} is removed")
            return question.answer(200, {}, write)
        kept = schedules.pause(name, verb == "pause")
        self._turn.note("info", f"schedule {name} is {'paused' if row.paused else 'resumed'}")
        return question.answer(200, self.row(row, None), kept)

    def _run(self, question: Question, row: ScheduleRow) -> None:
        """A job now; its id is told when that is on disk."""

        def told(verdict: Verdict | None) -> None:
            if verdict is None or verdict.verdict == UNKNOWN:
                return self._unknown(question, row.name)
            # One that goes on stands for it, where that is how they overlap.
            existing = verdict.verdict != NEW
            return question.answer(200, {"id": verdict.job_id, "existing": existing})

        self._schedules.run(row, told)

    def _add(self, question: Question) -> None:
        asked, limits, known = question.asked, self._turn.limits, self._schedules.rows
        given = {key: value for key, value in asked.items() if key not in _NOT_OF_IT}
        try:
            row = schedule_of(given, limits, anchor=self._turn.wall, by=asked.get("by"))
        except OptionError as wrong:
            return question.refuse(400, "bad_option", str(wrong))
        if row.cron is not None:
            fault = self._turn.suppliers.calendar.fault_of(row.cron, row.zone)
            if fault is not None:
                return question.refuse(400, "bad_option", fault)
        service = self._held.services.get(row.service)
        if service is None or not service.registered:
            text = f"no worker ever registered the service '{row.service}' and no configuration names it"
            return question.refuse(404, "unknown_service", text)
        if self._schedules.next_after(row, self._turn.wall) is None:
            return question.refuse(400, "bad_option", "no time of it is left: it would never make a job")
        options = options_of(row)
        for name in (options.on_complete, options.on_failed):
            told = None if name is None else self._held.services.get(name)
            if name is not None and (told is None or not told.registered):
                text = f"no worker ever registered the service '{name}' and no configuration names it"
                return question.refuse(404, "unknown_service", text)
        if self._host.store_is_full:
            text = "the disk of the job store is full; nothing was accepted"
            return question.refuse(503, "disk_full", text)
        old = known.get(row.name)
        if old is not None and old.fixed:
            return self._fixed(question, row.name, "replaced")
        if old is not None and not asked.get("replace"):
            text = f"there is a schedule '{row.name}' already; 'replace' puts this one in its place"
            return question.refuse(409, "exists", text)
        if old is None and len(known) >= limits.schedules_max:
            text = f"there are {limits.schedules_max} schedules already (schedules_max)"
            return question.refuse(429, "too_many_schedules", text)
        write = self._schedules.keep(row)
        self._turn.note("info", f"schedule {row.name} is {'replaced' if old is not None else 'added'}")
        return question.answer(200, self.row(self._schedules.rows[row.name], None), write)

    def _fixed(self, question: Question, name: str, what: str) -> None:
        text = f"schedule '{name}' stands in the settings, and is {what} there; 'pause' stops it for now"
        question.refuse(409, "not_possible", text)

    def _unknown(self, question: Question, name: str) -> None:
        question.refuse(404, "unknown_schedule", f"there is no schedule '{name}'")


def _last(row: Row) -> dict[str, Any]:
    return {
        "id": row["id"],
        "state": row["state"],
        "started_at": iso(row["started_at"]),
        "ended_at": iso(row["ended_at"]),
        "error": listed_error(row["error"]),
    }
