"""Recurring jobs: when each is due, and what is done with times that have passed (docs/workflows.md).

Rule 1: a firing is one commit: the job is inserted, and the schedule has fired for that time. Its id follows
        from the name and that time. So no restart fires twice, and none is lost between the two.
Rule 2: times are by the wall and in a zone; what is next is told from outside (turn.py, `Calendar`).
Rule 3: a time that is past by no more than `schedule_grace` is late, one that is past by more was missed;
        what was missed goes by the schedule's own `missed`.
Rule 4: after a step back of the clock no time comes again, but where the schedule has fired for a time that
        is more than `schedule_back` ahead: then the clock was wrong, and it goes on from now.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from zmws.core.held import Held
from zmws.core.job import Job
from zmws.core.life import Life
from zmws.core.making import Making
from zmws.core.options import JobOptions, job_options_of
from zmws.core.reads import ReadJob
from zmws.core.rows import Rows, ScheduleRow, job_of, row_of
from zmws.core.states import SCHEDULED, WAITING
from zmws.core.timers import Reminder
from zmws.core.turn import Turn
from zmws.core.writes import (
    NEW,
    UNIQUE_CONFLICT,
    FireSchedule,
    InsertJob,
    RemoveSchedule,
    Verdict,
    WriteSchedule,
)

LOOK_EACH_S = 60.0  # whether the clock was set back
WINDOW_S = 3600.0  # of times that have passed: looked at first, then twice as far back, and so on
Told = Callable[[Verdict | None], None]  # what is done with what became of the job; None: it did not fire


@dataclass(slots=True)
class Firing:
    """One that waits until it is known what became of the job before: comes back with that."""

    row: ScheduleRow
    nominal: float | None
    job_id: str
    before: str


class Schedules:
    """All there are, in memory; the store has them too."""

    def __init__(
        self, turn: Turn, held: Held, life: Life, making: Making, configured: Sequence[ScheduleRow]
    ) -> None:
        self._turn = turn
        self._held = held
        self._life = life
        self._making = making
        self._configured = configured
        self.rows: dict[str, ScheduleRow] = {}
        self.next_at: dict[str, float | None] = {}
        self._since: dict[str, float] = {}  # times up to this one are done with
        self._due = Reminder(self._on_due, lambda name, at: self.next_at.get(name) == at)
        self._look = Reminder[None](lambda _: self._on_look())
        self._looked_wall = 0.0
        self._looks = False  # while there are any
        self._by_hand: dict[str, Told] = {}  # by the id of the job: who asked for it, and waits

    # ------------------------------------------------------------ those there are

    def recover(self, stored: list[ScheduleRow]) -> None:
        """What an earlier run left, and what the settings say now."""
        turn = self._turn
        left = {row.name: row for row in stored}
        for given in self._configured:
            known = left.pop(given.name, None)
            row = replace(given, fixed=True, anchor=float(int(turn.wall)))
            if known is not None:
                row = _going_on(row, known)
                if known.by_hand and known.paused != given.paused:
                    how = "paused" if known.paused else "resumed"
                    turn.note(
                        "info", f"schedule {row.name} was {how} by hand, which goes before the settings"
                    )
            if row != known:
                turn.write_for(WriteSchedule(replace(row)), None)
            self._take_in(row)
        for row in left.values():
            if row.fixed:  # the settings do not have it any more
                turn.write_for(RemoveSchedule(row.name), None)
                turn.note("info", f"schedule {row.name} is no more: the settings do not name it")
            else:
                self._take_in(row)

    def keep(self, row: ScheduleRow) -> WriteSchedule:
        """A schedule that is new, or in place of the one of its name. Returns the write of it."""
        known = self.rows.get(row.name)
        row.anchor = float(int(self._turn.wall))
        if known is not None:
            row = replace(_going_on(row, known), paused=row.paused, by_hand=False)
        self._take_in(row)
        return self._write(row)

    def pause(self, name: str, paused: bool) -> WriteSchedule:
        """It does not fire until it goes on; times that pass meanwhile are not missed."""
        row = self.rows[name]
        if row.paused and not paused:
            row.since = self._turn.wall
        row.paused, row.by_hand = paused, True
        self._take_in(row)
        return self._write(row)

    def remove(self, name: str) -> RemoveSchedule:
        """It is no more."""
        del self.rows[name], self.next_at[name], self._since[name]
        self._name_services()
        write = RemoveSchedule(name)
        self._turn.write_for(write, None)
        return write

    def _write(self, row: ScheduleRow) -> WriteSchedule:
        write = WriteSchedule(replace(row), size=300 + sum(map(len, row.body)))
        self._turn.write_for(write, None)
        return write

    def _take_in(self, row: ScheduleRow) -> None:
        self.rows[row.name] = row
        self._since[row.name] = self._done_up_to(row)
        self._held.known(row.service)  # it may have no worker yet
        self._name_services()
        self._plan(row)
        if not self._looks:
            self._looks = True
            self._look_again()

    def _name_services(self) -> None:
        self._held.scheduled_services = {row.service for row in self.rows.values()}

    def _done_up_to(self, row: ScheduleRow) -> float:
        wall = self._turn.wall
        since = max(row.anchor, row.since or row.anchor)
        if since > wall:
            since = wall  # it was added, or went on, by a clock that was wrong
        if row.last_at is None:
            return since
        if row.last_at > wall + self._turn.limits.schedule_back_s:
            return wall
        return max(row.last_at, since)

    # ------------------------------------------------------------ times

    def next_after(self, row: ScheduleRow, after: float) -> float | None:
        """The first of its times after this one, None if there is none any more."""
        if row.every is not None:
            count = math.floor((after - row.anchor) / row.every)
            # Where a float cannot hold the time exactly, the next one by count may be this one again.
            while row.anchor + count * row.every <= after:
                count += 1
            at: float | None = row.anchor + count * row.every
        else:
            assert row.cron is not None, row
            at = self._turn.suppliers.calendar.next_time(row.cron, row.zone, after)
        return None if at is None or (row.until is not None and at > row.until) else at

    def passed(self, row: ScheduleRow, since: float, most: int) -> list[float]:
        """Its times after `since` that have passed, the last of them and no more than `most`."""
        wall = self._turn.wall
        window = max(WINDOW_S, (row.every or 0.0) * most)
        while True:
            begin = max(since, wall - window)
            found: list[float] = []
            at = self.next_after(row, begin)
            while at is not None and at <= wall:
                found.append(at)
                at = self.next_after(row, at)
            if begin <= since or len(found) >= most:
                return found[-most:]
            window *= 2

    def _plan(self, row: ScheduleRow) -> None:
        at = None if row.paused else self.next_after(row, self._since[row.name])
        self.next_at[row.name] = at
        if at is not None:
            self._turn.wall_timers.add(at, self._due, row.name)

    def _on_look(self) -> None:
        turn = self._turn
        back = turn.wall < self._looked_wall - turn.limits.schedule_grace_s
        for row in self.rows.values():
            # Also where the clock was ahead for less than the time between two looks.
            if back or self._since[row.name] > turn.wall + turn.limits.schedule_back_s:
                self._since[row.name] = self._done_up_to(row)
                self._plan(row)
        self._looks = bool(self.rows)
        if self._looks:
            self._look_again()

    def _look_again(self) -> None:
        self._looked_wall = self._turn.wall
        self._turn.timers.add(self._turn.now + LOOK_EACH_S, self._look, None)

    # ------------------------------------------------------------ firing

    def _on_due(self, name: str) -> None:
        """Its time has come, or has passed."""
        row, turn = self.rows.get(name), self._turn
        if row is None or row.paused:
            return
        most = row.missed_max if row.missed == "all" else 1
        if row.overlap != "allow":
            most = 1  # each would cancel the one before, or be skipped for it
        times = self.passed(row, self._since[name], most)
        grace_s = turn.limits.schedule_grace_s
        if row.missed == "none" and times and times[-1] < turn.wall - grace_s:
            turn.counters["schedules_missed"] += 1
            text = f"schedule {name} has missed {utc(times[-1])}, and makes no job for that (missed = none)"
            turn.note("info", text)
            self._since[name], times = times[-1], []
        for at in times:
            self._since[name] = at
            self._begin(row, at, fired_id(name, at))
        self._plan(row)

    def run(self, row: ScheduleRow, told: Told) -> None:
        """Make a job now, by hand. `told` is called with what became of it."""
        job_id = first = f"cron:{row.name}:run-{utc(self._turn.wall)}"
        n = 1
        while job_id in self._by_hand or job_id == row.last_id:
            n += 1
            job_id = f"{first}-{n}"
        self._by_hand[job_id] = told
        self._begin(row, None, job_id)

    def _begin(self, row: ScheduleRow, nominal: float | None, job_id: str) -> None:
        before = row.last_id
        if row.overlap == "cancel" and before is not None and not self._cancel_here(before):
            self._turn.reads.append(ReadJob(Firing(row, nominal, job_id, before), before, whole=False))
        else:
            self._fire(row, nominal, job_id)

    def loaded(self, firing: Firing, rows: Rows) -> None:
        """What became of the job before."""
        row = firing.row
        if self.rows.get(row.name) is not row or (row.paused and firing.nominal is not None):
            self._tell(firing.job_id, None)  # it was removed, replaced or paused meanwhile
            return
        before = job_of(rows.rows[0]) if rows.rows else None
        if before is not None and not self._cancel_here(before.id) and before.state in (WAITING, SCHEDULED):
            before.light = True
            self._life.backlog.take_out(before)
            self._life.cancel(before, in_queue=False)
        if row.last_id != firing.before:
            self._begin(row, firing.nominal, firing.job_id)  # it has fired meanwhile: that one goes, too
        else:
            self._fire(row, firing.nominal, firing.job_id)

    def _cancel_here(self, job_id: str) -> bool:
        """Cancel a job that memory has a hand on; false if it has none."""
        job = self._held.stored.get(job_id)
        if job is not None and not job.final:
            self._life.cancel(job)
        return job is not None

    def _fire(self, row: ScheduleRow, nominal: float | None, job_id: str) -> None:
        turn = self._turn
        job = self._job(row, job_id)
        if nominal is not None:
            row.last_at = nominal
        row.fired_at, row.last_id = turn.wall, job_id
        row.fired += 1
        turn.counters["schedules_fired"] += 1
        back_s = turn.limits.schedule_back_s
        turn.write_for(FireSchedule(row.name, nominal, turn.wall, job_id, back_s), _fired)
        self._held.inserting[job.id] = job
        self._held.services[job.service].inserting += 1
        spare_id, size = turn.suppliers.new_id(), 600 + job.body_bytes
        turn.write(InsertJob(row_of(job), spare_id=spare_id, size=size, unit=True), job)

    def _job(self, row: ScheduleRow, job_id: str) -> Job:
        options = options_of(row)
        options.id = job_id
        if row.overlap == "skip":
            options.unique = f"cron:{row.name}"
        if row.jitter:
            options.delay = (options.delay or 0.0) + row.jitter * self._turn.suppliers.jitter()
        service = self._held.known(row.service)
        return self._making.job(service, options, row.body, self._making.start(service, options))

    def inserted(self, job: Job, verdict: Verdict) -> None:
        """The store has decided on a job that may be one of these."""
        if not job.id.startswith("cron:"):
            return
        self._tell(job.id, verdict)
        row = self.rows.get(job.id.split(":")[1])
        if verdict.verdict == UNIQUE_CONFLICT and row is not None and row.last_id == job.id:
            counters = self._turn.counters
            counters["schedules_skipped"] += 1
            counters["schedules_fired"] -= 1
            row.fired -= 1
            row.last_id = verdict.job_id  # the one before goes on
            self._write(row)

    def _tell(self, job_id: str, verdict: Verdict | None) -> None:
        told = self._by_hand.pop(job_id, None)
        if told is not None:
            told(verdict)


def options_of(row: ScheduleRow) -> JobOptions:
    """The options of its jobs."""
    return job_options_of(json.loads(row.options))


def fired_id(name: str, nominal: float) -> str:
    """The id of the job of a time."""
    return f"cron:{name}:{utc(nominal)}"


def utc(at: float) -> str:
    """A time as it stands in the id of a job: ISO 8601, UTC, to the second where that is all of it."""
    moment = datetime.fromtimestamp(at, UTC)
    return moment.isoformat(timespec="seconds" if at == int(at) else "microseconds").replace("+00:00", "Z")


def _fired(verdict: Verdict) -> None:
    """NEW; or UNKNOWN: it was removed, or another broker has fired."""
    assert verdict.verdict in (NEW, "unknown"), verdict


def _going_on(row: ScheduleRow, known: ScheduleRow) -> ScheduleRow:
    """A schedule as it is said anew, and what it has done before."""
    done = {name: getattr(known, name) for name in ("last_at", "fired_at", "last_id", "fired", "since")}
    if known.by_hand:
        done |= {"paused": known.paused, "by_hand": True}
    if (row.cron, row.every, row.zone) == (known.cron, known.every, known.zone):
        done["anchor"] = known.anchor  # else what has passed by the new times was not missed
    return replace(row, **done)
