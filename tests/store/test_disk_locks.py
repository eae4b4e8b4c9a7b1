"""The store on disk: a file that another program has locked."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.peers import wait_until
from tests.store.contract import finish, insert, listed, said, unfinished
from tests.store.disk import by_hand, opened
from zmws.core.reads import ReadJob, ReadUnfinished
from zmws.core.writes import NEW
from zmws.errors import StoreError
from zmws.store.sql.sql_files import migrations
from zmws.store.sqlite import file as sqlite_file
from zmws.store.sqlite import upkeep
from zmws.store.sqlite.dialect import SQL_FOLDER


@contextlib.contextmanager
def locked(path: Path, how: str = "BEGIN IMMEDIATE") -> Iterator[sqlite3.Connection]:
    """The file, as another program locks it: for writing, or for all (`locking_mode = EXCLUSIVE`)."""
    with by_hand(path) as other:
        other.execute(how)
        if "EXCLUSIVE" in how:
            other.execute("BEGIN IMMEDIATE")
        yield other
        other.execute("ROLLBACK")


def in_a_thread(work: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """What it returned, or raised, once it has ended."""
    ended: list[Any] = []

    def run() -> None:
        try:
            ended.append(work())
        except StoreError as fault:
            ended.append(fault)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, ended


def test_a_commit_waits_for_a_file_that_another_program_has_locked(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "zmws.store")
    store = opened(path)
    store.commit([insert("a")])
    caplog.clear()
    with locked(path):
        thread, ended = in_a_thread(lambda: store.commit([insert("b"), finish("a")]))
        wait_until(lambda: "has locked the file" in caplog.text, what="it to be said")
        assert store.waits_for is not None and f"process {os.getpid()}" not in store.waits_for
        assert ended == [] and listed(store) == ["a"], "lists are read meanwhile"
    thread.join(10)
    assert said(ended[0]) == [(NEW, "b")] and store.waits_for is None
    assert caplog.text.count("has locked the file") == 1 and "commits go on" in caplog.text, caplog.text
    assert unfinished(store).ended == {("S", "complete"): 1}
    store.close()
    assert upkeep.check(path) == []


def test_who_has_locked_the_file_is_named(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = opened(path)
    program = "import sqlite3, sys\nother = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
    program += "other.execute('BEGIN IMMEDIATE')\nprint(flush=True)\ninput()\n"
    command = [sys.executable, "-c", program, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline() == b"\n"
        thread, ended = in_a_thread(lambda: store.commit([insert("a")]))
        wait_until(lambda: "has locked the file" in caplog.text, what="it to be said")
        assert f"another program (process {other.pid}) has locked the file" in caplog.text
        other.communicate(b"\n")
    thread.join(10)
    assert said(ended[0]) == [(NEW, "a")]
    store.close()


def test_a_lock_that_is_soon_over_is_not_spoken_of(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = opened(path)
    with locked(path):
        thread, ended = in_a_thread(lambda: store.commit([insert("a")]))
        wait_until(lambda: store.waits_for is not None, what="the commit to wait")
    thread.join(10)
    assert said(ended[0]) == [(NEW, "a")] and "locked" not in caplog.text
    store.close()


def test_a_commit_that_waits_for_a_lock_is_given_up(path: Path) -> None:
    store = opened(path)
    with locked(path):
        thread, ended = in_a_thread(lambda: store.commit([insert("a")]))
        wait_until(lambda: store.waits_for is not None, what="the commit to wait")
        store.give_up()
        thread.join(10)
        assert isinstance(ended[0], StoreError) and "locked" in str(ended[0])
    store.close()


def test_what_feeds_the_core_waits_for_a_lock_and_a_question_does_not(path: Path) -> None:
    store = opened(path)
    store.commit([insert("a")])
    reads = store._reads
    execute, busy = reads._execute, threading.Event()

    def refused(*given: Any) -> Any:
        # To lock readers out takes a program that recovers the WAL at that moment: no other does.
        if not busy.is_set():
            return execute(*given)
        wrong = sqlite3.OperationalError("database is locked")
        wrong.sqlite_errorcode, wrong.sqlite_errorname = sqlite3.SQLITE_BUSY_RECOVERY, "SQLITE_BUSY_RECOVERY"
        raise wrong

    reads._execute = refused
    busy.set()
    with pytest.raises(StoreError, match="ReadJob failed: database is locked"):
        store.read(ReadJob(None, "a"))
    thread, ended = in_a_thread(lambda: store.read(ReadUnfinished(None)))
    wait_until(lambda: store.waits_for is not None, what="the read to wait")
    assert ended == []
    busy.clear()
    thread.join(10)
    assert ended[0].unfinished.waiting == [("S", None, 1)] and store.waits_for is None
    store.close()


ALL = "PRAGMA locking_mode = EXCLUSIVE"


def test_a_start_waits_for_a_locked_file_and_then_refuses(
    path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    opened(path).close()
    with locked(path, ALL):
        with pytest.raises(StoreError, match=r"another program has locked the file, for 0\.3 s now; end it"):
            opened(path, open_patience_s=0.3)
        assert sorted(one.name for one in path.parent.glob("*.lock")) == ["zmws.db.lock"]
        thread, ended = in_a_thread(lambda: opened(path, open_patience_s=30))
        wait_until(lambda: "waiting up to 30 s" in caplog.text, what="it to be said")
        assert ended == []
        with pytest.raises(StoreError, match="has locked the file"):
            upkeep.check(path)
        with pytest.raises(StoreError, match="has locked the file"):
            upkeep.backup(path, tmp_path / "copy.db")
    thread.join(10)
    ended[0].close()
    # Locked for writing only: there is no need to wait, unless the file is to be brought up.
    with locked(path):
        store = opened(path, open_patience_s=0.3)
        assert listed(store) == []
        store.close()


def test_a_migration_waits_for_a_locked_file(path: Path, tmp_path: Path) -> None:
    opened(path).close()
    folder = tmp_path / "sql"
    folder.mkdir()
    for migration in SQL_FOLDER.glob("0*.sql"):
        (folder / migration.name).write_text(migration.read_text())
    newest = len(migrations(SQL_FOLDER))
    (folder / f"{newest + 1:04}_more.sql").write_text("CREATE TABLE more (n);")
    with locked(path):
        with pytest.raises(StoreError, match=r"has locked the file, for 0\.3 s now"):
            opened(path, sql_folder=folder, open_patience_s=0.3)
        thread, ended = in_a_thread(lambda: opened(path, sql_folder=folder, open_patience_s=30))
        thread.join(0.5)
        assert ended == []
    thread.join(10)
    ended[0].close()
    with by_hand(path) as connection:
        assert sqlite_file.version(connection) == newest + 1
