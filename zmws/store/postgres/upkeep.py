"""What `zmws check` does with a store on PostgreSQL. (Backups are the server's own business.)"""

from __future__ import annotations

import psycopg

from zmws.errors import StoreError
from zmws.store.postgres import SCHEMA
from zmws.store.postgres.connection import PgConnection
from zmws.store.postgres.dialect import OWN_QUERIES
from zmws.store.postgres.store import said, shown
from zmws.store.sql.invariants import invariants
from zmws.store.sql.sql_files import queries

_AS_SQLITE = 10  # the version of a file that has all that the first one here has


def check(url: str, schema: str = SCHEMA) -> list[str]:
    """What is wrong with the store, in words; nothing if it is whole. Raises StoreError if there is none."""
    try:
        with psycopg.connect(url, autocommit=True, application_name="zmws check") as raw:
            connection = PgConnection(raw)
            name = psycopg.sql.Identifier(schema)
            raw.execute(psycopg.sql.SQL("SET search_path TO {}").format(name))
            if connection.execute("SELECT to_regclass('jobs')").fetchone() == (None,):
                raise StoreError(f"{shown(url)}: there is no store of zmws in its schema '{schema}'")
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            return [*invariants(connection, queries(OWN_QUERIES), _AS_SQLITE)]
    except psycopg.Error as wrong:
        raise StoreError(f"{shown(url)}: cannot be read: {said(wrong)}") from None
