"""A backup of the SQLite store and a check of it, by another process than the broker, running or not; and
the way back to a backup, while none runs.

Rule 1: only reading connections: nothing here writes to the file or moves its WAL.
Rule 2: a backup is of one moment, and is there as a whole or not at all.
Rule 3: nothing is deleted: what a backup takes the place of is set aside.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zmws.errors import StoreError
from zmws.store.sql.invariants import KEYS_VERSION, invariants
from zmws.store.sql.sql_files import migrations, queries
from zmws.store.sqlite import file as sqlite_file
from zmws.store.sqlite.dialect import SQL_FOLDER
from zmws.store.sqlite.patience import is_locked, locked

STEP_PAGES = 1_000  # of a backup at once
PATIENCE_S = 5.0  # for another program that has locked the file


def backup(source: Path, target: Path) -> None:
    """Copy the store `source` to the file `target`, which must not exist. Raises StoreError."""
    if target.exists():
        raise StoreError(f"{target}: is there already; name a new file")
    made = target.with_name(target.name + ".new")
    try:
        _copy(source, made)
        # A link and not a rename, which would replace what somebody made there meanwhile.
        target.hardlink_to(made)
        made.unlink()
        sqlite_file.sync(target.parent)
    except FileExistsError:
        made.unlink(missing_ok=True)
        raise StoreError(f"{target}: is there already; name a new file") from None
    except (sqlite3.Error, OSError) as wrong:
        with contextlib.suppress(OSError):
            made.unlink(missing_ok=True)
        raise StoreError(f"{target}: the backup failed: {_reason(source, wrong)}") from None


def _copy(source: Path, made: Path) -> None:
    """One moment of a store, with what its WAL holds, as a file of one piece.

    Raises sqlite3.Error, OSError.
    """
    with _reading(source) as connection, contextlib.closing(sqlite3.connect(made)) as copy:
        # Held throughout, so that the writes of a busy broker do not make it begin again and again.
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM services").fetchone()
        connection.backup(copy, pages=STEP_PAGES)
        # It can be looked at without making others beside it.
        copy.execute("PRAGMA journal_mode = DELETE")
    sqlite_file.sync(made)


def restore(source: Path, path: Path, own_folder: Path | None = None) -> Path | None:
    """Put the backup `source` in the place of the store `path`, which no broker may have open. `own_folder`:
    the one that may be made.

    What stood there is kept beside it: its new name is returned, None if there was nothing. Raises
    StoreError; then all is as it was, or the store is missing and a start says so.
    """
    problems = check(source)
    if problems:
        raise StoreError(f"{source}: is no whole store: {problems[0]}")
    sqlite_file.require_folder(path, own_folder)
    lock = sqlite_file.Lock(path)
    made = sqlite_file.restoring(path)
    try:
        made.unlink(missing_ok=True)  # of a restore that was interrupted
        _copy(source, made)
        old = _set_aside(path)
        # From here to the next line there is no store, and a start refuses to make one: `made` is there.
        made.rename(path)
        sqlite_file.sync(path.parent)
    except (sqlite3.Error, OSError) as wrong:
        raise StoreError(f"{path}: the backup could not be put back: {_reason(source, wrong)}") from None
    finally:
        lock.release()
    return old


def keys_changed(old: Path, path: Path) -> tuple[dict[str, str], list[str]]:
    """The keys that were revoked in the store `old`, and are not in the store `path`: what proves them, by
    name; and the names of those that may other things there, or more. Raises StoreError: one of the two
    cannot be read."""
    before = _keys_of(old)
    again, others = {}, []
    for proof, (name, at, *may) in sorted(_keys_of(path).items(), key=lambda one: one[1][0]):
        if at is None and proof in before:
            _, revoked_at, *may_before = before[proof]
            if revoked_at is not None:
                again[name] = proof
            elif may != may_before:
                others.append(name)
    return again, others


def _keys_of(path: Path) -> dict[str, tuple[Any, ...]]:
    try:
        with _reading(path) as connection:
            if sqlite_file.version(connection) < KEYS_VERSION:
                return {}
            may = 'rights, "group", rate, bytes_rate, waiting_max, connections_max'
            rows = connection.execute(f"SELECT proof, name, revoked_at, {may} FROM keys")
            return {proof: tuple(rest) for proof, *rest in rows}
    except sqlite3.Error as wrong:
        raise StoreError(f"{path}: its keys cannot be read: {wrong}") from None


def _reason(source: Path, wrong: sqlite3.Error | OSError) -> str | None:
    if isinstance(wrong, OSError):
        return wrong.strerror
    return f"{source}: {locked(source)}" if is_locked(wrong) else str(wrong)


def _set_aside(path: Path) -> Path | None:
    """Move a store away with what belongs to it: its WAL would be played into another file in its place."""
    parts = [part for part in ("", "-wal", "-shm") if path.with_name(path.name + part).exists()]
    if not parts:
        return None
    n = 1
    while (old := path.with_name(f"{path.name}.before-restore-{n}")).exists():
        n += 1
    for part in parts:
        path.with_name(path.name + part).rename(old.with_name(old.name + part))
    return old


def check(path: Path) -> list[str]:
    """What is wrong with the store, in words; nothing if it is whole. Raises StoreError if there is none."""
    said = queries()
    problems: list[str] = []
    try:
        with _reading(path) as connection:
            connection.execute("BEGIN")
            problems += [str(row[0]) for row in connection.execute(said["integrity_check"]) if row[0] != "ok"]
            connection.create_function("is_object", 1, _is_object, deterministic=True)
            connection.create_function("is_list", 1, _is_list, deterministic=True)
            problems += invariants(connection, said, sqlite_file.version(connection))
    except sqlite3.Error as wrong:
        if is_locked(wrong):  # which is no damage
            raise StoreError(f"{path}: {locked(path)}; try again when that is over") from None
        problems.append(str(wrong))
    return problems


def _is_object(text: Any) -> bool:
    """Whether it is an object of JSON, which who reads it takes for granted. (SQLite may be without JSON.)"""
    return _is(dict, text)


def _is_list(text: Any) -> bool:
    return _is(list, text)


def _is(kind: type, text: Any) -> bool:
    try:
        return isinstance(json.loads(text), kind)
    except (TypeError, ValueError):
        return False


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    if not path.is_file():
        raise StoreError(f"{path}: there is no such store")
    with contextlib.closing(sqlite_file.connect(path, "ro", patience_s=PATIENCE_S)) as connection:
        (application_id,) = connection.execute("PRAGMA application_id").fetchone()
        if application_id != sqlite_file.APPLICATION_ID:
            raise StoreError(f"{path}: is no store of zmws")
        version, newest = sqlite_file.version(connection), migrations(SQL_FOLDER)[-1].version
        if version > newest:
            raise StoreError(f"{path}: is of version {version}, but this zmws knows versions up to {newest}")
        yield connection
