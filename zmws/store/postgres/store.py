"""The store on PostgreSQL: one schema of a database, used by one broker (docs/postgresql.md).

Rule 1: `commit` is one transaction, on disk before it returns (`synchronous_commit`); what fails in it leaves
        nothing behind.
Rule 2: one connection writes, in one thread; the other only reads, for people's lists.
Rule 3: a lock of the session keeps a second broker out as long as the first is connected.
Rule 4: any failure of PostgreSQL is StoreError, which ends the broker: it is started again, and goes on.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import sql

from zmws.core.reads import FOR_PEOPLE, Read, ReadSearch
from zmws.core.rows import Rows
from zmws.core.writes import Verdict, Write
from zmws.errors import StoreError
from zmws.store.postgres import SCHEMA
from zmws.store.postgres.connection import PgConnection
from zmws.store.postgres.dialect import OWN_QUERIES, POSTGRES, SQL_FOLDER
from zmws.store.sql.reads import Reads
from zmws.store.sql.search import Search
from zmws.store.sql.sql_files import migrations, queries
from zmws.store.sql.writer import CAUSES_MAX, Writer

RETRY_S = 0.2  # between two tries to connect
SIZE_S = 10.0  # between two looks at how much it takes up
_LOCK = 0x7A6D7773  # "zmws"; the other half of the key is the schema's

log = logging.getLogger("zmws.store")


class PostgresStore:
    """Jobs in a database. Raises StoreError at the start if it cannot be used, and says what to do."""

    durability = "disk"
    refuses_inserts = False
    waits_for: str | None = None
    free_bytes = 0  # nobody knows
    free_bytes_min = 0

    def __init__(
        self,
        url: str,
        *,
        schema: str = SCHEMA,
        connect_s: float = 10.0,
        search_s_max: float = 0.2,
        causes_max: int = CAUSES_MAX,
    ) -> None:
        """`url`: as libpq has it, a password perhaps in it. `connect_s`: seconds until a server that does not
        answer is given up."""
        self.where = shown(url)
        self._url, self._schema, self._connect_s = url, schema, connect_s
        self._queries = queries(OWN_QUERIES)
        self._used_bytes, self._looked_at = 0, float("-inf")
        with contextlib.ExitStack() as undo:
            try:
                self._connection = undo.enter_context(contextlib.closing(self._connect("writer")))
                self._lock()
                self._migrate()
                self._reader = undo.enter_context(contextlib.closing(self._connect("reader")))
                self._writer = Writer(self._connection, self._queries, POSTGRES, causes_max)
            except psycopg.Error as wrong:
                raise StoreError(f"{self.where}: cannot be used: {said(wrong)}") from None
            undo.pop_all()
        counts = self._writer.counts
        self._reads = Reads(self._connection, self._queries, POSTGRES, counts)
        self._lists = Reads(self._reader, self._queries, POSTGRES, counts)
        self._search = Search(self._reader, POSTGRES, search_s_max)

    @property
    def used_bytes(self) -> int:
        """Tables and indexes, at the last look."""
        return self._used_bytes

    def commit(self, writes: Sequence[Write]) -> list[Verdict]:
        """Apply the writes; verdicts of those that have one, in order."""
        try:
            verdicts = self._writer.commit(writes)
            self._look_at_size()
        except psycopg.Error as wrong:
            raise StoreError(f"{self.where}: a commit failed: {said(wrong)}") from wrong
        return verdicts

    def read(self, read: Read) -> Rows:
        """Answer a read; those for people by the other connection, in the reader's thread."""
        try:
            if isinstance(read, ReadSearch):
                return self._search.answer(read)
            return (self._lists if isinstance(read, FOR_PEOPLE) else self._reads).answer(read)
        except psycopg.Error as wrong:
            raise StoreError(f"{self.where}: {type(read).__name__} failed: {said(wrong)}") from wrong

    def give_up(self) -> None:
        """End a statement that waits for the server, from any thread."""
        with contextlib.suppress(psycopg.Error):
            self._connection.raw.cancel_safe(timeout=1.0)

    def close(self) -> None:
        """Let go of everything; another broker may come."""
        self._reader.close()
        self._connection.close()

    # ------------------------------------------------------------ opening

    def _connect(self, what: str) -> PgConnection:
        """Raises psycopg.Error."""
        raw = self._reached(f"zmws {what}")
        connection = PgConnection(raw)
        with contextlib.ExitStack() as undo:
            undo.callback(connection.close)
            name = sql.Identifier(self._schema)
            raw.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(name)) if what == "writer" else None
            raw.execute(sql.SQL("SET search_path TO {}").format(name))
            raw.execute("SET synchronous_commit TO on")
            raw.execute("SET client_min_messages TO warning")
            if raw.info.encoding != "utf-8":
                raise StoreError(f"{self.where}: the database is not in UTF-8 ({raw.info.encoding})")
            undo.pop_all()
        return connection

    def _reached(self, name: str) -> psycopg.Connection[Any]:
        """A connection; a server that is just starting is waited for. Raises psycopg.Error."""
        until, told = time.monotonic() + self._connect_s, False
        while True:
            left = until - time.monotonic()
            try:
                return psycopg.connect(
                    self._url,
                    autocommit=True,
                    connect_timeout=max(2, math.ceil(left)),
                    application_name=name,
                )
            except psycopg.OperationalError as wrong:
                if left <= 0.0 or wrong.sqlstate not in (None, "57P03"):  # 57P03: it starts, or stops
                    raise
                if not told:
                    told = True
                    log.warning("%s: %s; waiting up to %g s", self.where, said(wrong), self._connect_s)
            time.sleep(RETRY_S)

    def _lock(self) -> None:
        """Raises StoreError where another broker has it."""
        text = "SELECT pg_try_advisory_lock(?, hashtext(?))"
        if not self._connection.execute(text, (_LOCK, self._schema)).fetchone()[0]:  # type: ignore[index]
            raise StoreError(
                f"{self.where}: another broker has this store; end that first. (If its machine is gone, the "
                "server lets go when its connection has timed out.)"
            )

    def _migrate(self) -> None:
        """Bring the schema to the newest version, each step in a transaction."""
        connection, steps = self._connection, migrations(SQL_FOLDER)
        found = connection.execute("SELECT to_regclass('zmws') IS NOT NULL").fetchone()
        at = 0
        if found is not None and found[0]:
            (at,) = connection.execute("SELECT version FROM zmws").fetchone()  # type: ignore[misc]
        if at > steps[-1].version:
            raise StoreError(
                f"{self.where}: is of version {at}, but this zmws knows versions up to "
                f"{steps[-1].version}; run the newer zmws that wrote it"
            )
        for step in steps[at:]:
            first = (
                "INSERT INTO zmws VALUES (1)"
                if step.version == 1
                else f"UPDATE zmws SET version = {step.version}"
            )
            connection.script(f"BEGIN;\n{step.text}\n;{first};COMMIT;")
            if at:
                log.info("%s: brought to version %s", self.where, step.name)
        if not at:
            log.warning("%s: there was no store; made a new one, without jobs", self.where)

    def _look_at_size(self) -> None:
        now = time.monotonic()
        if now - self._looked_at > SIZE_S:
            self._looked_at = now
            self._used_bytes = self._connection.execute(self._queries["used_bytes"]).fetchone()[0]  # type: ignore[index]


def shown(url: str) -> str:
    """A url without what is secret in it."""
    known = psycopg.conninfo.conninfo_to_dict(url)
    port = f":{known['port']}" if known.get("port") else ""
    return f"postgresql://{known.get('host') or ''}{port}/{known.get('dbname') or ''}"


def said(wrong: psycopg.Error) -> str:
    """What went wrong, as one line."""
    return " ".join(str(wrong).split()) or type(wrong).__name__
