"""The store on disk: what is particular to it."""

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
from tests.store_contract import delete, finish, insert, listed, matching, revive, said, unfinished, update
from zmws.core.writes import (
    DISK_FULL,
    EXISTING,
    FULL,
    NEW,
    UNIQUE_CONFLICT,
    AppendToJob,
    PruneJobs,
    ReadExpired,
    ReadJob,
    ReadScheduled,
    ReadUnfinished,
    ReadWaiting,
    RememberService,
)
from zmws.errors import StoreError
from zmws.store import sqlite_file, upkeep
from zmws.store.sql_files import SQL_FOLDER, migrations, queries
from zmws.store.sqlite import SqliteStore

MIB = 1024 * 1024


def opened(path: Path, **changes: Any) -> SqliteStore:
    usual = {"reserve_bytes": 4096, "free_bytes_min": 0, "own_folder": path.parent}
    return SqliteStore(path, **usual | changes)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "var" / "zmws.db"


@contextlib.contextmanager
def by_hand(path: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


# ------------------------------------------------------------ opening


def test_all_is_there_after_it_was_opened_again(path: Path) -> None:
    store = opened(path)
    store.commit(
        [
            insert("a", unique="u"),
            insert("b"),
            insert("c", state="scheduled"),
            RememberService(service="S", paused=True),
            update("b", state="running"),
            AppendToJob(job_id="b", kind="log", value="line", n=1, at=1.0),
            insert("d"),
            finish("d"),
        ]
    )
    before = [store.read(ReadUnfinished(None)), *(store.read(ReadJob(None, job_id)) for job_id in "abcd")]
    store.close()
    assert sorted(one.name for one in path.parent.iterdir()) == ["zmws.db", "zmws.db.lock", "zmws.db.reserve"]
    store = opened(path)
    assert [
        store.read(ReadUnfinished(None)),
        *(store.read(ReadJob(None, job_id)) for job_id in "abcd"),
    ] == before
    assert said(store.commit([insert("e", unique="u"), insert("a")])) == [
        (UNIQUE_CONFLICT, "a"),
        (EXISTING, "a"),
    ]
    store.close()


def test_what_was_committed_is_there_after_a_kill(path: Path) -> None:
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from tests.store_contract import insert\n"
        "from zmws.store.sqlite import SqliteStore\n"
        "path = Path(sys.argv[1])\n"
        "store = SqliteStore(path, free_bytes_min=0, own_folder=path.parent)\n"
        "store.commit([insert(f'j{n}') for n in range(100)])\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(path)], cwd=SQL_FOLDER.parents[2], timeout=60)
    assert ended.returncode == -9 and path.with_name("zmws.db-wal").stat().st_size
    assert upkeep.check(path) == []
    store = opened(path)
    assert len(listed(store)) == 100
    store.close()


def test_a_second_broker_is_refused_and_told_of_the_first(path: Path) -> None:
    store = opened(path)
    with pytest.raises(StoreError, match=rf"in use by another broker \(process {os.getpid()}\)"):
        opened(path)
    assert said(store.commit([insert("a")])) == [(NEW, "a")]
    store.close()
    opened(path).close()


def test_what_is_no_store_of_ours_is_refused_and_left_as_it_is(path: Path) -> None:
    path.parent.mkdir()
    for content, told in (
        (b"", "is empty"),
        (b"hello" * 100, "damaged, or no SQLite"),
        (b"SQLite", "damaged"),
    ):
        path.write_bytes(content)
        with pytest.raises(StoreError, match=told) as refused:
            opened(path)
        assert "zmws restore" in str(refused.value) and path.read_bytes() == content
    path.unlink()
    with by_hand(path) as other:
        other.execute("CREATE TABLE jobs (id)")
    content = path.read_bytes()
    with pytest.raises(StoreError, match="another program"):
        opened(path)
    assert path.read_bytes() == content


def test_a_file_that_is_missing_beside_its_wal_is_not_made_anew(path: Path) -> None:
    path.parent.mkdir()
    path.with_name("zmws.db-wal").write_bytes(b"jobs")
    with pytest.raises(StoreError, match=r"is missing, but zmws\.db-wal is there"):
        opened(path)
    assert not path.exists()


def test_a_damaged_file_is_refused_with_what_to_do(path: Path) -> None:
    store = opened(path)
    store.commit([insert(f"j{n}", body=b"x" * 500) for n in range(1000)])
    store.close()
    whole = path.read_bytes()
    for damage in (whole[:6000], whole[: len(whole) // 2], whole[:4096] + b"\xff" * 40960 + whole[45056:]):
        path.write_bytes(damage)
        with pytest.raises(StoreError, match=r"is damaged .*put back a backup"):
            opened(path)
        assert path.read_bytes() == damage
    path.write_bytes(whole)
    opened(path).close()


def test_a_newer_file_is_refused_naming_both_versions(path: Path) -> None:
    opened(path).close()
    with by_hand(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match=r"is of version 99, but this zmws knows versions up to \d"):
        opened(path)


def test_a_place_that_cannot_be_written_to_is_told(path: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="there is a file of that name"):
        opened(tmp_path / "file" / "zmws.db")
    path.mkdir(parents=True)
    with pytest.raises(StoreError, match="is a folder"):
        opened(path)
    if os.geteuid():
        path.parent.chmod(0o500)
        with pytest.raises(StoreError, match="cannot be written to"):
            opened(path.parent / "other.db")


def test_a_folder_that_is_missing_is_made_only_where_it_is_the_installations_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "zmws.store")
    var, disk = tmp_path / "var", tmp_path / "mnt" / "disk"
    with pytest.raises(StoreError, match=r"there is no such folder. If it is on a disk .* mount that first"):
        opened(disk / "zmws.db", own_folder=var)
    with pytest.raises(StoreError, match="there is no such folder"):
        opened(var / "more" / "zmws.db", own_folder=var)
    assert list(tmp_path.iterdir()) == []
    opened(var / "zmws.db", own_folder=var).close()
    disk.mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "unmounted")
    with pytest.raises(StoreError, match="is no folder"):
        opened(tmp_path / "link" / "zmws.db", own_folder=var)
    # A folder that a disk is to be mounted on is there without it: the log says what was done.
    opened(disk / "zmws.db", own_folder=var).close()
    told = {
        record.levelname: record.message for record in caplog.records if "made a new one" in record.message
    }
    assert str(var) in told["INFO"] and str(disk) in told["WARNING"]
    caplog.clear()
    opened(disk / "zmws.db", own_folder=var).close()
    assert caplog.text == ""


def test_a_name_of_all_sorts_of_characters_is_a_name(tmp_path: Path) -> None:
    path = tmp_path / "a?b#c%20 d'é" / "zm ws?mode=ro.db"
    store = opened(path)
    store.commit([insert("a")])
    assert listed(store) == ["a"] and path.is_file()
    store.close()


def test_the_look_for_damage_ends_with_its_time(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = opened(path)
    store.commit([insert(f"j{n}") for n in range(20_000)])
    store.close()
    caplog.set_level(logging.INFO, "zmws.store")
    opened(path, check_s_max=0.0).close()
    assert "looked for damage for 0 s" in caplog.text


# ------------------------------------------------------------ versions


def test_an_older_file_is_brought_up_step_by_step(path: Path, tmp_path: Path) -> None:
    store = opened(path)
    store.commit([insert("a")])
    store.close()
    folder = tmp_path / "sql"
    folder.mkdir()
    for one in SQL_FOLDER.glob("0*.sql"):
        (folder / one.name).write_text(one.read_text())
    n = len(migrations())
    (folder / f"{n + 1:04}_more.sql").write_text("ALTER TABLE jobs ADD COLUMN more TEXT;")
    (folder / f"{n + 2:04}_most.sql").write_text(
        "UPDATE jobs SET more = 'yes';\nCREATE INDEX most ON jobs (more);"
    )
    opened(path, sql_folder=folder).close()
    with by_hand(path) as connection:
        assert connection.execute("SELECT id, more FROM jobs").fetchall() == [("a", "yes")]
        assert sqlite_file.version(connection) == n + 2
    with pytest.raises(StoreError, match="newer"):
        opened(path)


def test_a_file_of_the_first_version_is_taken_over_with_its_scheduled_jobs(
    path: Path, tmp_path: Path
) -> None:
    store = opened(path)
    store.commit([insert("a", state="scheduled", ready_at=7.0)])
    store.close()
    with by_hand(path) as connection:  # back to what the first version made
        connection.executescript(
            "DROP INDEX jobs_scheduled; ALTER TABLE jobs DROP COLUMN by_wall; "
            "ALTER TABLE jobs DROP COLUMN saved; PRAGMA user_version = 1;"
            "CREATE INDEX jobs_scheduled ON jobs (ready_at, number, service, state) WHERE state = 'scheduled'"
        )
    store = opened(path)
    (row,) = store.read(ReadScheduled(None, False, (0.0, 0), 3, MIB)).rows
    assert row["id"] == "a" and row["ready_at"] == 7.0 and row["by_wall"] is False
    assert said(store.commit([insert("b", by_wall=True)])) == [(NEW, "b")]
    store.close()


def test_a_migration_that_fails_leaves_the_file_as_it_was(path: Path, tmp_path: Path) -> None:
    opened(path).close()
    folder = tmp_path / "sql"
    folder.mkdir()
    for one in SQL_FOLDER.glob("0*.sql"):
        (folder / one.name).write_text(one.read_text())
    n = len(migrations())
    (folder / f"{n + 1:04}_bad.sql").write_text(
        "ALTER TABLE jobs ADD COLUMN more TEXT;\nSELECT * FROM nowhere;"
    )
    with pytest.raises(StoreError, match="nowhere"):
        opened(path, sql_folder=folder)
    store = opened(path)
    assert said(store.commit([insert("a")])) == [(NEW, "a")]
    store.close()


# ------------------------------------------------------------ commits


def test_a_commit_is_all_or_nothing_and_the_store_goes_on(path: Path) -> None:
    store = opened(path)
    store.commit([insert("a", number=10**9 + 1)])
    batch = [insert("b"), finish("a"), RememberService(service="T"), insert("c", number=10**9 + 1)]
    with pytest.raises(StoreError, match="a commit failed"):
        store.commit(batch)
    with pytest.raises(AssertionError):
        store.commit([insert("d"), finish("a"), update("nobody", state="running")])
    assert listed(store) == ["a"] and unfinished(store).ended == {} and unfinished(store).services == []
    store.commit([insert("b"), finish("a")])
    assert unfinished(store).ended == {("S", "complete"): 1}
    store.close()
    assert upkeep.check(path) == []


def test_a_store_closes_after_a_commit_that_failed(path: Path) -> None:
    store = opened(path)
    store.commit([insert("a")])
    with by_hand(path) as other:
        other.execute("BEGIN IMMEDIATE")
        store.give_up()
        with pytest.raises(StoreError, match="locked"):
            store.commit([insert("b")])
        other.execute("ROLLBACK")
    store.close()
    opened(path).close()


# ------------------------------------------------------------ a file that another program has locked


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
    newest = len(migrations())
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


# ------------------------------------------------------------ a full disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small disk of its own takes root")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(store: SqliteStore) -> list[str]:
    """New jobs until they are refused for good; those that were taken."""
    taken: list[str] = []
    refused = 0
    while refused < 20:
        batch = [insert(f"j{len(taken) + n}", body=b"x" * 20_000) for n in range(10)]
        verdicts = store.commit(batch)
        assert {verdict.verdict for verdict in verdicts} in ({DISK_FULL}, {NEW})
        if verdicts[0].verdict == DISK_FULL:
            refused += 1
        else:
            refused = 0
            taken += [verdict.job_id for verdict in verdicts]
    return taken


def use_up(ballast: Path) -> None:
    """Take all the room there is."""
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)


def test_a_full_disk_refuses_new_jobs_and_lets_the_others_end(
    small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = opened(small_disk / "zmws.db", reserve_bytes=2 * MIB)
    store.commit([insert("key", unique="u")])
    taken = fill(store)
    assert store.refuses_inserts and len(taken) > 50
    assert "new jobs are refused" in caplog.text
    # Whoever repeats himself is still answered as before, and what runs ends: into the reserve.
    verdicts = store.commit(
        [insert("j0"), insert("x", unique="u"), insert("y", only_if_known=True), insert("z")]
    )
    assert [verdict.verdict for verdict in verdicts] == [EXISTING, UNIQUE_CONFLICT, FULL, DISK_FULL]
    for job_id in taken:
        store.commit([update(job_id, state="running"), finish(job_id, result=(b"r" * 500,))])
    assert unfinished(store).ended == {("S", "complete"): len(taken)}
    assert not (small_disk / "zmws.db.reserve").exists()
    store.close()
    assert upkeep.check(small_disk / "zmws.db") == []


def test_new_jobs_are_taken_again_when_there_is_room(
    small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = opened(small_disk / "zmws.db", reserve_bytes=MIB, free_bytes_min=MIB)
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * (6 * MIB))
    verdicts = store.commit([insert("a")])
    assert said(verdicts) == [(DISK_FULL, "a")] and store.refuses_inserts
    # The early alarm leaves the reserve alone.
    assert (small_disk / "zmws.db.reserve").stat().st_size == MIB
    ballast.unlink()
    caplog.set_level(logging.INFO, "zmws.store")
    assert said(store.commit([insert("a")])) == [(NEW, "a")]
    assert not store.refuses_inserts and "new jobs are accepted" in caplog.text
    store.close()


def test_the_reserve_is_made_anew_when_there_is_room(small_disk: Path) -> None:
    reserve = small_disk / "zmws.db.reserve"
    store = opened(small_disk / "zmws.db", reserve_bytes=MIB)
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * (4 * MIB))
    fill(store)
    assert not reserve.exists()
    ballast.unlink()
    assert said(store.commit([insert("a")])) == [(NEW, "a")]
    assert reserve.stat().st_size == MIB
    store.close()


def test_a_commit_waits_when_not_even_the_reserve_helps(small_disk: Path) -> None:
    store = opened(small_disk / "zmws.db", reserve_bytes=4096)
    ballast = small_disk / "ballast"
    store.commit([insert("a"), insert("b")])
    use_up(ballast)
    done = threading.Event()

    def end() -> None:
        store.commit([finish("a", result=(b"r" * MIB,))])
        done.set()

    writer = threading.Thread(target=end)
    writer.start()
    assert not done.wait(0.5)
    ballast.unlink()
    assert done.wait(10)
    writer.join()
    use_up(ballast)
    faults: list[BaseException] = []

    def fail() -> None:
        try:
            store.commit([finish("b", result=(b"r" * 4 * MIB,))])
        except StoreError as fault:
            faults.append(fault)

    writer = threading.Thread(target=fail)
    writer.start()
    store.give_up()
    writer.join(10)
    assert not writer.is_alive() and len(faults) == 1
    ballast.unlink()
    store.close()
    assert upkeep.check(small_disk / "zmws.db") == []


def test_a_store_on_a_full_disk_opens_and_refuses(small_disk: Path) -> None:
    opened(small_disk / "zmws.db", reserve_bytes=MIB).close()
    ballast = small_disk / "ballast"
    use_up(ballast)
    store = opened(small_disk / "zmws.db", reserve_bytes=MIB, free_bytes_min=MIB)
    assert store.refuses_inserts and said(store.commit([insert("a")])) == [(DISK_FULL, "a")]
    store.close()


# ------------------------------------------------------------ how reads go


def test_every_statement_goes_by_its_index(path: Path) -> None:
    opened(path).close()
    expected = {
        "find": "sqlite_autoindex_jobs_1",
        "holder": "jobs_unique",
        "due": "jobs_ended",
        "first_due": "COVERING INDEX jobs_ended",
        "waiting_by_group": "COVERING INDEX jobs_waiting",
        "scheduled_by_service": "COVERING INDEX jobs_scheduled",
        "running": "jobs_running",
        "waiting_at": "jobs_waiting (service=? AND group=? AND rank=? AND number>?)",
        "waiting_after": "jobs_waiting (service=? AND group=? AND rank>?)",
        "scheduled_at": "jobs_scheduled (by_wall=? AND ready_at=? AND number>?)",
        "scheduled_after": "jobs_scheduled (by_wall=? AND ready_at>?)",
        "expired_page": "jobs_expiring",
        "waiting_numbers": "COVERING INDEX jobs_waiting",
        "waiting_numbers_of_service": "COVERING INDEX jobs_waiting (service=?",
        "scheduled_numbers": "COVERING INDEX jobs_scheduled",
        "running_numbers": "COVERING INDEX jobs_running",
        "failed_numbers": "COVERING INDEX jobs_failed",
    }
    said = queries()
    with by_hand(path) as connection:
        for name, index in expected.items():
            text = "EXPLAIN QUERY PLAN " + said[name]
            plan = [row[3] for row in connection.execute(text, (1,) * said[name].count("?"))]
            assert index in plan[0], (name, plan)
            if name not in ("scheduled_by_service",):
                assert not any("TEMP B-TREE" in step for step in plan), (name, plan)


def test_a_list_of_a_large_table_goes_on_where_its_time_was_up(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zmws.store.sqlite_reads.FEW", 5)
    monkeypatch.setattr("zmws.store.sqlite_reads.WINDOW_ROWS", 7)
    monkeypatch.setattr("zmws.store.sqlite_reads.PAGE_S", 0.0)
    store = opened(path)
    store.commit([insert(f"j{n}", service="ST"[n % 5 == 0]) for n in range(200)])
    store.commit([finish(f"j{n}", "failed", service="ST"[n % 5 == 0]) for n in range(100, 130)])
    rare = [f"j{n}" for n in range(200) if n % 50 == 0]
    store.commit([finish(job_id, "cancelled", service="T") for job_id in rare if job_id != "j100"])
    newest_first = [f"j{n}" for n in reversed(range(200))]
    assert listed(store, 3) == newest_first and matching(store, limit=3) == newest_first[::-1]
    assert listed(store, 3, state="cancelled") == ["j150", "j50", "j0"]
    assert listed(store, 3, state="cancelled", service="S") == []
    assert listed(store, 3, state="failed") == [f"j{n}" for n in reversed(range(100, 130))]
    assert matching(store, ("failed",), 3, service="T") == [f"j{n}" for n in range(100, 130, 5)]
    assert matching(store, ("waiting",), 3, service="T") == [
        f"j{n}" for n in range(0, 200, 5) if not 100 <= n < 130 and n % 50
    ]
    store.close()


def test_reads_leave_no_statement_open(path: Path) -> None:
    store = opened(path)
    store.commit([insert(f"j{n}", state=("waiting", "scheduled")[n % 2], expires_at=1.0) for n in range(100)])
    start = (float("-inf"), 0)
    for read in (
        ReadWaiting(None, "S", None, start, 3, MIB),
        ReadScheduled(None, False, start, 3, MIB),
        ReadExpired(None, 9.0, 3),
    ):
        assert len(store.read(read).rows) == 3
        # An open statement would keep the WAL from being moved as a whole.
        store.commit([RememberService(service="S")])
        busy, pages, moved = store._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        assert (busy, pages, moved) == (0, 0, 0)
    store.close()


# ------------------------------------------------------------ upkeep


def test_a_backup_is_of_one_moment_while_writes_go_on(path: Path, tmp_path: Path) -> None:
    store = opened(path, synchronous="NORMAL")
    store.commit([insert(f"old{n}", body=b"x" * 1000) for n in range(3_000)])
    ended = threading.Event()

    def go_on() -> None:
        n = 0
        while not ended.is_set():
            # The two stand or fall together.
            store.commit([insert(f"a{n}"), insert(f"b{n}"), finish(f"old{n % 3_000}")] if n < 3_000 else [])
            n += 1

    writer = threading.Thread(target=go_on)
    writer.start()
    target = tmp_path / "copy.db"
    try:
        upkeep.backup(path, target)
        assert upkeep.check(path) == []
    finally:
        ended.set()
        writer.join()
    store.close()
    assert upkeep.check(target) == []
    assert sorted(one.name for one in tmp_path.iterdir()) == ["copy.db", "var"]
    copy = opened(target)
    names = set(listed(copy, 1000))
    assert {f"old{n}" for n in range(3_000)} <= names
    assert {name[1:] for name in names if name[0] == "a"} == {name[1:] for name in names if name[0] == "b"}
    copy.close()
    with pytest.raises(StoreError, match="is there already"):
        upkeep.backup(path, target)
    upkeep.backup(path, tmp_path / "again.db")
    for missing in (tmp_path / "missing.db", tmp_path):
        with pytest.raises(StoreError, match="no such store"):
            upkeep.backup(missing, tmp_path / "x.db")
        with pytest.raises(StoreError, match="no such store"):
            upkeep.check(missing)


def test_a_check_finds_what_is_wrong(path: Path) -> None:
    store = opened(path)
    store.commit([insert("a"), insert("b"), finish("b"), insert("c", unique="u")])
    store.commit([AppendToJob(job_id="a", kind="log", value="x", n=1, at=1.0)])
    store.close()
    for damage, told in (
        ("UPDATE jobs SET state = 'lost' WHERE id = 'a'", "state 'lost'"),
        ("DELETE FROM bodies WHERE number = (SELECT number FROM jobs WHERE id = 'a')", "1 jobs have no body"),
        ("INSERT INTO bodies VALUES (1 << 40, x'')", "1 bodies belong to no job"),
        ("UPDATE history SET number = 1 << 40", "1 pieces of history"),
        ("UPDATE counts SET n = 7", "7 jobs are counted as complete, but there are 1"),
        ("DELETE FROM counts", "0 jobs are counted as complete, but there are 1"),
        ("UPDATE jobs SET forget_at = 1.0 WHERE id = 'a'", "to be forgotten"),
    ):
        whole = path.read_bytes()
        with by_hand(path) as connection:
            connection.execute(damage)
        assert any(told in problem for problem in upkeep.check(path)), damage
        for rest in ("-wal", "-shm"):
            path.with_name(path.name + rest).unlink(missing_ok=True)
        path.write_bytes(whole)
        assert upkeep.check(path) == []
    path.write_bytes(path.read_bytes()[:8192])
    assert upkeep.check(path)


def test_what_was_forgotten_leaves_nothing_behind(path: Path) -> None:
    store = opened(path)
    for n in range(20):
        store.commit([insert(f"j{n}"), AppendToJob(job_id=f"j{n}", kind="log", value="x", n=1, at=1.0)])
        store.commit([finish(f"j{n}", "failed", forget_at=float(n))])
    store.commit([revive("j3"), delete("j4"), PruneJobs(at=99.0, limit=1000)])
    assert listed(store) == ["j3"]
    store.close()
    assert upkeep.check(path) == []
    with by_hand(path) as connection:
        for table in ("jobs", "bodies", "history"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (1,)
