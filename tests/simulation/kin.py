"""What follows from ends, batches and schedules is there exactly once, in the commit that it belongs
to, and nothing else is (docs/workflows.md)."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tests.simulation.violation import demand
from tests.simulation.world import World
from tests.store.model import ModelStore
from zmws.core.rows import Row, ScheduleRow
from zmws.core.states import COMPLETE, EXPIRED, FAILED, FINAL_STATES
from zmws.core.tokens import make_token
from zmws.core.writes import (
    NEW,
    WITH_VERDICT,
    CloseBatch,
    Counted,
    FinishJob,
    FireSchedule,
    InsertJob,
    RemoveSchedule,
    ReviveJob,
    Write,
    WriteSchedule,
)

_KEPT = ("parent", "batch", "chain", "step", "rest", "on_complete", "on_failed", "depth")


@dataclass(slots=True)
class Expected:
    """What a FINAL said is to follow, by the service of each."""

    services: list[str]


class Kin:
    """Follows every stored job that stands to another in some way."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.said: dict[bytes, Expected] = {}  # by token
        self._jobs: dict[str, Row] = {}  # stored ones, as they were inserted
        self._members: defaultdict[str, dict[str, str | None]] = defaultdict(dict)  # by batch: job and end
        self._concluded: set[tuple[str, str]] = set()  # batch and kind
        self._schedules: dict[str, ScheduleRow] = {}
        self._removed: set[str] = set()  # and whoever asked for that was told so
        self._fired: set[str] = set()  # ids of jobs

    def removed(self, name: str) -> None:
        """Somebody was told that this schedule is no more."""
        self._removed.add(name)

    # ------------------------------------------------------------ a commit

    def committed(self, writes: list[Write], verdicts: list[Any], disk: ModelStore) -> None:
        """A batch is on disk."""
        answers = iter(verdicts)
        finished: dict[str, FinishJob] = {}
        children: defaultdict[str, list[Row]] = defaultdict(list)
        for write in writes:
            verdict = next(answers) if isinstance(write, WITH_VERDICT) else None
            if isinstance(write, InsertJob):
                self._inserted(write, verdict, children)
            elif isinstance(write, FinishJob):
                finished[write.job_id] = write
                batch = self._jobs.get(write.job_id, {}).get("batch")
                if batch is not None:
                    self._members[batch][write.job_id] = write.changes["state"]
            elif isinstance(write, ReviveJob) and verdict is not None and verdict.verdict == NEW:
                batch = self._jobs.get(write.job_id, {}).get("batch")
                if batch is not None:
                    self._members[batch][write.job_id] = None
            elif isinstance(write, (WriteSchedule, RemoveSchedule, FireSchedule)):
                self._scheduled(write, verdict)
            if isinstance(verdict, Counted) and verdict.concluded is not None:
                self._conclusion(verdict.concluded, disk)
            if isinstance(write, CloseBatch):
                demand(write.batch in disk.batches or verdict is None, f"{write} is of no batch")
        for parent, rows in children.items():
            self._of_one_commit(parent, rows, finished)
        for write in finished.values():
            self._all_there(write, children[write.job_id], disk)
        self._counted_right(disk)

    def _inserted(self, write: InsertJob, verdict: Any, children: dict[str, list[Row]]) -> None:
        row = write.row
        if row["parent"] is not None:
            children[row["parent"]].append(row)
        if verdict.verdict != NEW:
            return
        job_id = verdict.job_id
        self._jobs[job_id] = {name: row[name] for name in _KEPT}
        if row["batch"] is not None:
            self._members[row["batch"]][job_id] = None
        if job_id.startswith("cron:") and not job_id.split(":")[2].startswith("run-"):
            demand(job_id not in self._fired, f"{job_id} was made twice")
            self._fired.add(job_id)
            at = datetime.fromisoformat(job_id.split(":", 2)[2]).timestamp()
            early = at - self.world.wall
            demand(early < 0.001 or self.world.clock_jumped, f"{job_id} was made {early:.3f} s early")

    # ------------------------------------------------------------ ends

    def _of_one_commit(self, parent: str, rows: list[Row], finished: dict[str, FinishJob]) -> None:
        """Nothing follows but from an end, and in its commit. (A memory job is on no disk.)"""
        if parent not in self._jobs:
            return
        there = {row["id"] for row in rows}
        demand(parent in finished, f"{there} are in another commit than the end of {parent}")
        state = finished[parent].changes["state"]
        for row in rows:
            told = _is_told(row, parent)
            good = {"on_complete": {COMPLETE}, "on_failed": {FAILED, EXPIRED}, "": {COMPLETE}}[told]
            demand(state in good, f"{row['id']} follows from {parent}, which is {state}")

    def _all_there(self, write: FinishJob, rows: list[Row], disk: ModelStore) -> None:
        """All that is to follow from this end does, once."""
        job, state = self._jobs.get(write.job_id), write.changes["state"]
        if job is None:
            return
        told = [_is_told(row, write.job_id) for row in rows]
        steps = [row for row in rows if row["chain"] is not None and row["chain"] == job["chain"]]
        asked_for = len([one for one in told if not one]) - len(steps)
        wanted = int(job["rest"] is not None and state == COMPLETE)
        demand(len(steps) == wanted, f"{len(steps)} steps follow {write.job_id}, {state}, step {job['step']}")
        for row in steps:
            demand(row["step"] == job["step"] + 1, f"{row['id']} is step {row['step']}, not the next")
        for name, states in (("on_complete", {COMPLETE}), ("on_failed", {FAILED, EXPIRED})):
            wanted = int(job[name] is not None and state in states)
            count = told.count(name)
            demand(count == wanted, f"{write.job_id} is {state}, and {name} was told {count} times")
        row = disk.rows.get(write.job_id)
        if state != COMPLETE:
            demand(asked_for == 0, f"{asked_for} jobs follow from {write.job_id}, which is {state}")
        elif row is not None and row["nonce"] is not None:
            said = self.said.get(make_token(row["id"], row["attempt"], row["nonce"]))
            wanted = 0 if said is None else len(said.services)
            demand(asked_for == wanted, f"{asked_for} of {wanted} jobs follow from {write.job_id}")

    # ------------------------------------------------------------ batches

    def _conclusion(self, row: Row, disk: ModelStore) -> None:
        """A job follows from a batch: once, and when all have ended."""
        batch, kind = row["concludes"]["batch"], row["concludes"]["as"]
        demand((batch, kind) not in self._concluded, f"'{kind}' of {batch} follows once more")
        self._concluded.add((batch, kind))
        known = disk.batches.get(batch)
        demand(known is None or known.closed, f"'{kind}' of {batch} follows, and it is open")
        self._jobs[row["id"]] = {name: row[name] for name in _KEPT}

    def _counted_right(self, disk: ModelStore) -> None:
        """Each batch has the counts of its members, and what follows from them."""
        for name, batch in disk.batches.items():
            ends = list(self._members[name].values())
            found = (batch.total, batch.complete, batch.failed, batch.cancelled, batch.expired)
            counts = [ends.count(state) for state in ("complete", "failed", "cancelled", "expired")]
            demand(found == (len(ends), *counts), f"{name} counts {found}, and it is {len(ends), *counts}")
            over = batch.closed and None not in ends
            demand((batch.ended_at is not None) == over, f"{name} has ended_at = {batch.ended_at}: {ends}")
            kind = "then" if counts[0] == len(ends) else "failed"
            service = batch.then_service if kind == "then" else batch.failed_service
            if over and service is not None:
                demand((name, kind) in self._concluded, f"{name} has ended, and '{kind}' does not follow")
        for name, kind in self._concluded:
            ends = list(self._members[name].values())
            if kind == "then" and name in disk.batches and disk.batches[name].ended_at is not None:
                demand(set(ends) <= {COMPLETE}, f"'then' of {name} follows, and it is {ends}")

    # ------------------------------------------------------------ schedules

    def _scheduled(self, write: WriteSchedule | RemoveSchedule | FireSchedule, verdict: Any) -> None:
        if isinstance(write, WriteSchedule):
            self._schedules[write.schedule.name] = write.schedule
        elif isinstance(write, RemoveSchedule):
            self._schedules.pop(write.name, None)
        elif verdict.verdict == NEW:
            known = self._schedules.get(write.name)
            demand(write.name not in self._removed, f"{write.name} fires, and it was removed")
            demand(known is not None, f"{write.name} fires, and there is no such schedule")
            assert known is not None
            if write.nominal is not None:
                demand(not known.paused, f"{write.name} fires, and it is paused")
                self._none_left_out(known, write.nominal)
                known.last_at = write.nominal

    def _none_left_out(self, row: ScheduleRow, nominal: float) -> None:
        """Of a schedule that makes up for all, each time comes after the one before."""
        if row.missed != "all" or row.every is None or row.overlap != "allow":
            return
        before = row.anchor if row.last_at is None else row.last_at
        if row.since is not None and row.since > before:
            return  # it went on after a pause
        gap = (nominal - before) / row.every
        good = abs(gap - 1.0) < 1e-6 or (gap > row.missed_max and self._leapt)
        demand(good, f"{row.name} fires for {nominal}, {gap} times after {before}")

    @property
    def _leapt(self) -> bool:
        return self.world.clock_jumped or self.world.suspended > 0

    # ------------------------------------------------------------ the end

    def at_the_end(self, disk: ModelStore, excused: bool) -> None:
        """No job that follows was forgotten in the store."""
        for row in disk.rows.values():
            if row["parent"] is not None or row["concludes"] is not None or row["id"].startswith("cron:"):
                ended = row["state"] in FINAL_STATES or (excused and row["state"] == "scheduled")
                demand(ended, f"{row['id']} is {row['state']} at the end")


def _is_told(row: Row, parent: str) -> str:
    """Which option this job is told of an end by; "": none."""
    what = row["id"].removeprefix(parent)
    return next((name for name in ("on_complete", "on_failed") if what.startswith(f":{name}-")), "")


def items_in(body: tuple[bytes, ...]) -> list[dict[str, Any]]:
    """What a job of the simulation is to ask for: its parameters say so."""
    if not body or b'"enqueue"' not in body[0]:
        return []
    params = json.loads(body[0].partition(b": ")[2])
    found = params.get("enqueue") if isinstance(params, dict) else None  # a record may hold such parameters
    return found or []
