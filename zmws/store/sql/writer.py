"""Writes over one connection: a batch is one transaction.

Rule 1: new jobs are taken at a run, as if none were known; when one is, all is rolled back and each is
        looked up. Repeats are rare, and the common way is three times as fast.
Rule 2: at a run nothing is refused, so units need no savepoint; one by one each unit has its own.
Rule 3: what follows from an end (`spare_id`, batches.py) is refused for no lack of room.
Rule 4: what the host fails at goes up as its own error, and what a broken core asks for as an assertion;
        either leaves nothing of the batch behind.
"""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from typing import Any, NamedTuple

from zmws.core.rows import Row
from zmws.core.states import FAILED, FINAL_STATES, REVIVABLE
from zmws.core.writes import (
    DELETED,
    DISK_FULL,
    EXISTING,
    FULL,
    NEW,
    UNIQUE_CONFLICT,
    UNKNOWN,
    AppendToJob,
    CloseBatch,
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
    WriteKey,
    WriteMark,
    WriteSchedule,
    WriteSeries,
    refuses,
    units,
    units_verdicts,
)
from zmws.store.rows import (
    Converters,
    born_values,
    converters,
    event_value,
    kin_values,
    packed,
    quoted,
    whole_values,
)
from zmws.store.sql.audit import write_act
from zmws.store.sql.batches import Batches
from zmws.store.sql.causes import Causes
from zmws.store.sql.dialect import Connection, Dialect
from zmws.store.sql.keys import write_key
from zmws.store.sql.schedules import fire, write_schedule
from zmws.store.sql.series import write_mark, write_series

CAUSES_MAX = 1_000  # that are told apart, unless a setting says otherwise


class Writer:
    """What commits. `counts` are those of the ended jobs by (service, state), as committed."""

    def __init__(
        self,
        connection: Connection,
        queries: Mapping[str, str],
        dialect: Dialect,
        causes_max: int = CAUSES_MAX,
    ) -> None:
        self.causes = Causes(connection, queries, causes_max)
        self.batches = Batches(connection, queries)
        self._connection = connection
        self._execute = connection.execute
        self._many = connection.executemany
        self._queries = queries
        self._begin = dialect.begin
        self._bulk = dialect.bulk(connection, queries)
        self._updates: dict[tuple[str, ...], _Update] = {}  # by columns and key
        self.counts: Counter[tuple[str, str]] = Counter()
        self._ended: Counter[tuple[str, str]] = Counter()  # what the transaction under way changes
        self._refusing = False  # it takes no new job
        self._room = math.inf  # bytes that it has left for new jobs
        for service, state, n in self._execute(queries["counts"]).fetchall():
            self.counts[service, state] = n

    def commit(
        self, writes: Sequence[Write], refusing: bool = False, room: float = math.inf
    ) -> list[Verdict]:
        """Apply the writes; verdicts of those that have one, in order. `refusing`: the disk has no room for
        new jobs. `room`: for how many bytes of them there is some. Raises what the database raises."""
        self._refusing = refusing
        if not refusing:
            self._room = room
            try:
                with self._transaction():
                    return self._apply_run(writes, at_a_run=True)
            except _NotAtARun:
                pass
        verdicts: list[Verdict] = []
        self._room = room
        with self._transaction():
            for single, some in groupby(units(writes), lambda unit: len(unit) == 1):
                if single:
                    verdicts += self._apply_run([*chain.from_iterable(some)])
                else:
                    for unit in some:
                        verdicts += self._apply_unit(unit)
        return verdicts

    def drop_oldest(self, count: int) -> Counter[tuple[str, str]]:
        """Forget those that ended first, so many; give back how many of which service and state."""
        with self._transaction():
            found = self._execute(self._queries["oldest_ends"], (count,)).fetchall()
            self._many(self._queries["delete_history"], [(number,) for number, *_ in found])
            self._forget([number for number, *_ in found])
            for number, _, _, cause in found:  # (their batches have counted them, and go on as they are)
                self.causes.no_longer(cause, number)
            dropped = Counter((service, state) for _, service, state, _ in found)
            self._ended.subtract(dropped)
        return dropped

    # ------------------------------------------------------------ transactions

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._ended = Counter()
        self.causes.begin()
        self.batches.begin()
        self._execute(self._begin)
        try:
            yield
            self.causes.write()
            self.batches.write()
            for service, state in self._ended:
                n = self.counts[service, state] + self._ended[service, state]
                self._execute(self._queries["set_count"], (service, state, n))
            self._execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:  # SQLite has rolled back by itself after some failures
                with contextlib.suppress(Exception):
                    self._execute("ROLLBACK")
            raise
        self.causes.committed()
        for key, n in self._ended.items():
            self.counts[key] += n

    def _apply_run(self, writes: Sequence[Write], at_a_run: bool = False) -> list[Verdict]:
        """Those of one shape with one statement. `at_a_run`: raises _NotAtARun if that cannot be."""
        verdicts: list[Verdict] = []
        for (kind, _), run in groupby(writes, _shape):
            if kind is UpdateJob:
                self._update_all(list(run))
            elif kind is FinishJob:
                verdicts += self._finish_all(list(run))
            elif kind is InsertJob and at_a_run:
                self._insert_all(list(run), verdicts)
            else:
                for write in run:
                    verdict = self._apply(write)
                    if verdict is not None:
                        verdicts.append(verdict)
                        if at_a_run and refuses(verdict, write) and any(one.unit for one in writes):
                            raise _NotAtARun
        return verdicts

    def _apply_unit(self, unit: Sequence[Write]) -> list[Verdict]:
        """All of it or none."""
        before = (self._ended.copy(), self._room)
        causes, batches = self.causes.so_far(), self.batches.so_far()
        verdicts: list[Verdict] = []
        self._execute("SAVEPOINT unit")
        for write in unit:
            verdict = self._apply(write)
            if verdict is not None:
                verdicts.append(verdict)
                if refuses(verdict, write):
                    self._execute("ROLLBACK TO unit")
                    self._ended, self._room = before
                    self.causes.back_to(causes)
                    self.batches.back_to(batches)
                    verdicts = units_verdicts(unit, write, verdict)
                    break
        self._execute("RELEASE unit")
        return verdicts

    # ------------------------------------------------------------ writes

    def _apply(self, write: Write) -> Verdict | None:
        if isinstance(write, InsertJob):
            return self._insert(write)
        if isinstance(write, ReviveJob):
            return self._revive(write)
        if isinstance(write, DeleteJob):
            return self._delete(write)
        if isinstance(write, PruneJobs):
            return self._prune(write)
        if isinstance(write, FinishJob):
            return next(iter(self._finish_all([write])), None)
        if isinstance(write, OpenBatch):
            return self.batches.open(write)
        if isinstance(write, CloseBatch):
            return self.batches.close(write)
        if isinstance(write, FireSchedule):
            return fire(self._connection, self._queries, write)
        if isinstance(write, UpdateJob):
            self._update_all([write])
        elif isinstance(write, AppendToJob):
            value = event_value(write.kind, write.value)
            found = self._execute(
                self._queries["append"], (write.n, write.at, write.kind, value, write.job_id)
            )
            _require(found.rowcount == 1, write.job_id)
        elif isinstance(write, WriteSeries):
            write_series(self._connection, self._queries, write)
        elif isinstance(write, WriteMark):
            write_mark(self._connection, self._queries, write)
        elif isinstance(write, ForgetActs):
            write_act(self._connection, self._queries, write)
        elif isinstance(write, WriteSchedule | RemoveSchedule):
            write_schedule(self._connection, self._queries, write)
        elif isinstance(write, WriteKey):
            write_key(self._connection, self._queries, write)
        elif isinstance(write, ForgetService):
            self._execute(self._queries["forget_service"], (write.service,))
        else:
            assert isinstance(write, RememberService), write
            paused = None if write.paused is None else int(write.paused)
            values = (write.service, paused, write.defaults, write.params, write.limits)
            self._execute(self._queries["remember_service"], values)
        return None

    def _insert_all(self, writes: Sequence[Write], verdicts: list[Verdict]) -> None:
        """A run of new jobs. Raises _NotAtARun if one of them is not new, or may not be taken."""
        born, born_as_kin, bodies = [], [], []
        members: Counter[str] = Counter()
        for write in writes:
            assert isinstance(write, InsertJob)
            row = write.row
            values = born_values(row)
            if values is None or (write.only_if_known and not write.spare_id):
                raise _NotAtARun
            kin = kin_values(row)
            if kin is None:
                born.append(values)
            else:
                born_as_kin.append(values + kin)
                if row["batch"] is not None:
                    members[row["batch"]] += 1
            bodies.append((row["number"], packed(row["body"])))
            verdicts.append(Verdict(NEW, row["id"], row["service"]))
            self._room -= write.size
        if self._room < 0 or self._bulk.insert("insert_born", born) != len(born):
            raise _NotAtARun
        if self._bulk.insert("insert_kin", born_as_kin) != len(born_as_kin):
            raise _NotAtARun
        self._bulk.insert("insert_body", bodies)
        for batch, more in members.items():
            self.batches.joined(batch, more)

    def _insert(self, write: InsertJob) -> Verdict:
        row = write.row
        job_id, service = row["id"], row["service"]
        known = self._find(job_id)
        if known is not None:
            if not write.spare_id or (known.parent, known.parent_number) == (
                row["parent"],
                row["parent_number"],
            ):
                return Verdict(
                    *(EXISTING, job_id, known.service),
                    batch=known.batch,
                    chain=known.chain,
                    group=known.group or None,
                )
            job_id = write.spare_id
        if row["unique"] is not None and (held := self._held_by(service, row["unique"])) is not None:
            return held
        if write.spare_id:
            return self._insert_new(row, job_id, write.size)
        if write.only_if_known or write.size > self._room:
            return Verdict(FULL, job_id, service)
        if self._refusing:
            return Verdict(DISK_FULL, job_id, service)
        return self._insert_new(row, job_id, write.size)

    def _insert_new(self, row: Row, job_id: str, size: int) -> Verdict:
        """Under this id, whatever room there is."""
        assert row["state"] not in FINAL_STATES, f"job {job_id}: new, and {row['state']} already"
        if job_id != row["id"]:
            assert self._find(job_id) is None, f"job {row['id']}: its spare id {job_id} is taken, too"
            row = {**row, "id": job_id}
        self._room -= size
        self._execute(self._queries["insert_whole"], whole_values(row))
        self._execute(self._queries["insert_body"], (row["number"], packed(row["body"])))
        if row["batch"] is not None:
            self.batches.joined(row["batch"], 1)
        return Verdict(NEW, job_id, row["service"])

    def _update_all(self, writes: Sequence[Any]) -> None:
        """A run of updates of the same columns."""
        update = self._update(tuple(writes[0].changes), "id")
        self._set(update, [update.values(write.changes.values(), write.job_id) for write in writes])

    def _set(self, update: _Update, rows: Sequence[list[Any]]) -> None:
        """Update a job with each of these: at once, unless one is named twice, whose last change counts."""
        if len({row[-1] for row in rows}) == len(rows):
            done = self._bulk.update(update.columns, update.key, update.also, rows)
        else:
            done = self._many(update.text, rows).rowcount
        _require(done == len(rows), ", ".join(str(row[-1]) for row in rows[:10]))

    def _finish_all(self, writes: Sequence[Any]) -> list[Verdict]:
        """A run of ends with the same columns; the verdicts of those that have one."""
        unfinished = " AND " + self._queries["unfinished"]
        failed = any(write.changes["state"] == FAILED for write in writes)
        if failed:
            update = self._update((*writes[0].changes, "forget_at", "cause"), "id", unfinished)
            rows = [
                update.values(one.changes.values(), one.forget_at, self._cause(one), one.job_id)
                for one in writes
            ]
        else:
            update = self._update((*writes[0].changes, "forget_at"), "id", unfinished)
            rows = [update.values(one.changes.values(), one.forget_at, one.job_id) for one in writes]
        self._set(update, rows)
        if failed:
            self.causes.note_jobs()
        for write in writes:
            state = write.changes["state"]
            assert state in FINAL_STATES, f"job {write.job_id} ends and is {state}"
            self._ended[write.service, state] += 1
        return [self.batches.ended(write) for write in writes if isinstance(write, FinishMember)]

    def _cause(self, write: FinishJob) -> str | None:
        """Why it has failed, if it has."""
        changes = write.changes
        if changes["state"] != FAILED:
            return None
        return self.causes.failed(write.job_id, write.service, changes.get("error"), changes["ended_at"])

    def _revive(self, write: ReviveJob) -> Verdict:
        known = self._find(write.job_id)
        if known is None or known.state not in REVIVABLE:
            return Verdict(UNKNOWN, write.job_id)
        service, unique = known.service, known.unique
        if unique is not None and (held := self._held_by(service, unique)) is not None:
            return held
        self._change(known.number, write.changes, None)
        self.causes.no_longer(known.cause, known.number)
        self._ended[service, known.state] -= 1
        if known.batch is not None:
            self.batches.revived(known.batch, write.job_id, known.state)
        return Verdict(NEW, write.job_id, service)

    def _delete(self, write: DeleteJob) -> Verdict:
        known = self._find(write.job_id)
        if known is None or known.state not in FINAL_STATES:
            return Verdict(UNKNOWN, write.job_id)
        self.causes.no_longer(known.cause, known.number)
        self._execute(self._queries["delete_history"], (known.number,))
        self._forget([known.number])
        self._ended[known.service, known.state] -= 1
        return Verdict(DELETED, write.job_id, known.service, known.state)

    def _prune(self, write: PruneJobs) -> Verdict:
        counts: Counter[tuple[str, str]] = Counter()
        left = write.limit
        numbers: list[int] = []
        for number, service, state, cause, pieces in self._execute(
            self._queries["due"], (write.at, write.limit)
        ).fetchall():
            if left <= pieces:
                # More than the rest of the step: this step takes a part, the oldest, and the next goes on.
                self._execute(self._queries["delete_oldest_history"], (number, left))
                left = 0
                break
            if pieces:
                self._execute(self._queries["delete_history"], (number,))
            left -= pieces + 1
            numbers.append(number)
            self.causes.no_longer(cause, number)
            counts[service, state] += 1
        self._forget(numbers)
        self._ended.subtract(counts)
        self.causes.forget_old(write.at, write.limit)
        self.batches.forget(write.at, left)
        (first_due,) = self._execute(self._queries["first_due"]).fetchone()
        due = [at for at in (first_due, self.batches.next_at()) if at is not None]
        next_at = min(due, default=None)
        return Pruned("pruned", "", counts=dict(counts), next_at=next_at)

    # ------------------------------------------------------------ rows

    def _find(self, job_id: str) -> _Known | None:
        found = self._execute(self._queries["find"], (job_id,)).fetchone()
        return None if found is None else _Known._make(found)

    def _held_by(self, service: str, unique: str) -> Verdict | None:
        """The verdict that another job holds this unique key, None if none does."""
        found = self._execute(self._queries["holder"], (service, unique)).fetchone()
        if found is None:
            return None
        job_id, batch, group = found
        return Verdict(UNIQUE_CONFLICT, job_id, service, batch=batch, group=group or None)

    def _change(self, number: int, changes: Mapping[str, Any], forget_at: float | None) -> None:
        update = self._update((*changes, "forget_at"), "number")
        self._execute(update.text, update.values(changes.values(), forget_at, number))

    def _forget(self, numbers: Sequence[int]) -> None:
        """Remove ended jobs, which have no history any more."""
        keys = [(number,) for number in numbers]
        self._many(self._queries["delete_job"], keys)
        self._many(self._queries["delete_body"], keys)

    def _update(self, columns: tuple[str, ...], key: str, also: str = "") -> _Update:
        update = self._updates.get((*columns, key, also))
        if update is None:
            sets = ", ".join(f"{quoted(name)} = ?" for name in columns)
            text = f"UPDATE jobs SET {sets} WHERE {key} = ?{also}"
            update = _Update(columns, key, also, text, converters(columns))
            self._updates[(*columns, key, also)] = update
        return update


class _Known(NamedTuple):
    """What is looked up of a job."""

    number: int
    service: str
    state: str
    unique: str | None
    cause: str | None
    parent: str | None
    parent_number: int
    batch: str | None
    chain: str | None
    group: str  # "": of none


@dataclass(slots=True)
class _Update:
    """The statement that sets certain columns of one job."""

    columns: tuple[str, ...]
    key: str
    also: str
    text: str
    converters: Converters

    def values(self, changes: Iterable[Any], *more: Any) -> list[Any]:
        """What goes in for the question marks: the new values, then `more`."""
        values = [*changes, *more]
        for index, convert in self.converters:
            values[index] = convert(values[index])
        return values


class _NotAtARun(Exception):
    """One of the writes has to be looked at by itself."""


def _shape(write: Write) -> tuple[type[Write], tuple[str, ...]]:
    """What writes of a run have in common. Members of batches end as all jobs do."""
    kind = type(write)
    if kind is FinishMember:
        kind = FinishJob
    return kind, tuple(write.changes) if kind in (UpdateJob, FinishJob) else ()  # type: ignore[attr-defined]


def _require(held: bool, job_id: str) -> None:
    assert held, f"a write for job {job_id}, which is not in the store or not in that state"
