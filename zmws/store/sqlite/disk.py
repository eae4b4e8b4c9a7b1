"""The store on disk: SQLite, one file, one writing connection (docs/architecture.md, The file).

Rule 1: `commit` is one transaction, synced before it returns; what fails in it leaves nothing behind.
Rule 2: one connection writes and checkpoints, in one thread; the other only reads, for people's lists.
        (SQLite before 3.51.3 can corrupt a WAL that two connections write or checkpoint at once.)
Rule 3: a full disk refuses new jobs and nothing else: what runs goes on into the reserve (space.py).
Rule 4: what another program has locked is waited for (patience.py).
Rule 5: any other failure of SQLite is StoreError.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from zmws.core.reads import FOR_PEOPLE, FOR_QUESTIONS, Read, ReadSearch
from zmws.core.rows import Rows
from zmws.core.writes import Verdict, Write
from zmws.errors import StoreError
from zmws.store.sql.reads import Reads
from zmws.store.sql.search import Search
from zmws.store.sql.sql_files import Migration, migrations, queries
from zmws.store.sql.writer import CAUSES_MAX, Writer
from zmws.store.sqlite import file as sqlite_file
from zmws.store.sqlite.dialect import SQL_FOLDER, SQLITE
from zmws.store.sqlite.patience import Patience, is_locked, locked
from zmws.store.sqlite.space import Space

PAGE_BYTES = 4096
WAL_PAGES = 4_000  # 16 MiB of changes, then they are moved into the file
WAL_PAGES_SCANTY = 250  # the same when there is little room
READER_PATIENCE_S = 2.0  # for another program's lock, before a question is refused
READER_CACHE_BYTES = 4 * 1024 * 1024
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
        search_s_max: float = 0.2,
        causes_max: int = CAUSES_MAX,
        sql_folder: Path = SQL_FOLDER,
        own_folder: Path | None = None,
    ) -> None:
        """`own_folder`: the one that may be made."""
        self.path = path
        self._queries = queries()
        self._causes_max = causes_max
        self._patience = Patience(path)
        self._space = Space(path, reserve_bytes, free_bytes_min)
        # When the disk is full, what the WAL holds must still fit into the file, by way of the reserve.
        self._wal_pages = max(WAL_PAGES_SCANTY, min(WAL_PAGES, reserve_bytes // PAGE_BYTES))
        self._scanty = False  # the WAL is kept short
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
        self._reads = Reads(self._connection, self._queries, SQLITE, self._writer.counts)
        self._lists = Reads(self._reader, self._queries, SQLITE, self._writer.counts)
        self._search = Search(self._searcher, SQLITE, search_s_max)
        self._space.prepare()

    @property
    def refuses_inserts(self) -> bool:
        """Whether new jobs are refused for lack of room."""
        return self._space.alarm

    @property
    def waits_for(self) -> str | None:
        """What commits wait for, in words."""
        return self._patience.reason

    @property
    def used_bytes(self) -> int:
        """The file, and what is not moved into it yet."""
        parts = (self.path, self.path.with_name(self.path.name + "-wal"))
        total = 0
        for part in parts:
            with contextlib.suppress(OSError):
                total += part.stat().st_size
        return total

    @property
    def free_bytes(self) -> int:
        """On its disk."""
        with contextlib.suppress(OSError):
            return self._space.free_bytes()
        return 0

    @property
    def free_bytes_min(self) -> int:
        """With less room new jobs are refused."""
        return self._space.free_bytes_min

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
                rows = self._search.answer(read) if isinstance(read, ReadSearch) else reads.answer(read)
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
            self._searcher.close()
            self._reader.close()
            self._connection.close()
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
            self._connection = undo.enter_context(contextlib.closing(sqlite_file.connect(path)))
            self._set_up(cache_bytes, synchronous)
            sqlite_file.require_whole(self._connection, path, check_s_max, self._queries["quick_check"])
            sqlite_file.migrate(self._connection, path, steps)
            self._writer = Writer(self._connection, self._queries, SQLITE, self._causes_max)
            self._reader, self._searcher = (
                undo.enter_context(contextlib.closing(sqlite_file.connect(path, "ro", READER_PATIENCE_S)))
                for _ in range(2)
            )
            for connection in (self._reader, self._searcher):
                connection.execute(f"PRAGMA cache_size = {-READER_CACHE_BYTES // 1024}")
            undo.pop_all()

    # ------------------------------------------------------------ transactions

    def _set_up(self, cache_bytes: int, synchronous: str) -> None:
        for setting in (
            "journal_mode = WAL",
            f"synchronous = {synchronous}",
            f"cache_size = {-cache_bytes // 1024}",
            f"wal_autocheckpoint = {self._wal_pages}",
            f"journal_size_limit = {2 * WAL_PAGES * PAGE_BYTES}",
            "temp_store = MEMORY",
            "secure_delete = OFF",
        ):
            self._connection.execute(f"PRAGMA {setting}").fetchall()

    def _commit_as_there_is_room(self, writes: Sequence[Write]) -> list[Verdict]:
        if self._space.look() != self._scanty:
            self._spare(self._space.alarm)
        if not self._space.alarm:
            try:
                return self._writer.commit(writes)
            except sqlite3.Error as wrong:
                if not _is_full(wrong):
                    raise
            self._space.release()
            self._spare(True)
        return self._commit_at_last(writes)

    def _commit_at_last(self, writes: Sequence[Write]) -> list[Verdict]:
        """Commit what must not be refused, and no new job: if the disk is full, wait until it fits."""
        while True:
            try:
                return self._writer.commit(writes, refusing=True)
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
        self._connection.execute(f"PRAGMA wal_autocheckpoint = {pages}").fetchall()
        if scanty:
            try:
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            except sqlite3.Error as wrong:
                if not _is_full(wrong):
                    raise

    def _failed(self, what: str, wrong: sqlite3.Error) -> StoreError:
        code = getattr(wrong, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return StoreError(sqlite_file.damaged(self.path, wrong))
        name = getattr(wrong, "sqlite_errorname", type(wrong).__name__)
        return StoreError(f"{self.path}: {what}: {wrong} ({name})")


def _is_full(wrong: sqlite3.Error) -> bool:
    return getattr(wrong, "sqlite_errorcode", 0) in _FULL_CODES
