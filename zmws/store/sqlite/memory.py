"""The store that forgets with the process: SQLite in memory, for `[store] url = "memory:"`.

Rule 1: it keeps what the store on disk keeps, by the same statements.
Rule 2: it is bounded: new jobs are refused (`full`) past `bytes_max`, and of the ended jobs only the newest
        `ended_max` are kept. What that drops, the next prune reports.
Rule 3: there is one connection, for a second one that reads would lock the first out. Two threads take turns
        on it, for a batch or for one short statement of a list; a batch that waits is the next.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from operator import attrgetter

from zmws.core.reads import FOR_PEOPLE, Read, ReadSearch
from zmws.core.rows import Rows
from zmws.core.writes import FinishJob, FinishMember, Pruned, Verdict, Write
from zmws.errors import StoreError
from zmws.store.sql.reads import Reads
from zmws.store.sql.search import Search
from zmws.store.sql.sql_files import migrations, queries
from zmws.store.sql.writer import CAUSES_MAX, Writer
from zmws.store.sqlite.dialect import SQL_FOLDER, SQLITE

LIST_ROWS = 100  # that one statement of a list looks at
LOOK_BYTES = 1024 * 1024  # that come in before the size is looked at again

_size = attrgetter("size")
_ENDS = frozenset({FinishJob, FinishMember})


class MemoryStore:
    """Jobs in memory."""

    durability = "memory"
    refuses_inserts = False  # it refuses by size, one by one
    waits_for: str | None = None

    def __init__(
        self,
        bytes_max: int = 512 * 1024 * 1024,
        ended_max: int = 100_000,
        search_s_max: float = 0.2,
        causes_max: int = CAUSES_MAX,
    ) -> None:
        self._bytes_max = bytes_max
        self._ended_max = ended_max
        self._queries = queries()
        self._connection = sqlite3.connect(
            ":memory:", isolation_level=None, check_same_thread=False, cached_statements=256
        )
        for migration in migrations(SQL_FOLDER):
            self._connection.executescript(migration.text)
        self._connection.executescript(self._queries["index_of_ends"])
        self._writer = Writer(self._connection, self._queries, SQLITE, causes_max)
        waiting, taken = threading.Lock(), threading.Lock()
        self._turn = _Turn(waiting, taken, of_batch=True)
        turn = _Turn(waiting, taken, of_batch=False)
        self._reads = Reads(self._connection, self._queries, SQLITE, self._writer.counts)
        self._lists = Reads(self._connection, self._queries, SQLITE, self._writer.counts, turn, LIST_ROWS)
        self._search = Search(self._connection, SQLITE, search_s_max, turn, LIST_ROWS)
        self._empty_bytes = self._used_bytes()
        self._room, self._taken = bytes_max, 0  # what there was at the last look, and what came since
        self._dropped: Counter[tuple[str, str]] = Counter()  # for ended_max, not yet reported

    @property
    def used_bytes(self) -> int:
        """At the last look."""
        return max(0, self._bytes_max - self._room + self._taken)

    @property
    def free_bytes(self) -> int:
        """At the last look."""
        return max(0, self._room - self._taken)

    free_bytes_min = 0

    def commit(self, writes: Sequence[Write]) -> list[Verdict]:
        """Apply the writes; verdicts of those that have one, in order."""
        with self._turn, self._told():
            verdicts = self._writer.commit(writes, room=self._room_for(writes))
            if not _ENDS.isdisjoint(map(type, writes)):
                more = sum(self._writer.counts.values()) - self._ended_max
                if more > 0:
                    self._dropped += self._writer.drop_oldest(more)
        for verdict in verdicts:
            if type(verdict) is Pruned:
                verdict.counts = dict(self._dropped + Counter(verdict.counts))
                self._dropped.clear()
        return verdicts

    def read(self, read: Read) -> Rows:
        """Answer a read; those for people in the reader's thread."""
        with self._told():
            if isinstance(read, ReadSearch):
                return self._search.answer(read)
            if isinstance(read, FOR_PEOPLE):
                return self._lists.answer(read)
            with self._turn:
                return self._reads.answer(read)

    def give_up(self) -> None:
        """Nothing here waits."""

    def close(self) -> None:
        """Forget everything."""
        self._connection.close()

    def _room_for(self, writes: Sequence[Write]) -> int:
        """Bytes for new jobs; looked at only now and then, for a look takes as long as an insert."""
        size: int = sum(map(_size, writes))
        self._taken += size
        if self._taken > min(self._room, LOOK_BYTES):
            self._room, self._taken = self._bytes_max - self._used_bytes() + self._empty_bytes, size
        return self._room - self._taken + size

    def _used_bytes(self) -> int:
        (used,) = self._connection.execute(self._queries["used_bytes"]).fetchone()
        return int(used)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as wrong:
            raise StoreError(f"memory: {wrong}") from wrong


class _Turn:
    """A turn on the connection, which one thread has at a time. A batch that waits is the next: Python's
    locks know no order, and a list would make one statement after the other."""

    def __init__(self, waiting: threading.Lock, taken: threading.Lock, of_batch: bool) -> None:
        self._waiting, self._taken = waiting, taken
        self._of_batch = of_batch

    def __enter__(self) -> None:
        self._waiting.acquire()
        if not self._of_batch:
            self._waiting.release()
        self._taken.acquire()
        if self._of_batch:
            self._waiting.release()

    def __exit__(self, *wrong: object) -> None:
        self._taken.release()
