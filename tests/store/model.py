"""What a store is, in as few words as can be: the reference that every other is compared with.

Rule 1: rows in a dict, and each answer worked out anew from all of them. No index, no count that is kept.
Rule 2: it is also the disk of the simulator and of the transcripts, so it keeps what it holds in the open.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from typing import Any

from zmws.core.conclusion import conclusion, usual_id
from zmws.core.job import Event, listed_error
from zmws.core.options import KEEP_S
from zmws.core.reads import (
    Filter,
    Read,
    ReadAhead,
    ReadAudit,
    ReadBatch,
    ReadBatches,
    ReadCauses,
    ReadExpired,
    ReadFamily,
    ReadJob,
    ReadJobs,
    ReadMatching,
    ReadScheduled,
    ReadSchedules,
    ReadSearch,
    ReadSeries,
    ReadUnfinished,
    ReadUsual,
    ReadWaiting,
)
from zmws.core.rows import (
    BATCH_FIRST_MAX,
    BATCH_WAITS_S,
    Act,
    BatchRow,
    Cause,
    Key,
    KeyRow,
    KnownBatch,
    KnownService,
    Row,
    Rows,
    ScheduleRow,
    SeriesMark,
    Unfinished,
    size_of,
)
from zmws.core.series import CLOCKS, added
from zmws.core.states import FINAL_STATES, REVIVABLE
from zmws.core.writes import (
    DELETED,
    EXISTING,
    FULL,
    NEW,
    UNIQUE_CONFLICT,
    UNKNOWN,
    AppendToJob,
    CloseBatch,
    Counted,
    DeleteJob,
    FinishJob,
    FinishMember,
    FireSchedule,
    ForgetActs,
    ForgetService,
    InsertJob,
    OpenBatch,
    Pruned,
    PruneJobs,
    RememberService,
    RemoveSchedule,
    ReviveJob,
    UpdateJob,
    Verdict,
    Write,
    WriteAct,
    WriteKey,
    WriteMark,
    WriteSchedule,
    WriteSeries,
    refuses,
    units,
    units_verdicts,
)
from zmws.wire.causes import FailureCause, cause_of


class ModelStore:
    """All that there is of a job is in `rows`, `histories` and, once it has ended, `forget_at`."""

    durability = "disk"
    refuses_inserts = False
    waits_for: str | None = None
    used_bytes = free_bytes = free_bytes_min = 0

    def __init__(self, causes_max: int = 1_000) -> None:
        self.causes_max = causes_max
        self.rows: dict[str, Row] = {}
        self.histories: dict[str, list[Event]] = {}
        self.forget_at: dict[str, float] = {}
        self.services: dict[str, KnownService] = {}
        self.causes: dict[str, dict[str, Any]] = {}
        self.figures: dict[tuple[str, int, int], dict[str, Any]] = {}
        self.marks: list[SeriesMark] = []
        self.acts: list[Act] = []
        self.acts_made = 0
        self.batches: dict[str, BatchRow] = {}
        self.batches_made = 0
        self.templates: dict[tuple[str, str], Row] = {}  # by batch and kind
        self.schedules: dict[str, ScheduleRow] = {}
        self.keys: dict[str, KeyRow] = {}
        self.counted: list[tuple[Counted, FinishMember | CloseBatch]] = []  # of the commit under way
        self.no_room: str | None = None  # what new jobs are refused with: FULL or DISK_FULL

    def commit(self, writes: Sequence[Write]) -> list[Verdict]:
        """Apply the writes, unit after unit; then see which batches have ended."""
        verdicts: list[Verdict] = []
        self.counted = []
        for unit in units(writes):
            verdicts += self._unit(unit) if len(unit) > 1 else _there([self._apply(unit[0])])
        for name in dict.fromkeys(verdict.batch for verdict, _ in self.counted):
            self._settle(name)
        for batch in self.batches.values():
            if batch.unfinished or not batch.closed:
                batch.ended_at = batch.forget_at = None
        return verdicts

    def read(self, read: Read) -> Rows:
        """Answer a read."""
        rows = sorted(self.rows.values(), key=lambda row: int(row["number"]))
        if isinstance(read, ReadJob):
            return Rows([self._job(row, read) for row in rows if row["id"] == read.job_id])
        if isinstance(read, ReadWaiting):
            mine = [row for row in rows if (row["service"], row["group"]) == (read.service, read.group)]
            return _page(mine, "waiting", "rank", read)
        if isinstance(read, ReadScheduled):
            return _page(
                [row for row in rows if row["by_wall"] == read.by_wall], "scheduled", "ready_at", read
            )
        if isinstance(read, ReadExpired):
            return _expired(rows, read)
        if isinstance(read, ReadMatching):
            some = [row for row in rows if row["state"] in read.states]
            return _list(some, read.where, read.limit, lambda n: read.after < n <= read.last)
        if isinstance(read, ReadSeries):
            return self._series(read)
        if isinstance(read, ReadUsual):
            hours = {key: one for key, one in self.figures.items() if key[1] == 3600 and key[2] >= read.since}
            return Rows(series=sorted((at, name, one) for (name, _, at), one in hours.items()))
        if isinstance(read, ReadCauses):
            return self._causes(read)
        if isinstance(read, ReadAudit):
            return self._audit(read)
        if isinstance(read, ReadAhead):
            mine = [row for row in rows if (row["service"], row["group"]) == (read.service, read.group)]
            before = [row for row in mine if row["state"] == "waiting" and _key(row) < (read.key or (0, 0))]
            series = ReadSeries(None, read.service, 60, read.since, math.inf, 2 * read.limit)
            count = None if read.key is None else min(read.limit, len(before))
            lines = [
                (
                    at,
                    name,
                    {one: float(value) for one, value in figures.items() if one in ("seconds", *CLOCKS)},
                )
                for at, name, figures in self._series(series).series
            ]
            return Rows(series=lines, next=count)
        if isinstance(read, ReadBatch):
            return Rows(batches=[deepcopy(one) for one in self.batches.values() if one.id == read.batch])
        if isinstance(read, ReadBatches):
            return self._batches(read)
        if isinstance(read, ReadFamily):
            return self._family(rows, read)
        if isinstance(read, ReadSchedules):
            names = [name for name in sorted(self.schedules) if read.name in (None, name)]
            return Rows(schedules=[self._schedule(name) for name in names])
        if isinstance(read, ReadSearch):
            return self._search(rows[::-1], read)
        if isinstance(read, ReadJobs):
            found = _list(
                rows[::-1], read.where, read.limit, lambda n: read.cursor is None or n < read.cursor
            )
            found.rows = [_listed(row) for row in found.rows]
            return found
        assert isinstance(read, ReadUnfinished), read
        running = [self._as_its_history_says(row) for row in rows if row["state"] == "running"]
        return Rows(running, unfinished=self._unfinished(rows))

    def give_up(self) -> None:
        """Nothing here waits."""

    def close(self) -> None:
        """Nothing to let go of: a broker that starts anew finds all of it."""

    # ------------------------------------------------------------ writes

    def _unit(self, unit: list[Write]) -> list[Verdict]:
        names = (
            *("rows", "histories", "forget_at", "services", "causes", "batches", "templates", "schedules"),
            "keys",
        )
        before = deepcopy({name: getattr(self, name) for name in names})
        before |= {"figures": self.figures.copy(), "marks": self.marks.copy()}
        before |= {"acts": self.acts.copy(), "acts_made": self.acts_made}
        before |= {"counted": self.counted.copy(), "batches_made": self.batches_made}
        verdicts = []
        for write in unit:
            verdict = self._apply(write)
            if verdict is not None and refuses(verdict, write):
                vars(self).update(before)
                return units_verdicts(unit, write, verdict)
            verdicts.append(verdict)
        return _there(verdicts)

    def _apply(self, write: Write) -> Verdict | None:
        if isinstance(write, InsertJob):
            return self._insert(write)
        if isinstance(write, ReviveJob):
            return self._revive(write)
        if isinstance(write, DeleteJob):
            row = self.rows.get(write.job_id)
            if row is None or row["state"] not in FINAL_STATES:
                return Verdict(UNKNOWN, write.job_id)
            self._remove(write.job_id)
            return Verdict(DELETED, write.job_id, row["service"], row["state"])
        if isinstance(write, PruneJobs):
            return self._prune(write)
        if isinstance(write, OpenBatch):
            return self._open(write)
        if isinstance(write, CloseBatch):
            if write.batch not in self.batches:
                return Verdict(UNKNOWN, "")
            self.batches[write.batch].closed = True
            return self._counted(Counted("counted", "", batch=write.batch), write)
        if isinstance(write, FireSchedule):
            return self._fire(write)
        if isinstance(write, UpdateJob):
            row = self.rows[write.job_id]
            row |= write.changes
            if isinstance(write, FinishJob):
                assert write.job_id not in self.forget_at and row["state"] in FINAL_STATES, write
                self.forget_at[write.job_id] = write.forget_at
                if row["state"] == "failed":
                    row["cause"] = self._cause(row)
                if isinstance(write, FinishMember):
                    self._count(write.batch, row["state"], write.job_id)
                    verdict = Counted("counted", write.job_id, write.service, batch=write.batch)
                    return self._counted(verdict, write)
        elif isinstance(write, AppendToJob):
            assert write.job_id in self.rows, write
            event = (write.n, write.at, write.kind, write.value)
            self.histories.setdefault(write.job_id, []).append(event)
        elif isinstance(write, WriteSeries):
            for step in (60, 3600):
                for name, figures in write.figures:
                    key = (name, step, write.at // step * step)
                    self.figures[key] = added((self.figures.get(key, {}), figures))
            kept = {60: write.minutes_from, 3600: write.hours_from}
            self.figures = {key: one for key, one in self.figures.items() if key[2] >= kept[key[1]]}
            self.marks = [mark for mark in self.marks if mark.at >= write.hours_from]
        elif isinstance(write, WriteMark):
            self.marks.append(SeriesMark(write.at, write.kind, write.text, write.service, write.by))
        elif isinstance(write, ForgetActs):
            if isinstance(write, WriteAct):
                self.acts_made += 1
                said = [_whole(text) for text in (write.by, write.verb, write.on, write.detail)]
                self.acts.append(Act(self.acts_made, write.at, *said, write.count, write.outcome))  # type: ignore[arg-type]
            kept = [act for act in self.acts if act.at >= write.acts_from]
            self.acts = [act for act in kept if act.number > kept[-1].number - write.acts_max]
        elif isinstance(write, WriteKey):
            others = {name: key for name, key in self.keys.items() if key.proof != write.key.proof}
            self.keys = others | {write.key.name: deepcopy(write.key)}
        elif isinstance(write, WriteSchedule):
            self.schedules[write.schedule.name] = deepcopy(write.schedule)
        elif isinstance(write, RemoveSchedule):
            self.schedules.pop(write.name, None)
        elif isinstance(write, ForgetService):
            self.services.pop(write.service, None)
        else:
            assert isinstance(write, RememberService), write
            known = self.services.get(write.service, KnownService(write.service))
            told = {"paused": write.paused, "defaults": write.defaults, "params": write.params}
            told["limits"] = write.limits
            said = {name: value for name, value in told.items() if value is not None}
            self.services[write.service] = known._replace(**said)
        return None

    def _held_by(self, holder: str) -> Verdict:
        row = self.rows[holder]
        return Verdict(UNIQUE_CONFLICT, holder, row["service"], batch=row["batch"], group=row["group"])

    def _insert(self, write: InsertJob) -> Verdict:
        row = write.row
        if row["id"] in self.rows:
            known = self.rows[row["id"]]
            own = (known["parent"], known["parent_number"]) == (row["parent"], row["parent_number"])
            if not write.spare_id or own:
                more = {name: known[name] for name in ("batch", "chain", "group")}
                return Verdict(EXISTING, row["id"], known["service"], **more)
            row = row | {"id": write.spare_id}
        if (holder := self._holder(row)) is not None:
            return self._held_by(holder)
        if not write.spare_id and (write.only_if_known or self.no_room is not None):
            return Verdict(FULL if write.only_if_known else self.no_room or "", row["id"], row["service"])
        assert row["number"] not in {one["number"] for one in self.rows.values()}, row
        assert row["state"] not in FINAL_STATES and row["id"] not in self.rows, row
        self.rows[row["id"]] = dict(row)
        if row["batch"] in self.batches:
            self.batches[row["batch"]].total += 1
        return Verdict(NEW, row["id"], row["service"])

    def _holder(self, row: Row) -> str | None:
        """Who holds the unique key of this row."""
        for one in self.rows.values():
            same = (one["service"], one["unique"]) == (row["service"], row["unique"])
            if same and one["unique"] is not None and one["state"] not in FINAL_STATES:
                return str(one["id"])
        return None

    def _revive(self, write: ReviveJob) -> Verdict:
        row = self.rows.get(write.job_id)
        if row is None or row["state"] not in REVIVABLE:
            return Verdict(UNKNOWN, write.job_id)
        if (holder := self._holder(row)) is not None:
            return self._held_by(holder)
        self._count(row["batch"], row["state"], write.job_id, back=True)
        row |= write.changes
        del self.forget_at[write.job_id]
        return Verdict(NEW, write.job_id, row["service"])

    def _remove(self, job_id: str) -> None:
        for table in (self.rows, self.histories, self.forget_at):
            table.pop(job_id, None)  # type: ignore[attr-defined]

    def _prune(self, write: PruneJobs) -> Verdict:
        counts: Counter[tuple[str, str]] = Counter()
        left = write.limit
        for job_id in sorted(self.forget_at, key=self.forget_at.__getitem__):
            history = sorted(self.histories.get(job_id, []), key=lambda event: event[0])
            if self.forget_at[job_id] > write.at:
                break
            if left <= len(history):  # more than the rest of the step: the oldest of it, and no more
                self.histories[job_id] = history[left:]
                left = 0
                break
            left -= len(history) + 1
            counts[self.rows[job_id]["service"], self.rows[job_id]["state"]] += 1
            self._remove(job_id)
        left_over = {row["cause"] for row in self.rows.values()}
        old = [(one["last_at"], cause) for cause, one in self.causes.items() if cause not in left_over]
        for last_at, cause in sorted(old)[: write.limit]:
            if last_at < write.at - KEEP_S["failed"]:
                del self.causes[cause]
        due = [(one.forget_at, name) for name, one in self.batches.items() if one.forget_at is not None]
        for forget_at, name in sorted(due)[:left]:
            if forget_at <= write.at and any(row["batch"] == name for row in self.rows.values()):
                self.batches[name].forget_at = write.at + BATCH_WAITS_S
            elif forget_at <= write.at:
                del self.batches[name]
                for kind in ("then", "failed"):
                    self.templates.pop((name, kind), None)
        return Pruned("pruned", "", counts=dict(counts), next_at=self._next_due())

    def _next_due(self) -> float | None:
        """When the first of what has ended is due to be forgotten."""
        batches = [one.forget_at for one in self.batches.values() if one.forget_at is not None]
        return min([*self.forget_at.values(), *batches], default=None)

    def _open(self, write: OpenBatch) -> Verdict:
        if write.batch in self.batches:
            return Verdict(EXISTING, write.batch)
        self.batches_made += 1
        self.counted = [one for one in self.counted if one[0].batch != write.batch]
        then, failed = (None if row is None else row["service"] for row in (write.then, write.failed))
        self.batches[write.batch] = BatchRow(
            number=self.batches_made,
            id=write.batch,
            created_at=write.at,
            then_service=then,
            failed_service=failed,
            keep=write.keep,
            meta=_whole(write.meta),
            by=_whole(write.by),
            group=_whole(write.group),
        )
        for kind, row in (("then", write.then), ("failed", write.failed)):
            if row is not None:
                self.templates[write.batch, kind] = deepcopy(row)
        return Verdict(NEW, write.batch)

    def _count(self, name: str | None, state: str, job_id: str, back: bool = False) -> None:
        """A member of this batch has ended in this state, or `back`: waits again."""
        batch = self.batches.get(name or "")
        if batch is None:
            return
        counts, first = getattr(batch, state), [one for one in batch.first if one != job_id]
        if back and counts > 0:
            setattr(batch, state, counts - 1)
            batch.first = tuple(first)
        elif not back and batch.unfinished > 0:
            setattr(batch, state, counts + 1)
            if state != "complete":
                batch.first = (*batch.first, job_id)[:BATCH_FIRST_MAX]

    def _counted(self, verdict: Counted, write: FinishMember | CloseBatch) -> Counted:
        self.counted.append((verdict, write))
        return verdict

    def _settle(self, name: str) -> None:
        """What this batch is at the end of a commit in which a member has ended, or it was closed."""
        batch = self.batches.get(name)
        counted = [one for one in self.counted if one[0].batch == name]
        if batch is None or not batch.closed or batch.unfinished:
            return
        last, write = counted[-1]
        if batch.ended_at is None or any(verdict.job_id for verdict, _ in counted):
            keep = KEEP_S[batch.state] if batch.keep is None else batch.keep
            batch.ended_at, batch.forget_at = write.at, write.steady + keep
        for verdict, _ in counted:
            verdict.ended, verdict.forget_at = True, batch.forget_at
        kind = "then" if batch.state == "complete" else "failed"
        template = self.templates.pop((name, kind), None)  # once ever
        if template is None:
            return
        usual = usual_id(batch, kind)
        job_id = usual if usual not in self.rows else write.spare_id
        job = conclusion(template, batch, kind, job_id, write.number, write.at, write.steady)
        assert job_id not in self.rows
        self.rows[job_id], last.concluded = deepcopy(job), job
        setattr(batch, f"{kind}_id", job_id)
        setattr(batch, f"{kind}_at", write.at)

    def _fire(self, write: FireSchedule) -> Verdict:
        known = self.schedules.get(write.name)
        if known is None:
            return Verdict(UNKNOWN, write.job_id)
        if write.nominal is not None:
            if known.last_at is not None and 0 <= known.last_at - write.nominal <= write.back_s:
                return Verdict(UNKNOWN, write.job_id)
            known.last_at = write.nominal
        known.fired_at, known.last_id, known.fired = write.at, write.job_id, known.fired + 1
        return Verdict(NEW, write.job_id)

    def _has_room(self, service: str) -> bool:
        """Whether a new cause is told apart; the one that is needed no more for longest makes way for it."""
        mine = sum(one["service"] == service for one in self.causes.values())
        kept_free = self.causes_max // 10
        if len(self.causes) < self.causes_max - (0 if mine < kept_free else kept_free):
            return True
        used = {row["cause"] for row in self.rows.values() if row["state"] == "failed"}
        old = sorted({*self.causes} - used, key=lambda cause: (self.causes[cause]["last_at"], cause))
        if old:
            del self.causes[old[0]]
        return bool(old)

    def _cause(self, row: Row) -> str:
        why = cause_of(row["error"])
        cause = why.key(row["service"])
        if cause not in self.causes and not self._has_room(row["service"]):
            why = FailureCause(None, "other causes: there are more than causes_max", None)
            cause = why.key(row["service"])
        known = self.causes.setdefault(
            cause,
            {"service": row["service"], "why": why, "total": 0, "first_at": row["ended_at"], "hours": {}},
        )
        hour = int(row["ended_at"] // 3600)
        known["hours"][hour] = known["hours"].get(hour, 0) + 1
        known["hours"] = dict(sorted(known["hours"].items())[-24:])
        known |= {"why": why, "total": known["total"] + 1, "last_job": row["id"]}
        known["last_at"] = max(known.get("last_at", 0.0), row["ended_at"])
        return cause

    # ------------------------------------------------------------ reads

    def _series(self, read: ReadSeries) -> Rows:
        found = [
            (at, name, figures)
            for (name, step, at), figures in self.figures.items()
            if step == read.step and name in (read.service or "", "") and read.since <= at < read.before
        ]
        marks = sorted(
            (mark for mark in self.marks if read.since <= mark.at < read.before), key=lambda mark: mark.at
        )
        if read.service is not None:
            marks = [mark for mark in marks if mark.service in (None, read.service)]
        return Rows(
            series=sorted(found, key=lambda one: one[:2])[: 2 * read.limit], marks=marks[-read.limit :]
        )

    def _causes(self, read: ReadCauses) -> Rows:
        failed = Counter(row["cause"] for row in self.rows.values() if row["state"] == "failed")
        found = [
            Cause(
                *(cause, one["service"], *one["why"], failed[cause], one["total"]),
                *(one["first_at"], one["last_at"], one["last_job"], one["hours"]),
            )
            for cause, one in self.causes.items()
            if read.service in (None, one["service"])
            if read.cursor is None or (one["last_at"], cause) < read.cursor
        ]
        found.sort(key=lambda one: (one.last_at, one.cause), reverse=True)
        return Rows(causes=found[: read.limit], next=1 if len(found) > read.limit else None)

    def _audit(self, read: ReadAudit) -> Rows:
        found = [
            act
            for act in self.acts[::-1]
            if read.cursor is None or act.number < read.cursor
            if read.by in (None, act.by) and read.verb in (None, act.verb) and read.on in (None, act.on)
            if (read.since is None or act.at >= read.since) and (read.before is None or act.at < read.before)
        ]
        page = found[: read.limit]
        return Rows(acts=page, next=page[-1].number if len(found) > read.limit else None)

    def _search(self, rows: list[Row], read: ReadSearch) -> Rows:
        """All that there is is looked at, whatever the time."""
        below = [row for row in rows if read.cursor is None or row["number"] < read.cursor]
        found = [row for row in below if _matches(row, read.where) and _stands_in(row, read)]
        page = found[: read.limit]
        further = len(found) > read.limit
        looked = [row for row in below if not further or row["number"] >= page[-1]["number"]]
        listed = [_listed(row) for row in page]
        oldest = min((row["created_at"] for row in looked), default=None)
        return Rows(
            listed, next=page[-1]["number"] if further else None, looked=len(looked), looked_to=oldest
        )

    def _batches(self, read: ReadBatches) -> Rows:
        found = [
            deepcopy(one)
            for one in sorted(self.batches.values(), key=lambda one: -one.number)
            if (read.cursor is None or one.number < read.cursor) and read.state in (None, one.state)
        ]
        page = found[: read.limit]
        return Rows(batches=page, next=page[-1].number if len(found) > read.limit else None)

    def _family(self, rows: list[Row], read: ReadFamily) -> Rows:
        """Up, then down in generations; nobody is in it twice, whoever made whom."""
        if read.job_id not in self.rows:
            return Rows()
        above = [read.job_id]
        while (parent := self.rows[above[-1]]["parent"]) in self.rows and parent not in above:
            above.append(parent)
        found = [above[-1]]
        for one in found:
            found += [row["id"] for row in rows if row["parent"] == one and row["id"] not in found]
        page = [_listed(self.rows[one]) for one in found[: read.limit]]
        return Rows(page, next=page[-1]["number"] if len(found) > read.limit else None)

    def _schedule(self, name: str) -> tuple[ScheduleRow, Row | None]:
        schedule = deepcopy(self.schedules[name])
        last = self.rows.get(schedule.last_id or "")
        return schedule, None if last is None else _listed(last)

    def _history(self, row: Row, past: int = -1) -> list[Event]:
        events = sorted(self.histories.get(row["id"], []), key=lambda event: event[0])
        return [event for event in events if event[0] > past]

    def _job(self, row: Row, read: ReadJob) -> Row:
        if read.past is not None:
            return _light(row) | {"history": self._history(row, read.past)}
        return row | {"history": self._history(row)} if read.whole else _light(row)

    def _as_its_history_says(self, row: Row) -> Row:
        history = self._history(row)
        partials = sum(kind == "partial" for _, _, kind, _ in history)
        log_bytes = sum(len(value.encode()) for _, _, kind, value in history if kind == "log")
        return row | {
            "events": max([row["events"], *(n for n, *_ in history)]),
            "partials_count": max(row["partials_count"], partials),
            "log_bytes": max(row["log_bytes"], log_bytes),
        }

    def _unfinished(self, rows: list[Row]) -> Unfinished:
        waiting = Counter((row["service"], row["group"]) for row in rows if row["state"] == "waiting")
        scheduled = Counter(row["service"] for row in rows if row["state"] == "scheduled")
        unfinished = [row for row in rows if row["state"] in ("scheduled", "waiting", "running")]
        submitted = Counter(row["submitter"] for row in unfinished if row["submitter"] is not None)
        return Unfinished(
            services=[self.services[name] for name in sorted(self.services)],
            waiting=sorted(((*key, n) for key, n in waiting.items()), key=lambda one: (one[0], one[1] or "")),
            scheduled=sorted(scheduled.items()),
            ended=dict(
                Counter((row["service"], row["state"]) for row in rows if row["state"] in FINAL_STATES)
            ),
            number=rows[-1]["number"] if rows else 0,
            forget_at=self._next_due(),
            batches=[
                KnownBatch(one.id, one.created_at, one.by, one.group)
                for one in sorted(self.batches.values(), key=lambda one: one.number)
                if not one.closed
            ],
            schedules=[deepcopy(self.schedules[name]) for name in sorted(self.schedules)],
            keys=[deepcopy(self.keys[name]) for name in sorted(self.keys)],
            submitted=sorted(submitted.items()),
        )


def _whole(text: str | None) -> str | None:
    return None if text is None else text.encode("utf-8", "replace").decode()


def _there(verdicts: Iterable[Verdict | None]) -> list[Verdict]:
    return [verdict for verdict in verdicts if verdict is not None]


def _light(row: Row) -> Row:
    return row | {"body": (), "result": (), "saved": None, "meta": None, "rest": None}


def _listed(row: Row) -> Row:
    unlisted: Row = {"attempts": (), "states": (), "concludes": None, "error": listed_error(row["error"])}
    return _light(row) | unlisted


def _page(rows: list[Row], state: str, name: str, read: ReadWaiting | ReadScheduled) -> Rows:
    """In the order of their keys, as long as they fit."""

    def key(row: Row) -> Key:
        return row[name], row["number"]

    page: list[Row] = []
    size = 0
    for row in sorted((row for row in rows if row["state"] == state and key(row) >= read.since), key=key):
        size += size_of(row["body"])
        if len(page) == read.limit or (page and size > read.bytes_max):
            return Rows(page, more=key(row))
        page.append(dict(row))
    return Rows(page)


def _expired(rows: list[Row], read: ReadExpired) -> Rows:
    due = [
        row
        for row in rows
        if row["state"] in ("waiting", "scheduled") and not row["attempt"] and row["expires_at"] is not None
        if row["expires_at"] <= read.at
    ]
    due.sort(key=lambda row: (row["expires_at"], row["number"]))
    left = due[read.limit :]
    more = (left[0]["expires_at"], left[0]["number"]) if left else None
    kept = [{} if row["on_failed"] is None else {"body": row["body"], "meta": row["meta"]} for row in due]
    page = [_light(row) | more_of for row, more_of in zip(due, kept, strict=True)]
    return Rows(page[: read.limit], more=more)


def _list(rows: list[Row], where: Filter, limit: int, wanted: Callable[[Any], bool]) -> Rows:
    found = [_light(row) for row in rows if wanted(row["number"]) and _matches(row, where)]
    return Rows(found[:limit], next=found[limit - 1]["number"] if len(found) > limit else None)


def _matches(row: Row, where: Filter) -> bool:
    return (
        (where.service is None or row["service"] == where.service)
        and (where.state is None or row["state"] == where.state)
        and (where.group is None or row["group"] == where.group)
        and (where.since is None or row["created_at"] >= where.since)
        and (where.before is None or row["created_at"] < where.before)
        and (where.cause is None or row["cause"] == where.cause)
        and (where.parent is None or row["parent"] == where.parent)
        and (where.chain is None or row["chain"] == where.chain)
        and (where.batch is None or row["batch"] == where.batch)
        and (where.submitter is None or row["submitter"] == where.submitter)
    )


def _stands_in(row: Row, read: ReadSearch) -> bool:
    escaped = json.dumps(read.text)[1:-1], json.dumps(read.text, ensure_ascii=False)[1:-1]
    places = {
        "id": row["id"].encode(),
        "error": json.dumps(row["error"]).encode() if row["error"] is not None else b"",
        "params": b"\0".join(row["body"]),
        "result": b"\0".join(row["result"]),
    }
    texts = {read.text, *escaped}
    texts |= {form.replace("/", "\\/") for form in texts}
    texts |= {re.sub(r"\\u([0-9a-f]{4})", lambda found: f"\\u{found[1].upper()}", form) for form in texts}
    forms = {text.encode("utf-8", "surrogatepass") for text in texts}
    return any(form in places[place] for form in forms for place in read.places)


def _key(row: Row) -> Key:
    return row["rank"], row["number"]
