"""The columns of a record are those of core/record.py, everywhere."""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import fields

from tests.store.contract import insert, job
from zmws.core import record
from zmws.core.job import Job
from zmws.core.record import COLUMNS, Column, Frames, Object, State, marked
from zmws.core.rows import job_of, row_of
from zmws.store import rows
from zmws.store.base import Store
from zmws.store.sql.sql_files import migrations
from zmws.store.sqlite.dialect import SQL_FOLDER

SQL_TYPES = [
    (int, "INTEGER"),
    (bool, "INTEGER"),
    (float, "REAL"),
    (str, "TEXT"),
    (Frames, "BLOB"),
    (Object, "TEXT"),
    (tuple[State, ...], "TEXT"),
    (tuple[Object, ...], "TEXT"),
]
BY_DEFAULT = {"later", "kin"}  # what the insert of most jobs leaves to the table
EMPTY_IS_NULL = (Frames, tuple[Object, ...])


def sql_of(column: Column) -> tuple[str, bool, str | None]:
    """Type, whether it may be null, and of what comes later the default: as the table should have it."""
    (name,) = [name for kind, name in SQL_TYPES if kind == column.type]
    null = (column.null and column.name != "group") or column.type in EMPTY_IS_NULL
    default = None if null or not column.marks & BY_DEFAULT else str(int(column.blank))
    return name, null, default


def test_the_table_has_the_columns_of_a_record_and_their_types_and_defaults() -> None:
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        for migration in migrations(SQL_FOLDER):
            connection.executescript(migration.text)
        found = {
            name: (
                kind,
                not (not_null or key),
                default if name in (*marked("later"), *marked("kin")) else None,
            )
            for _, name, kind, not_null, default, key in connection.execute("PRAGMA table_info(jobs)")
        }
    del found["forget_at"]  # which is no matter of the record: it follows from `keep`
    assert found == {column.name: sql_of(column) for column in COLUMNS if "apart" not in column.marks}


def test_every_column_is_born_or_comes_later() -> None:
    for column in COLUMNS:
        assert len(column.marks & {"born", "later"}) == 1, column
    assert {*rows.BORN, *marked("later"), *marked("kin"), "body"} == {column.name for column in COLUMNS}
    assert {*rows.BORN_AS_KIN, "body"} == {*marked("born")} and not {*rows.BORN} & {*marked("kin")}


def test_a_job_is_its_record_and_what_a_restart_forgets() -> None:
    one = job_of(insert("a").row)
    assert row_of(one).keys() == {field.name for field in fields(record.Record)}
    assert isinstance(one, record.Record) and {field.name for field in fields(Job)} > row_of(one).keys()


def test_what_comes_later_is_until_then_as_the_record_says(store: Store) -> None:
    store.commit([insert("a")])
    row = job(store, "a")
    assert row is not None
    for column in COLUMNS:
        if "later" in column.marks:
            assert (row[column.name], type(row[column.name])) == (column.blank, type(column.blank)), column
