"""The store on disk: SQLite, one file, one writing connection (docs/architecture.md, The file).

Rule 1: `commit` is one transaction, synced before it returns; what fails in it leaves nothing behind.
Rule 2: one connection writes and checkpoints, in one thread; the other only reads, for people's lists.
        (SQLite before 3.51.3 can corrupt a WAL that two connections write or checkpoint at once.)
Rule 3: new jobs are taken at a run, as if none were known; when one is, all is rolled back and each is
        looked up. Repeats are rare, and the common way is three times as fast.
Rule 4: a full disk refuses new jobs and nothing else: what runs goes on into the reserve (space.py).
Rule 5: what another program has locked is waited for (patience.py).
Rule 6: any other failure of SQLite is StoreError.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, groupby
from pathlib import Path
from typing import Any

from zmws.core.job import FINAL_STATES, REVIVABLE
from zmws.core.writes import (
    DELETED,
    DISK_FULL,
    EXISTING,
    FOR_PEOPLE,
    FOR_QUESTIONS,
    FULL,
    NEW,
    UNIQUE_CONFLICT,
    UNKNOWN,
    AppendToJob,
    DeleteJob,
    FinishJob,
    ForgetService,
    InsertJob,
    Pruned,
    PruneJobs,
    Read,
    RememberService,
    ReviveJob,
    Rows,
    UpdateJob,
    Verdict,
    Write,
)
from zmws.errors import StoreError
from zmws.store import sqlite_file
from zmws.store.patience import Patience, is_locked, locked
from zmws.store.rows import born_values, converters, event_value, packed, quoted, whole_values
from zmws.store.space import Space
from zmws.store.sql_files import SQL_FOLDER, Migration, migrations, queries
from zmws.store.sqlite_reads import Reads

PAGE_BYTES = 4096
WAL_PAGES = 4_000  # 16 MiB of changes, then they are moved into the file
WAL_PAGES_SCANTY = 250  # the same when there is little room
READER_PATIENCE_S = 2.0  # for another program's lock, before a question is refused
READER_CACHE_BYTES = 4 * 1024 * 1024
STATEMENT_ROWS = 50  # that one statement inserts
OPEN_RETRY_S = 0.05  # between two tries to open a file that is locked

_FULL_CODES = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE)
log = logging.getLogger("zmws.store")


class SqliteStore:
    """Jobs in a file. Raises StoreError at the start if the file cannot be used, and says what to do."""

    durability = "disk"

    def __init__(
        self,
        path: Path,
        *,
        reserve_bytes: int = 16 * 1024 * 1024,
        free_bytes_min: int = 64 * 1024 * 1024,
        cache_bytes: int = 16 * 1024 * 1024,
        check_s_max: float = 2.0,
        open_patience_s: float = 10.0,
        synchronous: str = "FULL",
        sql_folder: Path = SQL_FOLDER,
        own_folder: Path | None = None,
    ) -> None:
        """`own_folder`: the one that may be made."""
        self.path = path
        self._queries = queries()
        for name in ("insert_born", "insert_body"):
            # The one list of values there is stands at the end.
            text, _, values = self._queries[name].rpartition("VALUES ")
            self._queries[f"{name}_many"] = f"{text}VALUES {', '.join([values] * STATEMENT_ROWS)}"
        self._updates: dict[tuple[str, ...], _Update] = {}  # by columns and key
        self._patience = Patience(path)
        self._space = Space(path, reserve_bytes, free_bytes_min)
        # When the disk is full, what the WAL holds must still fit into the file, by way of the reserve.
        self._wal_pages = max(WAL_PAGES_SCANTY, min(WAL_PAGES, reserve_bytes // PAGE_BYTES))
        self._scanty = False  # the WAL is kept short
        self._counts: Counter[tuple[str, str]] = Counter()  # of ended jobs, as on disk
        self._ended: Counter[tuple[str, str]] = Counter()  # what the transaction under way changes
        steps = migrations(sql_folder)
        sqlite_file.require_folder(path, own_folder)
        with contextlib.ExitStack() as undo:
            self._lock = sqlite_file.Lock(path)
            undo.callback(self._lock.release)
            if sqlite_file.is_new(path):
                sqlite_file.create(path, steps)
                # Elsewhere than in var/ it may be the place where a disk should be mounted, and is not.
                level = logging.INFO if path.parent == own_folder else logging.WARNING
                log.log(level, "%s: there was no store; made a new one, without jobs", path)
            self._space.make_way()
            opening = partial(self._open, steps, cache_bytes, check_s_max, synchronous)
            self._when_unlocked(opening, open_patience_s)
            undo.pop_all()
        self._execute = self._writer.execute
        self._many = self._writer.executemany
        self._reads = Reads(self._writer, self._queries, self._counts)
        self._lists = Reads(self._reader, self._queries, self._counts)
        self._space.prepare()

    @property
    def refuses_inserts(self) -> bool:
        """Whether new jobs are refused for lack of room."""
        return self._space.alarm

    @property
    def waits_for(self) -> str | None:
        """What commits wait for, in words."""
        return self._patience.reason

    def commit(self, writes: Sequence[Write]) -> list[Verdict]:
        """Apply the writes; verdicts of those that have one, in order."""
        while True:
            try:
                verdicts = self._commit_as_there_is_room(writes)
            except sqlite3.Error as wrong:
                if is_locked(wrong) and self._patience.wait_for_lock():
                    continue
                raise self._failed("a commit failed", wrong) from wrong
            self._patience.over()
            return verdicts

    def read(self, read: Read) -> Rows:
        """Answer a read; those for people by the other connection, in the reader's thread. A question about
        a file that is locked is refused, which is its asker's matter; what the core has need of waits."""
        reads = self._lists if isinstance(read, FOR_PEOPLE) else self._reads
        while True:
            try:
                rows = reads.answer(read)
            except sqlite3.Error as wrong:
                waits = is_locked(wrong) and not isinstance(read, FOR_QUESTIONS)
                if waits and self._patience.wait_for_lock():
                    continue
                raise self._failed(f"{type(read).__name__} failed", wrong) from wrong
            if reads is self._reads:
                self._patience.over()
            return rows

    def give_up(self) -> None:
        """End what waits for room or for a lock, from any thread: it raises StoreError."""
        self._patience.give_up()

    def close(self) -> None:
        """Let go of everything; what has been committed is then in the file itself."""
        self.give_up()
        try:
            self._reader.close()
            self._writer.close()
        except sqlite3.Error as wrong:
            raise self._failed("cannot be closed", wrong) from wrong
        finally:
            self._lock.release()

    # ------------------------------------------------------------ opening

    def _when_unlocked(self, opening: Callable[[], None], patience_s: float) -> None:
        """Open it, and wait so long for another program that has locked it."""
        until, told = time.monotonic() + patience_s, False
        while True:
            try:
                return opening()
            except sqlite3.DatabaseError as wrong:
                if not is_locked(wrong):
                    raise self._failed("cannot be opened", wrong) from None
            if time.monotonic() > until:
                raise StoreError(
                    f"{self.path}: {locked(self.path)}, for {patience_s:g} s now; end it, and start again"
                )
            if not told:
                told = True
                log.warning("%s: %s; waiting up to %g s", self.path, locked(self.path), patience_s)
            time.sleep(OPEN_RETRY_S)

    def _open(self, steps: list[Migration], cache_bytes: int, check_s_max: float, synchronous: str) -> None:
        """Raises StoreError, sqlite3.DatabaseError; then nothing is left open."""
        path = self.path
        with contextlib.ExitStack() as undo:
            self._writer = undo.enter_context(contextlib.closing(sqlite_file.connect(path)))
            self._set_up(self._writer, cache_bytes, synchronous)
            sqlite_file.require_whole(self._writer, path, check_s_max, self._queries["quick_check"])
            sqlite_file.migrate(self._writer, path, steps)
            for service, state, n in self._writer.execute(self._queries["counts"]).fetchall():
                self._counts[service, state] = n
            self._reader = undo.enter_context(
                contextlib.closing(sqlite_file.connect(path, "ro", READER_PATIENCE_S))
            )
            self._reader.execute(f"PRAGMA cache_size = {-READER_CACHE_BYTES // 1024}")
            undo.pop_all()

    # ------------------------------------------------------------ transactions

    def _set_up(self, connection: sqlite3.Connection, cache_bytes: int, synchronous: str) -> None:
        for setting in (
            "journal_mode = WAL",
            f"synchronous = {synchronous}",
            f"cache_size = {-cache_bytes // 1024}",
            f"wal_autocheckpoint = {self._wal_pages}",
            f"journal_size_limit = {2 * WAL_PAGES * PAGE_BYTES}",
            "temp_store = MEMORY",
            "secure_delete = OFF",
        ):
            connection.execute(f"PRAGMA {setting}").fetchall()

    def _commit_as_there_is_room(self, writes: Sequence[Write]) -> list[Verdict]:
        if self._space.look() != self._scanty:
            self._spare(self._space.alarm)
        if not self._space.alarm:
            try:
                return self._commit_known(writes)
            except sqlite3.Error as wrong:
                if not _is_full(wrong):
                    raise
            self._space.release()
            self._spare(True)
        return self._commit_at_last(writes)

    def _commit_known(self, writes: Sequence[Write]) -> list[Verdict]:
        """At a run if all new jobs are new, else one by one."""
        try:
            return self._transaction(writes, at_a_run=True)
        except _Known:
            return self._transaction(writes)

    def _commit_at_last(self, writes: Sequence[Write]) -> list[Verdict]:
        """Commit what must not be refused, and no new job: if the disk is full, wait until it fits."""
        while True:
            try:
                return self._transaction(writes, refusing=True)
            except sqlite3.Error as wrong:
                if not _is_full(wrong):
                    raise
                released = self._space.release()
                self._spare(True)
                if not released and not self._patience.wait_for_room():
                    raise

    def _spare(self, scanty: bool) -> None:
        """While room is scanty the WAL is kept short, and what it takes up is given back."""
        self._scanty = scanty
        pages = WAL_PAGES_SCANTY if scanty else self._wal_pages
        self._execute(f"PRAGMA wal_autocheckpoint = {pages}").fetchall()
        if scanty:
            try:
                self._execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            except sqlite3.Error as wrong:
                if not _is_full(wrong):
                    raise

    def _transaction(
        self, writes: Sequence[Write], at_a_run: bool = False, refusing: bool = False
    ) -> list[Verdict]:
        verdicts: list[Verdict] = []
        self._ended = Counter()
        self._execute("BEGIN IMMEDIATE")
        try:
            for (kind, _), run in groupby(writes, _shape):
                if kind is UpdateJob:
                    self._update_all(list(run))
                elif kind is FinishJob:
                    self._finish_all(list(run))
                elif kind is InsertJob and at_a_run:
                    self._insert_all(list(run), verdicts)
                else:
                    for write in run:
                        verdict = self._apply(write, refusing)
                        if verdict is not None:
                            verdicts.append(verdict)
            for service, state in self._ended:
                n = self._counts[service, state] + self._ended[service, state]
                self._execute(self._queries["set_count"], (service, state, n))
            self._execute("COMMIT")
        except BaseException:
            if self._writer.in_transaction:  # SQLite has rolled back by itself after some failures
                with contextlib.suppress(sqlite3.Error):
                    self._execute("ROLLBACK")
            raise
        for key, n in self._ended.items():
            self._counts[key] += n
        return verdicts

    def _failed(self, what: str, wrong: sqlite3.Error) -> StoreError:
        code = getattr(wrong, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return StoreError(sqlite_file.damaged(self.path, wrong))
        name = getattr(wrong, "sqlite_errorname", type(wrong).__name__)
        return StoreError(f"{self.path}: {what}: {wrong} ({name})")

    # ------------------------------------------------------------ writes

    def _apply(self, write: Write, refusing: bool) -> Verdict | None:
        if isinstance(write, InsertJob):
            return self._insert(write, refusing)
        if isinstance(write, ReviveJob):
            return self._revive(write)
        if isinstance(write, DeleteJob):
            return self._delete(write)
        if isinstance(write, PruneJobs):
            return self._prune(write)
        if isinstance(write, AppendToJob):
            value = event_value(write.kind, write.value)
            found = self._execute(
                self._queries["append"], (write.n, write.at, write.kind, value, write.job_id)
            )
            _require(found.rowcount == 1, write.job_id)
        elif isinstance(write, ForgetService):
            self._execute(self._queries["forget_service"], (write.service,))
        else:
            assert isinstance(write, RememberService), write
            paused = None if write.paused is None else int(write.paused)
            self._execute(self._queries["remember_service"], (write.service, paused))
        return None

    def _insert_all(self, writes: Sequence[Write], verdicts: list[Verdict]) -> None:
        """A run of new jobs. Raises _Known if one of them is not new, or may not be taken."""
        born, bodies = [], []
        for write in writes:
            assert isinstance(write, InsertJob)
            row = write.row
            values = born_values(row)
            if values is None or write.only_if_known:
                raise _Known
            born.append(values)
            bodies.append((row["number"], packed(row["body"])))
            verdicts.append(Verdict(NEW, row["id"], row["service"]))
        if self._insert_rows("insert_born", born) != len(born):
            raise _Known
        self._insert_rows("insert_body", bodies)

    def _insert_rows(self, name: str, rows: list[tuple[Any, ...]]) -> int:
        """Insert rows, many with one statement: a step of SQLite lets go of Python's lock, and getting it
        back from a busy loop costs more than the row. Gives back how many were inserted."""
        done = 0
        for at in range(0, len(rows), STATEMENT_ROWS):
            some = rows[at : at + STATEMENT_ROWS]
            if len(some) == STATEMENT_ROWS:
                done += self._execute(self._queries[f"{name}_many"], [*chain.from_iterable(some)]).rowcount
            else:
                done += self._many(self._queries[name], some).rowcount
        return done

    def _insert(self, write: InsertJob, refusing: bool) -> Verdict:
        row = write.row
        job_id, service = row["id"], row["service"]
        known = self._find(job_id)
        if known is not None:
            return Verdict(EXISTING, job_id, known[1])
        if row["unique"] is not None and (holder := self._holder(service, row["unique"])) is not None:
            return Verdict(UNIQUE_CONFLICT, holder, service)
        if write.only_if_known or refusing:
            return Verdict(FULL if write.only_if_known else DISK_FULL, job_id, service)
        assert row["state"] not in FINAL_STATES, f"job {job_id}: new, and {row['state']} already"
        self._execute(self._queries["insert_whole"], whole_values(row))
        self._execute(self._queries["insert_body"], (row["number"], packed(row["body"])))
        return Verdict(NEW, job_id, service)

    def _update_all(self, writes: Sequence[Any]) -> None:
        """A run of updates of the same columns."""
        update = self._update(tuple(writes[0].changes), "id")
        values = [update.values(write.changes.values(), write.job_id) for write in writes]
        done = self._many(update.text, values).rowcount
        _require(done == len(writes), ", ".join(write.job_id for write in writes[:10]))

    def _finish_all(self, writes: Sequence[Any]) -> None:
        """A run of ends with the same columns."""
        update = self._update((*writes[0].changes, "forget_at"), "id", " AND " + self._queries["unfinished"])
        values = [update.values(one.changes.values(), one.forget_at, one.job_id) for one in writes]
        done = self._many(update.text, values).rowcount
        _require(done == len(writes), ", ".join(write.job_id for write in writes[:10]))
        for write in writes:
            state = write.changes["state"]
            assert state in FINAL_STATES, f"job {write.job_id} ends and is {state}"
            self._ended[write.service, state] += 1

    def _revive(self, write: ReviveJob) -> Verdict:
        known = self._find(write.job_id)
        if known is None or known[2] not in REVIVABLE:
            return Verdict(UNKNOWN, write.job_id)
        number, service, was, unique = known
        if unique is not None and (holder := self._holder(service, unique)) is not None:
            return Verdict(UNIQUE_CONFLICT, holder, service)
        self._change(number, write.changes, None)
        self._ended[service, was] -= 1
        return Verdict(NEW, write.job_id, service)

    def _delete(self, write: DeleteJob) -> Verdict:
        known = self._find(write.job_id)
        if known is None or known[2] not in FINAL_STATES:
            return Verdict(UNKNOWN, write.job_id)
        number, service, state, _ = known
        self._execute(self._queries["delete_history"], (number,))
        self._remove([number])
        self._ended[service, state] -= 1
        return Verdict(DELETED, write.job_id, service, state)

    def _prune(self, write: PruneJobs) -> Verdict:
        counts: Counter[tuple[str, str]] = Counter()
        left = write.limit
        numbers: list[int] = []
        for number, service, state, pieces in self._execute(
            self._queries["due"], (write.at, write.limit)
        ).fetchall():
            if left <= pieces:
                # More than the rest of the step: this step takes a part, the oldest, and the next goes on.
                self._execute(self._queries["delete_oldest_history"], (number, left))
                break
            if pieces:
                self._execute(self._queries["delete_history"], (number,))
            left -= pieces + 1
            numbers.append(number)
            counts[service, state] += 1
        self._remove(numbers)
        self._ended.subtract(counts)
        (next_at,) = self._execute(self._queries["first_due"]).fetchone()
        return Pruned("pruned", "", counts=dict(counts), next_at=next_at)

    # ------------------------------------------------------------ rows

    def _find(self, job_id: str) -> tuple[int, str, str, str | None] | None:
        """Number, service, state and unique key."""
        found: tuple[int, str, str, str | None] | None = self._execute(
            self._queries["find"], (job_id,)
        ).fetchone()
        return found

    def _holder(self, service: str, unique: str) -> str | None:
        """The job that holds a unique key."""
        found = self._execute(self._queries["holder"], (service, unique)).fetchone()
        return None if found is None else found[0]

    def _change(self, number: int, changes: Mapping[str, Any], forget_at: float | None) -> None:
        update = self._update((*changes, "forget_at"), "number")
        self._execute(update.text, update.values(changes.values(), forget_at, number))

    def _update(self, columns: tuple[str, ...], key: str, also: str = "") -> _Update:
        update = self._updates.get((*columns, key, also))
        if update is None:
            sets = ", ".join(f"{quoted(name)} = ?" for name in columns)
            update = _Update(f"UPDATE jobs SET {sets} WHERE {key} = ?{also}", converters(columns))
            self._updates[(*columns, key, also)] = update
        return update

    def _remove(self, numbers: Sequence[int]) -> None:
        keys = [(number,) for number in numbers]
        self._many(self._queries["delete_job"], keys)
        self._many(self._queries["delete_body"], keys)


@dataclass(slots=True)
class _Update:
    """The statement that sets certain columns of one job."""

    text: str
    converters: list[tuple[int, Callable[[Any], Any]]]

    def values(self, changes: Iterable[Any], *more: Any) -> list[Any]:
        """What goes in for the question marks: the new values, then `more`."""
        values = [*changes, *more]
        for index, convert in self.converters:
            values[index] = convert(values[index])
        return values


class _Known(Exception):
    """One of a run of new jobs is not new."""


def _shape(write: Write) -> tuple[type[Write], tuple[str, ...]]:
    """What writes of a run have in common."""
    kind = type(write)
    return kind, tuple(write.changes) if kind in (UpdateJob, FinishJob) else ()  # type: ignore[attr-defined]


def _is_full(wrong: sqlite3.Error) -> bool:
    return getattr(wrong, "sqlite_errorcode", 0) in _FULL_CODES


def _require(held: bool, job_id: str) -> None:
    assert held, f"a write for job {job_id}, which is not in the store or not in that state"
