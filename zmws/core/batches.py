"""Batches: which are open, and who waits for the end of one. How many members one has only the store knows.

Rule 1: a batch is counted, and its end decided, by the commit that ends a member or closes it; what follows
        is inserted by that commit. The core is told of it with the verdict.
Rule 2: here is what is bounded: the ids of those that are open, and those who wait.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from zmws.core.held import Held
from zmws.core.job import Caller, iso
from zmws.core.keys import Keys
from zmws.core.life import Life
from zmws.core.question import Question
from zmws.core.reads import ReadBatch
from zmws.core.rows import BatchRow, Rows, job_of
from zmws.core.timers import Reminder
from zmws.core.turn import Turn
from zmws.core.writes import Counted


@dataclass(slots=True)
class BatchEnd:
    """A batch has ended, or somebody has waited for long enough: whom its row is for when it is read, and
    with which status; and whether it is news."""

    answers: list[tuple[Caller, int]] = field(default_factory=list)
    news: bool = False


class Batches:
    """Takes the verdicts on them."""

    def __init__(self, turn: Turn, held: Held, life: Life, keys: Keys) -> None:
        self._turn = turn
        self._held = held
        self._life = life
        self._keys = keys
        self._waits: dict[str, list[tuple[Caller, float]]] = {}  # zmws.batch: who, until when
        self.waits_count = 0
        self._over: dict[str, None] = {}  # that have ended by the commit of which the verdicts are taken
        self._wait_over = Reminder(
            self._timed_out,
            lambda batch, at: any(until == at for _, until in self._waits.get(batch, ())),
        )

    def counted(self, verdict: Counted) -> None:
        """A member has ended, or a batch was closed."""
        if verdict.concluded is not None:
            job = job_of(verdict.concluded)
            self._held.known(job.service)
            if job.submitter is not None:
                self._keys.moved(job.submitter, 1)
            self._life.stored(job)
        if verdict.ended:
            assert verdict.batch is not None, verdict
            self._over[verdict.batch] = None
            if verdict.forget_at is not None:
                self._life.prune.ended(verdict.forget_at)

    def settle(self) -> None:
        """All verdicts of a commit are taken: tell of the batches that have ended by it, once of each."""
        for batch in self._over:
            waiting = self._waits.pop(batch, [])
            self.waits_count -= len(waiting)
            if waiting or self._turn.news_wanted:
                end = BatchEnd([(caller, 200) for caller, _ in waiting], news=True)
                self._turn.reads.append(ReadBatch(end, batch))
        self._over.clear()

    def wait_for(self, batch: str, caller: Caller, until: float) -> None:
        """Answer when it has ended, or at monotonic time `until`."""
        waiting = self._waits.setdefault(batch, [])
        if any(known.same_as(caller) for known, _ in waiting):
            return  # a repeat waits no longer than the first did
        waiting.append((caller, until))
        self.waits_count += 1
        self._turn.timers.add(until, self._wait_over, batch)

    def _timed_out(self, batch: str) -> None:
        waiting = self._waits.get(batch, [])
        over = [one for one in waiting if one[1] <= self._turn.now]
        for one in over:
            waiting.remove(one)
        if not waiting:
            self._waits.pop(batch, None)
        self.waits_count -= len(over)
        if over:
            self._turn.reads.append(ReadBatch(BatchEnd([(caller, 202) for caller, _ in over]), batch))

    def ended(self, end: BatchEnd, rows: Rows) -> None:
        """Its row was read, behind the commit of its end."""
        for caller, status in end.answers:
            question = Question(self._turn, caller, "zmws.batch", {})
            if rows.fault is not None:
                question.refuse(500, "broker_fault", f"the store could not be read: {rows.fault}")
            elif not rows.batches:
                question.refuse(404, "unknown_batch", "its record has been forgotten")
            else:
                shown = batch_row(rows.batches[0])
                question.answer(200 if rows.batches[0].ended_at is not None else status, shown)
        if end.news and rows.batches:
            row = rows.batches[0]
            self._turn.news(f"batch.{row.state}", batch_row(row))


_SHOWN = (
    *("id", "state", "created_at", "closed", "total", "unfinished", "complete", "failed", "cancelled"),
    *("expired", "first", "then_service", "failed_service", "then_id", "then_at", "failed_id", "failed_at"),
    *("ended_at", "by", "group"),
)
_TIMES = ("created_at", "then_at", "failed_at", "ended_at")


def batch_row(row: BatchRow) -> dict[str, Any]:
    """A batch as answers show it: docs/protocol.md, "A batch is"."""
    told = {name: getattr(row, name) for name in _SHOWN}
    told["first"] = list(row.first)
    told["meta"] = None if row.meta is None else json.loads(row.meta)
    return told | {name: iso(told[name]) for name in _TIMES}
