"""How PostgreSQL wants it (zmws/store/sql/dialect.py)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from zmws.core.record import COLUMNS, Frames
from zmws.store.postgres.connection import PgConnection
from zmws.store.rows import BORN, BORN_AS_KIN, quoted
from zmws.store.sql.dialect import Dialect

SQL_FOLDER = Path(__file__).parent / "sql"
OWN_QUERIES = SQL_FOLDER / "queries.sql"
_KINDS = {float: "float8", int: "int8", bool: "int8", str: "text", Frames: "bytea"}
KIND_OF = {column.name: _KINDS.get(column.type, "text") for column in COLUMNS} | {"forget_at": "float8"}
_ROWS = {"insert_born": BORN, "insert_kin": BORN_AS_KIN, "insert_body": ("number", "body")}


class PgBulk:
    """Many rows at once: as many lists as there are columns, however many rows."""

    def __init__(self, connection: PgConnection, queries: Mapping[str, str]) -> None:
        self._execute = connection.execute
        self._inserts = {name: _insert(queries[name], columns) for name, columns in _ROWS.items()}
        self._updates: dict[tuple[str, ...], str] = {}  # by columns and key

    def insert(self, name: str, rows: Sequence[Sequence[Any]]) -> int:
        """Insert rows by the statement of this name; how many were."""
        if not rows:
            return 0
        return self._execute(self._inserts[name], _lists(_ROWS[name], rows)).rowcount

    def update(self, columns: tuple[str, ...], key: str, also: str, rows: Sequence[Sequence[Any]]) -> int:
        """Set these columns of the job that each row names with its last value."""
        text = self._updates.get((*columns, key, also))
        if text is None:
            text = self._updates[(*columns, key, also)] = _update(columns, key, also)
        return self._execute(text, _lists((*columns, key), rows)).rowcount


def _lists(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """The rows as a list of values for each column."""
    return [
        [*map(_FLOAT, values)] if KIND_OF[column] == "float8" else list(values)
        for column, values in zip(columns, zip(*rows, strict=True), strict=True)
    ]


# A list of values has one type.
_FLOAT: Callable[[Any], float | None] = lambda value: None if value is None else float(value)  # noqa: E731


def _unnest(columns: Sequence[str]) -> str:
    return f"unnest({', '.join(f'?::{KIND_OF[name]}[]' for name in columns)})"


def _insert(text: str, columns: Sequence[str]) -> str:
    head, _, rest = text.rpartition("VALUES ")
    _, conflict, more = rest.partition(" ON CONFLICT")
    return f"{head}SELECT * FROM {_unnest(columns)}{conflict}{more}"


def _update(columns: Sequence[str], key: str, also: str) -> str:
    new = [f"c{n}" for n in range(len(columns))]
    sets = ", ".join(f"{quoted(name)} = new.{one}" for name, one in zip(columns, new, strict=True))
    source = f"{_unnest((*columns, key))} AS new ({', '.join([*new, 'k'])})"
    return f"UPDATE jobs SET {sets} FROM {source} WHERE {key} = new.k{also}"


POSTGRES = Dialect("BEGIN", PgBulk, "", "caused JOIN jobs USING (number)")
