"""How SQLite wants it (zmws/store/sql/dialect.py)."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from zmws.store.rows import quoted
from zmws.store.sql.dialect import Dialect

SQL_FOLDER = Path(__file__).parent / "sql"  # of the migrations
INSERT_ROWS = (64, 16, 4, 1)  # that one statement inserts
UPDATE_ROWS = (64, 16, 4) if sqlite3.sqlite_version_info >= (3, 33) else ()  # that one statement updates
_INSERTS = ("insert_born", "insert_kin", "insert_body")


class SqliteBulk:
    """Many rows at once: each step of SQLite lets go of Python's lock, and getting it back from a busy loop
    costs more than the row."""

    def __init__(self, connection: sqlite3.Connection, queries: Mapping[str, str]) -> None:
        self._execute = connection.execute
        self._many = connection.executemany
        self._inserts = {name: _inserts_of_many(queries[name]) for name in _INSERTS}
        self._updates: dict[tuple[str, ...], list[tuple[int, str]]] = {}  # by columns and key

    def insert(self, name: str, rows: Sequence[Sequence[Any]]) -> int:
        """Insert rows by the statement of this name; how many were."""
        done, at = 0, 0
        for count, text in self._inserts[name]:
            while len(rows) - at >= count:
                values = [*chain.from_iterable(rows[at : at + count])]
                done += self._execute(text, values).rowcount
                at += count
        return done

    def update(self, columns: tuple[str, ...], key: str, also: str, rows: Sequence[Sequence[Any]]) -> int:
        """Set these columns of the job that each row names with its last value."""
        texts = self._updates.get((*columns, key, also))
        if texts is None:
            texts = [(count, _update_of_many(columns, key, also, count)) for count in UPDATE_ROWS]
            texts.append((1, _update_of_one(columns, key, also)))
            self._updates[(*columns, key, also)] = texts
        done, at = 0, 0
        for count, text in texts[:-1]:
            while len(rows) - at >= count:
                done += self._execute(text, [*chain.from_iterable(rows[at : at + count])]).rowcount
                at += count
        if at < len(rows):
            done += self._many(texts[-1][1], rows[at:]).rowcount
        return done


def _inserts_of_many(text: str) -> list[tuple[int, str]]:
    """Statements that insert so many rows; the list of one row's values stands behind VALUES."""
    head, _, rest = text.rpartition("VALUES ")
    values, conflict, more = rest.partition(" ON CONFLICT")
    return [(n, f"{head}VALUES {', '.join([values] * n)}{conflict}{more}") for n in INSERT_ROWS]


def _update_of_one(columns: Sequence[str], key: str, also: str) -> str:
    return f"UPDATE jobs SET {', '.join(f'{quoted(name)} = ?' for name in columns)} WHERE {key} = ?{also}"


def _update_of_many(columns: Sequence[str], key: str, also: str, count: int) -> str:
    sets = ", ".join(f"{quoted(name)} = new.column{n}" for n, name in enumerate(columns, 1))
    values = f"({', '.join('?' * (len(columns) + 1))})"
    new = f"(VALUES {', '.join([values] * count)}) AS new"
    return f"UPDATE jobs SET {sets} FROM {new} WHERE {key} = new.column{len(columns) + 1}{also}"


SQLITE = Dialect("BEGIN IMMEDIATE", SqliteBulk, "+", "caused CROSS JOIN jobs USING (number)")
