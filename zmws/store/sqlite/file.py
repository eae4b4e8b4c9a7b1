"""The file of the SQLite store: whose it is, that it is whole, and of which version.

Rule 1: one broker a file: `NAME.lock` is locked for as long as it is open.
Rule 2: a file that is there is never replaced, and one that should be there never made anew: what is
        wrong with it is told, and what to do.
Rule 3: a new file comes into being all at once, by a rename.
Rule 4: the file is opened past SQLite only before SQLite has it open: closing it would take SQLite's locks.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import sqlite3
import struct
import threading
from pathlib import Path
from urllib.parse import quote

from zmws.errors import StoreError
from zmws.store.sql.sql_files import Migration
from zmws.store.sqlite.patience import is_locked

LOCK_PATIENCE_S = 0.2  # how long SQLite itself tries; who has more patience tries again
APPLICATION_ID = 0x7A6D7773  # "zmws", in the header of our files

_MAGIC = b"SQLite format 3\0"
_MEND = (
    "put back a backup with `zmws restore FILE`, or move the file away (with its -wal and -shm) to begin "
    "without jobs"
)
log = logging.getLogger("zmws.store")


class Lock:
    """The lock on a database: of one broker, until it is released or its process has gone."""

    def __init__(self, path: Path) -> None:
        place = path.with_name(path.name + ".lock")
        try:
            self._file = os.open(place, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as wrong:
            raise StoreError(f"{place}: cannot be opened: {wrong.strerror}") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as wrong:
            pid = os.pread(self._file, 20, 0).decode("ascii", "replace").strip()
            os.close(self._file)
            if not isinstance(wrong, BlockingIOError):
                raise StoreError(f"{place}: cannot be locked: {wrong.strerror}") from None
            who = f" (process {pid})" if pid else ""
            raise StoreError(f"{path}: is in use by another broker{who}") from None
        with contextlib.suppress(OSError):  # a full disk must not keep us from the jobs that there are
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let another broker in. The file stays: to remove it would let two of them in."""
        with contextlib.suppress(OSError):
            os.ftruncate(self._file, 0)
        os.close(self._file)


def restoring(path: Path) -> Path:
    """Where a backup stands until it takes the store's place."""
    return path.with_name(path.name + ".restoring")


def require_folder(path: Path, own: Path | None) -> None:
    """The folder that the database lies in is there. `own`, which is the installation's, is made where it is
    missing; any other may be on a disk that is not mounted, and a store made anew there would hide that."""
    folder = path.parent
    try:
        if folder == own:
            folder.mkdir(exist_ok=True)
        there = folder.is_dir()
    except OSError as wrong:
        reason = "there is a file of that name" if isinstance(wrong, FileExistsError) else wrong.strerror
        raise StoreError(f"{folder}: the folder cannot be made: {reason}") from None
    if not there and (folder.exists() or folder.is_symlink()):
        raise StoreError(f"{folder}: is no folder; the store's url must name a file in one")
    if not there:
        raise StoreError(
            f"{folder}: there is no such folder. If it is on a disk of its own, mount that first; "
            "else make the folder, and the store begins without jobs"
        )
    if path.is_dir():
        raise StoreError(f"{path}: is a folder; the store's url must name a file")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StoreError(f"{folder}: the folder cannot be written to")


def is_new(path: Path) -> bool:
    """Whether there is no database yet. Raises StoreError if what there is is none of ours."""
    try:
        with path.open("rb") as file:
            head = file.read(100)
    except FileNotFoundError:
        wal = path.with_name(path.name + "-wal")
        if wal.exists() and wal.stat().st_size:
            text = f"{path}: is missing, but {wal.name} is there and may hold jobs; {_MEND}"
            raise StoreError(text) from None
        if restoring(path).exists():
            text = f"{path}: is missing, for a `zmws restore` was interrupted; run it again"
            raise StoreError(text) from None
        return True
    except OSError as wrong:
        raise StoreError(f"{path}: cannot be read: {wrong.strerror}") from None
    if not head:
        raise StoreError(f"{path}: is empty, which no store of zmws ever is; {_MEND}")
    if len(head) < 100 or not head.startswith(_MAGIC):
        raise StoreError(f"{path}: is damaged, or no SQLite database at all; {_MEND}")
    (application_id,) = struct.unpack_from(">I", head, 68)
    if application_id != APPLICATION_ID:
        raise StoreError(f"{path}: is a database of another program; name another file in store.url")
    if not os.access(path, os.W_OK):
        raise StoreError(f"{path}: cannot be written to")
    return False


def create(path: Path, migrations: list[Migration]) -> None:
    """A new database, there as a whole or not at all."""
    made = path.with_name(path.name + ".new")
    try:
        for left in (made, made.with_name(made.name + "-journal")):
            left.unlink(missing_ok=True)
        connection = sqlite3.connect(made, isolation_level=None)
        try:
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            migrate(connection, path, migrations)
            connection.execute("PRAGMA journal_mode = WAL")
        finally:
            connection.close()
        sync(made)
        made.rename(path)
        sync(path.parent)
    except (sqlite3.Error, OSError) as wrong:
        reason = wrong.strerror if isinstance(wrong, OSError) else wrong
        raise StoreError(f"{path}: cannot be made: {reason}") from None


def connect(path: Path, mode: str = "rw", patience_s: float = LOCK_PATIENCE_S) -> sqlite3.Connection:
    """A connection that never makes a file: `mode` is rw or ro. `patience_s`: for another program's lock.

    Raises sqlite3.Error.
    """
    uri = f"file:{quote(os.fsencode(path.absolute()))}?mode={mode}"
    return sqlite3.connect(
        uri,
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
        timeout=patience_s,
    )


def version(connection: sqlite3.Connection) -> int:
    """The schema's version in the file."""
    (number,) = connection.execute("PRAGMA user_version").fetchone()
    return int(number)


def migrate(connection: sqlite3.Connection, path: Path, migrations: list[Migration]) -> None:
    """Bring the file to the newest version, each step in a transaction.

    Raises StoreError, and sqlite3.Error where another program has locked it.
    """
    at, newest = version(connection), migrations[-1].version
    if at > newest:
        raise StoreError(
            f"{path}: is of version {at}, but this zmws knows versions up to {newest}; "
            "run the newer zmws that wrote it"
        )
    for migration in migrations[at:]:
        text = f"BEGIN IMMEDIATE;\n{migration.text}\n;PRAGMA user_version = {migration.version};\nCOMMIT;"
        try:
            connection.executescript(text)
        except sqlite3.Error as wrong:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            if is_locked(wrong):
                raise
            raise StoreError(f"{path}: cannot be brought to version {migration.name}: {wrong}") from None
        if at:
            log.info("%s: brought to version %s", path, migration.name)


def require_whole(connection: sqlite3.Connection, path: Path, seconds_max: float, statement: str) -> None:
    """Look for damage, for `seconds_max` at most. Raises StoreError, sqlite3.Error."""
    ended = threading.Event()

    def interrupt() -> None:
        # More than once, for it does nothing between two statements.
        pause = seconds_max
        while not ended.wait(pause):
            connection.interrupt()
            pause = 0.005

    # Not by a progress handler: before SQLite 3.42 that is not asked inside of a check.
    thread = threading.Thread(target=interrupt, name="zmws-check", daemon=True)
    thread.start()
    try:
        found = [str(row[0]) for row in connection.execute(statement)]
    except sqlite3.OperationalError as wrong:
        if wrong.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        log.info("%s: looked for damage for %g s and found none in that part", path, seconds_max)
        return
    finally:
        ended.set()
        thread.join()
    if found != ["ok"]:
        raise StoreError(damaged(path, found[0]))


def damaged(path: Path, reason: object) -> str:
    """What to say of a file that SQLite cannot make sense of."""
    # A disk that cannot be read looks the same to SQLite as a file that makes no sense.
    why = " ".join(str(reason).split())
    look = "if the kernel's log tells of disk errors, mend those first; `zmws check` looks at the whole file"
    return f"{path}: is damaged or cannot be read ({why}); {look}; else {_MEND}"


def sync(path: Path) -> None:
    """fsync of a file or a folder that nobody has open. Raises OSError."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
