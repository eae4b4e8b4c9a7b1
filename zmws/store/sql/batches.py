"""Batches of jobs, counted with the transaction that moves their members, and what follows from their ends.

Rule 1: what happens to members is noted as it happens, and counted at the end of the transaction: one row is
        written, however many members of a batch have moved. A unit that is undone has its notes cut off.
Rule 2: a batch has ended when it is closed and no member is unfinished at the end of a transaction. That one
        inserts the job which follows from it, whatever room there is.
Rule 3: of a batch that has been forgotten nothing is counted. Members that an earlier batch of the same id
        has left may be revived and end: that takes no counter below 0, and no sum above the total.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from zmws.core.conclusion import FAILED, THEN, conclusion, usual_id
from zmws.core.options import KEEP_S
from zmws.core.rows import BATCH_FIRST_MAX, BATCH_WAITS_S, BatchRow
from zmws.core.states import CANCELLED, COMPLETE, EXPIRED
from zmws.core.writes import EXISTING, NEW, UNKNOWN, CloseBatch, Counted, FinishMember, OpenBatch, Verdict
from zmws.store.rows import batch_from, job_kept, kept_job, packed, storable, whole_values
from zmws.store.sql.dialect import Connection


class _Note(NamedTuple):
    """What has happened to a batch. `more`: members that it has more, or of one: 1 it has ended, -1 it waits
    again. `end`: of the end or of the close, what a job that follows is to have. `fresh`: it was opened."""

    batch: str
    more: int
    job_id: str | None = None
    state: str = ""
    end: FinishMember | CloseBatch | None = None
    verdict: Counted | None = None
    fresh: bool = False


class Batches:
    """The batches of one store; used by its writer alone."""

    def __init__(self, connection: Connection, queries: Mapping[str, str]) -> None:
        self._execute = connection.execute
        self._queries = queries
        self._notes: list[_Note] = []  # of the transaction under way, in their order

    def begin(self) -> None:
        """A transaction begins; whatever one that failed has left is void."""
        self._notes.clear()

    def so_far(self) -> int:
        """A unit begins: what to go back to, if it is undone."""
        return len(self._notes)

    def back_to(self, so_far: int) -> None:
        """What came after that did not happen."""
        del self._notes[so_far:]

    # ------------------------------------------------------------ as it happens

    def open(self, write: OpenBatch) -> Verdict:
        """A new batch, unless there is one of that id."""
        if self._batch(write.batch) is not None:
            return Verdict(EXISTING, write.batch)
        services = [None if row is None else row["service"] for row in (write.then, write.failed)]
        texts = (storable(write.meta), storable(write.by), storable(write.group))
        self._execute(self._queries["open_batch"], (write.batch, write.at, *services, write.keep, *texts))
        for kind, row in ((THEN, write.then), (FAILED, write.failed)):
            if row is not None:
                self._execute(self._queries["add_conclusion"], (kind, kept_job(row), write.batch))
        self._notes.append(_Note(write.batch, 0, fresh=True))
        return Verdict(NEW, write.batch)

    def close(self, write: CloseBatch) -> Verdict:
        """No more from outside."""
        if self._execute(self._queries["close_batch"], (write.batch,)).rowcount == 0:
            return Verdict(UNKNOWN, "")
        verdict = Counted("counted", "", batch=write.batch)
        self._notes.append(_Note(write.batch, 0, end=write, verdict=verdict))
        return verdict

    def joined(self, batch: str, more: int) -> None:
        """It has so many members more."""
        self._notes.append(_Note(batch, more))

    def ended(self, write: FinishMember) -> Counted:
        """A member has ended."""
        verdict = Counted("counted", write.job_id, write.service, batch=write.batch)
        self._notes.append(_Note(write.batch, 1, write.job_id, write.changes["state"], write, verdict))
        return verdict

    def revived(self, batch: str, job_id: str, was: str) -> None:
        """A member waits again."""
        self._notes.append(_Note(batch, -1, job_id, was))

    # ------------------------------------------------------------ at the end of the transaction

    def write(self) -> None:
        """Count it, and insert what follows; before the transaction is committed."""
        if not self._notes:
            return
        of_batch: dict[str, list[_Note]] = {}
        for note in self._notes:
            if note.fresh:  # what was before was not of this one
                of_batch.pop(note.batch, None)
            of_batch.setdefault(note.batch, []).append(note)
        for batch, notes in of_batch.items():
            row = self._batch(batch)
            if row is not None:
                self._settle(row, notes)
        self._notes.clear()

    def forget(self, at: float, limit: int) -> None:
        """Forget batches that are due, the longest due first."""
        for number, batch in self._execute(self._queries["batches_due"], (at, limit)).fetchall():
            if self._execute(self._queries["any_member"], (batch,)).fetchone() is not None:
                # Its id must not become another batch's, whom a retry of this one's jobs would count for.
                self._execute(self._queries["postpone_batch"], (at + BATCH_WAITS_S, number))
                continue
            self._execute(self._queries["forget_conclusions"], (number,))
            self._execute(self._queries["forget_batch"], (number,))

    def next_at(self) -> float | None:
        """When the first of them is due."""
        due: float | None = self._execute(self._queries["first_batch_due"]).fetchone()[0]
        return due

    def _batch(self, batch: str) -> BatchRow | None:
        found = self._execute(self._queries["batch"], (batch,)).fetchone()
        return None if found is None else batch_from(found)

    def _settle(self, row: BatchRow, notes: Sequence[_Note]) -> None:
        """What this batch is at the end of the transaction."""
        _count(row, notes)
        last = next((note.end for note in reversed(notes) if note.end is not None), None)
        counted = [note.verdict for note in notes if note.verdict is not None]
        ended = row.closed and row.unfinished == 0
        if not ended:
            row.ended_at = row.forget_at = None
        elif last is not None:
            # To close it once more is no end.
            if row.ended_at is None or any(isinstance(note.end, FinishMember) for note in notes):
                keep = KEEP_S[row.state] if row.keep is None else row.keep
                row.ended_at, row.forget_at = last.at, last.steady + keep
            self._conclude(row, last, counted[-1])
        for verdict in counted:
            verdict.ended, verdict.forget_at = ended, row.forget_at
        self._execute(
            self._queries["set_batch"],
            (
                *(row.total, row.complete, row.failed, row.cancelled, row.expired, json.dumps(row.first)),
                *(row.then_id, row.then_at, row.failed_id, row.failed_at, row.ended_at, row.forget_at),
                row.number,
            ),
        )

    def _conclude(self, row: BatchRow, last: FinishMember | CloseBatch, verdict: Counted) -> None:
        """Insert the job that follows, if one does and it has not been made."""
        kind = THEN if row.state == COMPLETE else FAILED
        service, made = (
            (row.then_service, row.then_id) if kind == THEN else (row.failed_service, row.failed_id)
        )
        if service is None or made is not None:
            return
        (kept,) = self._execute(self._queries["conclusion"], (row.number, kind)).fetchone()
        job_id = usual_id(row, kind)
        if self._execute(self._queries["find"], (job_id,)).fetchone() is not None:
            job_id = last.spare_id
        job = conclusion(job_kept(kept), row, kind, job_id, last.number, last.at, last.steady)
        self._execute(self._queries["insert_whole"], whole_values(job))
        self._execute(self._queries["insert_body"], (job["number"], packed(job["body"])))
        self._execute(self._queries["delete_conclusion"], (row.number, kind))
        if kind == THEN:
            row.then_id, row.then_at = job_id, last.at
        else:
            row.failed_id, row.failed_at = job_id, last.at
        verdict.concluded = job


def _count(row: BatchRow, notes: Sequence[_Note]) -> None:
    """Move the counters, in the order in which it happened."""
    counts = {COMPLETE: row.complete, FAILED: row.failed, CANCELLED: row.cancelled, EXPIRED: row.expired}
    unfinished, first = row.unfinished, [*row.first]
    for _, more, job_id, state, *_ in notes:
        if job_id is None:
            row.total += more
            unfinished += more
        elif more > 0 and unfinished > 0:
            counts[state] += 1
            unfinished -= 1
            if state != COMPLETE and len(first) < BATCH_FIRST_MAX:
                first.append(job_id)
        elif more < 0 and counts[state] > 0:
            counts[state] -= 1
            unfinished += 1
            first = [one for one in first if one != job_id]
    row.complete, row.failed, row.cancelled, row.expired = counts.values()
    row.first = tuple(first)
