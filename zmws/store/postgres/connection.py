"""A connection to PostgreSQL that is used as one to SQLite is: the statements of this program run over both.

Rule 1: values are bound by the server, never written into a statement.
Rule 2: SQLite's marks, `?` and `?N`, are made into psycopg's, once for each text.
Rule 3: what SQLite keeps as numbers, flags among it, is kept so here, too: a text or a row is one everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import TransactionStatus
from psycopg.types.string import StrDumperUnknown

_MARK = re.compile(r"\?(\d*)")
TEXTS_MAX = 2_000  # whose marks are remembered


class _Flag(Dumper):
    """A flag, as a number."""

    oid = psycopg.postgres.types["int2"].oid

    def dump(self, obj: Any) -> bytes:
        """1 or 0."""
        return b"1" if obj else b"0"


class _Text(StrDumperUnknown):
    """A text: NUL, which no text of PostgreSQL holds, as the sign for what cannot be told."""

    def dump(self, obj: Any) -> Any:
        """In UTF-8."""
        return super().dump(obj.replace("\0", "\ufffd") if "\0" in obj else obj)


class PgConnection:
    """One connection, outside of a transaction unless a statement begins one."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.raw = connection
        connection.adapters.register_dumper(bool, _Flag)
        connection.adapters.register_dumper(str, _Text)
        connection.prepare_threshold = 2
        connection.prepared_max = 500

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> psycopg.Cursor[Any]:
        """One statement; its cursor. Raises psycopg.Error."""
        text, order = marked(sql)
        cursor = self.raw.cursor(binary=True)
        values = parameters if order is None else [parameters[n] for n in order]
        return cursor.execute(text, values)

    def executemany(self, sql: str, parameters: Sequence[Sequence[Any]], /) -> psycopg.Cursor[Any]:
        """One statement with each of these, in one go over the wire. Raises psycopg.Error."""
        text, _ = marked(sql)
        cursor = self.raw.cursor(binary=True)
        cursor.executemany(text, parameters)
        return cursor

    def script(self, text: str) -> None:
        """Several statements without values. Raises psycopg.Error."""
        self.raw.cursor().execute(text.encode())

    @property
    def in_transaction(self) -> bool:
        """Whether one is open, be it broken."""
        status = self.raw.info.transaction_status
        return status in (TransactionStatus.INTRANS, TransactionStatus.INERROR)

    def stream(self, sql: str, parameters: Sequence[Any]) -> Iterator[Any]:
        """The rows of a statement one by one: a page may be full before its limit. Raises psycopg.Error."""
        text, order = marked(sql)
        assert order is None, sql
        return self.raw.cursor(binary=True).stream(text, parameters)

    def close(self) -> None:
        """Let go of it."""
        self.raw.close()


@lru_cache(TEXTS_MAX)
def marked(sql: str) -> tuple[bytes, list[int] | None]:
    """A statement with psycopg's marks, and where its values stand among those given; None: in order."""
    found = _MARK.findall(sql)
    text = _MARK.sub("%s", sql.replace("%", "%%"))
    return text.encode(), [int(n) - 1 for n in found] if any(found) else None
