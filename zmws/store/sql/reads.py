"""What a store answers: single jobs, pages of a backlog, lists.

Rule 1: every read is bounded in rows and time, whatever the table holds, and goes by an index.
Rule 2: no statement is left half read: it would hold an old state of the file, and the WAL would grow.
Rule 3: a list walks the numbers in windows and stops when its time is up: it is told where to go on. Whoever
        shares its connection gets a turn between any two statements.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import chain
from typing import Any

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
    ReadSeries,
    ReadUnfinished,
    ReadUsual,
    ReadWaiting,
)
from zmws.core.rows import Key, KnownBatch, KnownService, Row, Rows, ScheduleRow, Unfinished, size_of
from zmws.core.states import FAILED, FINAL_STATES, RUNNING, SCHEDULED, WAITING
from zmws.store.rows import (
    LIGHT,
    LISTED,
    batch_from,
    event_from,
    listed_row,
    names,
    row_from,
    row_of_columns,
    schedule_from,
    unpacked,
)
from zmws.store.sql.audit import act_from
from zmws.store.sql.causes import cause_from
from zmws.store.sql.dialect import Connection, Dialect
from zmws.store.sql.keys import key_from
from zmws.store.sql.series import MINUTE, clocks_from, line_from, mark_from

FEW = 5_000  # a state with no more jobs than this is listed by its index, whatever their numbers
WINDOW_ROWS = 5_000  # what a list looks at in one go
PAGE_S = 0.04  # and for how long it goes on to the next window
PARENTS = 2_000  # that a family is followed up, at most
EXPIRED_BYTES = 32 * 1024 * 1024  # of the bodies of one page of expired jobs

_NUMBER_MAX = (1 << 63) - 1


_ALONE = contextlib.nullcontext()


class Reads:
    """The reads over one connection. `counts` are the ended jobs by (service, state), kept by the writer."""

    def __init__(
        self,
        connection: Connection,
        queries: Mapping[str, str],
        dialect: Dialect,
        counts: Mapping[tuple[str, str], int],
        turn: AbstractContextManager[object] = _ALONE,
        rows_max: int = WINDOW_ROWS,
    ) -> None:
        """`turn` is taken for each statement of a list; a window has no more than `rows_max` rows."""
        self._execute = connection.execute
        self._queries = queries
        self._unindexed = dialect.unindexed
        self._counts = counts
        self._turn = turn
        self._rows_max = rows_max

    def answer(self, read: Read) -> Rows:
        """Answer any read. Raises what the database raises."""
        if isinstance(read, ReadJob):
            return self._job(read)
        if isinstance(read, ReadWaiting):
            where = (read.service, read.group or "")
            return self._page("waiting", where, "rank", read)
        if isinstance(read, ReadScheduled):
            return self._page("scheduled", (int(read.by_wall),), "ready_at", read)
        if isinstance(read, ReadExpired):
            return self._expired(read)
        if isinstance(read, ReadMatching):
            return self._matching(read)
        if isinstance(read, ReadSeries):
            return self._series(read)
        if isinstance(read, ReadCauses):
            return self._causes(read)
        if isinstance(read, ReadAhead):
            return self._ahead(read)
        if isinstance(read, ReadAudit):
            return self._audit(read)
        if isinstance(read, ReadBatch):
            return Rows(batches=[batch_from(one) for one in self._all("batch", read.batch)])
        if isinstance(read, ReadBatches):
            found, more = self._newest("batches", (read.state,), read.limit, read.cursor)
            return Rows(batches=[batch_from(one) for one in found], next=more)
        if isinstance(read, ReadFamily):
            return self._family(read)
        if isinstance(read, ReadSchedules):
            return Rows(schedules=[self._with_last(schedule) for schedule in self._schedules(read.name)])
        if isinstance(read, ReadUsual):
            return Rows(series=[line_from(one) for one in self._all("series_of_all", int(read.since))])
        if isinstance(read, ReadJobs):
            states = None if read.where.state is None else (read.where.state,)
            below = _NUMBER_MAX if read.cursor is None else read.cursor
            return self._list(read.where, states, 0, below, read.limit, "DESC", LISTED)
        assert isinstance(read, ReadUnfinished), read
        return self._unfinished()

    # ------------------------------------------------------------ jobs and pages

    def _all(self, name: str, *values: Any) -> list[Any]:
        return self._fetch(self._queries[name], values)

    def _fetch(self, text: str, values: Sequence[Any]) -> list[Any]:
        with self._turn:
            found: list[Any] = self._execute(text, values).fetchall()
            return found

    def _job(self, read: ReadJob) -> Rows:
        whole = read.whole and read.past is None
        found = self._all("job_and_body" if whole else "job", read.job_id)
        if not found:
            return Rows()
        row = row_from(found[0]) if whole else row_of_columns(found[0], LIGHT)
        if whole or read.past is not None:
            past = -1 if read.past is None else read.past
            row["history"] = [event_from(one) for one in self._all("history", row["number"], past)]
        return Rows([row])

    def _page(self, name: str, where: tuple[Any, ...], key: str, read: ReadWaiting | ReadScheduled) -> Rows:
        """Rows as long as they fit; what is read is one row more than what is given."""
        first, number = read.since
        limit = read.limit + 1
        rows: list[Row] = []
        size = 0
        with (
            contextlib.closing(
                self._execute(self._queries[f"{name}_at"], (*where, first, number, limit))
            ) as same,
            contextlib.closing(
                self._execute(self._queries[f"{name}_after"], (*where, first, limit))
            ) as after,
        ):
            for values in chain(same, after):
                row = row_from(values)
                size += size_of(row["body"])
                if len(rows) == read.limit or (rows and size > read.bytes_max):
                    return Rows(rows, more=_key(row, key))
                rows.append(row)
        return Rows(rows)

    def _expired(self, read: ReadExpired) -> Rows:
        """A job with `on_failed` has all that a record is made of which is given to another."""
        rows: list[Row] = []
        size = 0
        found = self._execute(self._queries["expired_page"], (read.at, read.limit + 1))
        with contextlib.closing(found):
            for *values, meta, body in found:
                row = row_of_columns(values, LIGHT) | {"meta": meta, "body": unpacked(body)}
                size += size_of(row["body"])
                if len(rows) == read.limit or (rows and size > EXPIRED_BYTES):
                    return Rows(rows, more=_key(row, "expires_at"))
                rows.append(row)
        return Rows(rows)

    def _unfinished(self) -> Rows:
        due = [at for name in ("first_due", "first_batch_due") for (at,) in self._all(name) if at is not None]
        unfinished = Unfinished(
            services=[
                KnownService(name, None if paused is None else bool(paused), *more)
                for name, paused, *more in self._all("services")
            ],
            waiting=[(service, group or None, n) for service, group, n in self._all("waiting_by_group")],
            scheduled=[(service, n) for service, n in self._all("scheduled_by_service")],
            ended={key: n for key, n in self._counts.items() if n},
            number=self._all("highest_number")[0][0] or 0,
            forget_at=min(due, default=None),
            batches=[KnownBatch(*one) for one in self._all("open_batches")],
            schedules=self._schedules(None),
            keys=[key_from(one) for one in self._all("keys")],
            submitted=self._all("unfinished_by_submitter"),
        )
        running = [row_from(one) for one in self._all("running")]
        for row in running:
            # What its history counts was not written into it yet.
            n, partials, log_bytes = self._all("history_of_running", row["number"])[0]
            row["events"] = max(row["events"], n or 0)
            row["partials_count"] = max(row["partials_count"], partials)
            row["log_bytes"] = max(row["log_bytes"], log_bytes or 0)
        return Rows(running, unfinished=unfinished)

    # ------------------------------------------------------------ figures and causes

    def _series(self, read: ReadSeries) -> Rows:
        since, before = int(read.since), int(read.before)
        names = (read.service or "", "", read.step, since, before, 2 * read.limit)
        series = [line_from(one) for one in self._all("series", *names)] if read.step else []
        found = self._all("marks", read.since, read.before, read.service, read.service, read.limit)
        return Rows(series=series, marks=[mark_from(one) for one in reversed(found)])

    def _causes(self, read: ReadCauses) -> Rows:
        last_at, cause = read.cursor or (math.inf, "")
        if read.service is None:
            found = self._all("causes", last_at, cause, read.limit + 1)
        else:
            found = self._all("causes_of_service", read.service, last_at, cause, read.limit + 1)
        causes = [cause_from(one) for one in found]
        return Rows(causes=causes[: read.limit], next=1 if len(causes) > read.limit else None)

    def _ahead(self, read: ReadAhead) -> Rows:
        count = None
        if read.key is not None:
            rank, number = read.key
            values = (read.service, read.group or "", rank, number, read.limit)
            count = min(read.limit, self._all("ahead", *values)[0][0])
        names = (read.service, "", MINUTE, int(read.since), _NUMBER_MAX, 4 * read.limit)
        return Rows(series=[clocks_from(one) for one in self._all("series", *names)], next=count)

    def _audit(self, read: ReadAudit) -> Rows:
        where = (read.by, read.verb, read.on, read.since, read.before)
        found, more = self._newest("acts", where, read.limit, read.cursor)
        return Rows(acts=[act_from(one) for one in found], next=more)

    def _newest(
        self, name: str, where: tuple[Any, ...], limit: int, cursor: int | None
    ) -> tuple[list[Any], int | None]:
        """Rows below a number, the highest first, and where to go on: window after window, as jobs are
        listed. Their number is the first of their columns."""
        below = _NUMBER_MAX if cursor is None else cursor
        until = time.monotonic() + PAGE_S
        rows: list[Any] = []
        window = min(4 * limit, self._rows_max)
        while True:
            edges = self._all(f"{name}_edge", below, window)
            last = edges[0][0] if edges else 0
            rows += self._all(name, last, below, *where, limit + 1 - len(rows))
            if len(rows) > limit:
                del rows[limit:]
                return rows, rows[-1][0]
            if not edges:
                return rows, None
            if time.monotonic() > until:
                return rows, last
            below, window = last, self._rows_max

    # ------------------------------------------------------------ families and schedules

    def _family(self, read: ReadFamily) -> Rows:
        """Up to the first of them, then down, generation after generation."""
        until = time.monotonic() + PAGE_S
        rows = self._made(self._queries["listed_job"], (self._first_of(read.job_id, until),), LISTED)
        seen = {row["id"] for row in rows}
        for row in rows:  # which grows meanwhile
            missing = read.limit + 1 - len(rows)
            if missing <= 0 or time.monotonic() > until:
                return Rows(rows[: read.limit], next=rows[: read.limit][-1]["number"])
            # One more: this job may be its own child's, by an id that was given twice.
            children = self._made(self._queries["children"], (row["id"], missing + 1), LISTED)
            rows += [child for child in children if child["id"] not in seen]
            seen.update(child["id"] for child in children)
        more = rows[read.limit - 1]["number"] if len(rows) > read.limit else None
        return Rows(rows[: read.limit], next=more)

    def _first_of(self, job_id: str, until: float) -> str:
        """Of its family, as far as there are records."""
        seen: set[str] = set()
        found = self._all("parent", job_id)
        while found:
            seen.add(job_id)
            parent = found[0][0]
            if parent is None or parent in seen or len(seen) == PARENTS or time.monotonic() > until:
                break
            found = self._all("parent", parent)
            if found:
                job_id = parent
        return job_id

    def _schedules(self, name: str | None) -> list[ScheduleRow]:
        return [schedule_from(one) for one in self._all("schedules", name)]

    def _with_last(self, schedule: ScheduleRow) -> tuple[ScheduleRow, Row | None]:
        if schedule.last_id is None:
            return schedule, None
        found = self._made(self._queries["listed_job"], (schedule.last_id,), LISTED)
        return schedule, found[0] if found else None

    # ------------------------------------------------------------ lists

    def _matching(self, read: ReadMatching) -> Rows:
        states = read.states
        if read.where.state is not None:
            states = tuple(state for state in states if state == read.where.state)
        # Below is not included, so one more than the last; 2**63 would be no integer of SQLite.
        below = min(read.last + 1, _NUMBER_MAX)
        return self._list(read.where, states, read.after, below, read.limit, "ASC", LIGHT)

    def _list(
        self,
        where: Filter,
        states: Sequence[str] | None,
        above: int,
        below: int,
        limit: int,
        order: str,
        columns: tuple[str, ...],
    ) -> Rows:
        """Jobs with above < number < below."""
        if where.cause is not None:
            return self._of_cause(where, where.cause, states, above, below, limit, order, columns)
        if states is not None:
            states = [state for state in states if self._may_have(where, state)]
            if not states:
                return Rows()
            numbers = None if self._has_few_kin(where) else self._few(where, states)
            if numbers is not None:
                wanted = sorted((n for n in numbers if above < n < below), reverse=order == "DESC")
                return self._rows_of(wanted, where, states, limit, columns)
        return self._walk(where, states, above, below, limit, order, columns)

    def _of_cause(
        self,
        where: Filter,
        cause: str,
        states: Sequence[str] | None,
        above: int,
        below: int,
        limit: int,
        order: str,
        columns: tuple[str, ...],
    ) -> Rows:
        """Jobs that are failed for one cause."""
        text = (
            f"SELECT number FROM caused WHERE cause = ? AND number > ? AND number < ? ORDER BY number {order}"
        )
        until = time.monotonic() + PAGE_S
        rows: list[Row] = []
        while True:
            values = (cause, above, below, self._rows_max)
            numbers = [number for (number,) in self._fetch(f"{text} LIMIT ?", values)]
            found = self._rows_of(numbers, where, states, limit - len(rows), columns)
            rows += found.rows
            if found.next is not None:
                return Rows(rows, next=found.next)
            if len(numbers) < self._rows_max:
                return Rows(rows)
            if len(rows) == limit or time.monotonic() > until:
                return Rows(rows, next=numbers[-1])
            if order == "DESC":
                below = numbers[-1]
            else:
                above = numbers[-1]

    def _may_have(self, where: Filter, state: str) -> bool:
        if state not in FINAL_STATES:
            return True
        counts = dict(self._counts)  # in one go: the writer's thread changes it
        if where.service is not None:
            return counts.get((where.service, state), 0) > 0
        return any(n > 0 and of == state for (_, of), n in counts.items())

    def _has_few_kin(self, where: Filter) -> bool:
        """Whether it names one batch, chain or parent, whose jobs are few: then they are walked."""
        kin = _kin_of(where)
        if kin is None:
            return False
        name, value = kin
        return not self._fetch(f"SELECT 1 FROM jobs WHERE {name} = ? LIMIT 1 OFFSET {FEW}", (value,))

    def _few(self, where: Filter, states: Sequence[str]) -> list[int] | None:
        """The numbers of all jobs of these states, None if they are many."""
        numbers: list[int] = []
        for state in states:
            if state == WAITING and where.service is not None:
                name = "waiting_numbers_of_service"
                values: tuple[Any, ...] = (where.service, FEW + 1)
            elif state in (WAITING, SCHEDULED, RUNNING, FAILED):
                name, values = f"{state}_numbers", (FEW + 1,)
            else:
                return None
            # Whether they are many is asked first: to fetch thousands of numbers takes longer than a page.
            if self._fetch(f"SELECT 1 FROM ({self._queries[name]}) AS few LIMIT 1 OFFSET {FEW}", values):
                return None
            numbers += [number for (number,) in self._all(name, *values)]
            if len(numbers) > FEW:
                return None
        return numbers

    def _rows_of(
        self,
        numbers: list[int],
        where: Filter,
        states: Sequence[str] | None,
        limit: int,
        columns: tuple[str, ...],
    ) -> Rows:
        terms, values = terms_of(where, states, self._unindexed)
        text = f"SELECT {names(columns)} FROM jobs WHERE {' AND '.join(['number = ?', *terms])}"
        rows: list[Row] = []
        for number in numbers:
            for row in self._made(text, (number, *values), columns):
                if len(rows) == limit:
                    return Rows(rows, next=rows[-1]["number"])
                rows.append(row)
        return Rows(rows)

    def _walk(
        self,
        where: Filter,
        states: Sequence[str] | None,
        above: int,
        below: int,
        limit: int,
        order: str,
        columns: tuple[str, ...],
    ) -> Rows:
        """Window after window along the numbers, until there are enough, or the time is up."""
        path, path_values = path_of(where, states)
        terms, values = terms_of(where, states, self._unindexed)
        all_terms = " AND ".join([*path, *terms, "number > ?", "number < ?"])
        text = f"SELECT {names(columns)} FROM jobs WHERE {all_terms} ORDER BY number {order} LIMIT ?"
        edge = f"SELECT number FROM jobs WHERE {' AND '.join([*path, 'number > ?', 'number < ?'])}"
        edge += f" ORDER BY number {order} LIMIT 1 OFFSET ?"
        until = time.monotonic() + PAGE_S
        rows: list[Row] = []
        window = min(4 * limit, self._rows_max)
        while True:
            edges = self._fetch(edge, (*path_values, above, below, window))
            last = edges[0][0] if edges else None
            low, high = above, below
            if last is not None and order == "DESC":
                low = last - 1
            elif last is not None:
                high = last + 1
            missing = limit + 1 - len(rows)
            rows += self._made(text, (*path_values, *values, low, high, missing), columns)
            if len(rows) > limit:
                del rows[limit:]
                return Rows(rows, next=rows[-1]["number"])
            if last is None:
                return Rows(rows)
            if time.monotonic() > until:
                return Rows(rows, next=last)
            if order == "DESC":
                below = last
            else:
                above = last
            window = self._rows_max

    def _made(self, text: str, values: tuple[Any, ...], columns: tuple[str, ...]) -> list[Row]:
        """The rows of a statement, each made as it is read: a list must not hold a thousand long errors."""
        with self._turn:
            if columns is LISTED:
                return [listed_row(found) for found in self._execute(text, values)]
            return [row_of_columns(found, columns) for found in self._execute(text, values)]


def path_of(where: Filter, states: Sequence[str] | None) -> tuple[list[str], list[Any]]:
    """Along which index the numbers are walked: its terms, written so that no other will do."""
    kin = _kin_of(where)
    if kin is not None:
        name, value = kin
        return [f"{name} = ?"], [value]
    if states is not None and tuple(states) == (FAILED,):
        return ["state = 'failed'"], []
    if where.service is not None:
        return ["service = ?"], [where.service]
    return [], []


def _kin_of(where: Filter) -> tuple[str, str] | None:
    """The column by whose index there are the fewest jobs, and its value."""
    for name, value in (("parent", where.parent), ("chain", where.chain), ("batch", where.batch)):
        if value is not None:
            return name, value
    return None


def terms_of(where: Filter, states: Sequence[str] | None, unindexed: str) -> tuple[list[str], list[Any]]:
    """The filter, with a mark before each column so that it chooses no index (dialect.py)."""
    terms: list[str] = []
    values: list[Any] = []
    wanted = (
        ("service = ?", where.service),
        ('"group" = ?', where.group),
        ("created_at >= ?", where.since),
        ("created_at < ?", where.before),
        ("cause = ?", where.cause),
        ("parent = ?", where.parent),
        ("chain = ?", where.chain),
        ("batch = ?", where.batch),
        ("submitter = ?", where.submitter),
    )
    for term, value in wanted:
        if value is not None:
            terms.append(f"{unindexed}{term}")
            values.append(value)
    if states is not None:
        terms.append(f"{unindexed}state IN ({', '.join('?' * len(states))})")
        values += states
    return terms, values


def _key(row: Row, name: str) -> Key:
    return row[name], row["number"]
