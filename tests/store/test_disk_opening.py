"""The store on disk: opening, and versions of the file."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.store.contract import finish, insert, listed, said, update
from tests.store.disk import MIB, by_hand, opened
from zmws.core.reads import ReadJob, ReadScheduled, ReadUnfinished
from zmws.core.record import marked
from zmws.core.writes import EXISTING, NEW, UNIQUE_CONFLICT, AppendToJob, RememberService
from zmws.errors import StoreError
from zmws.store.sql.sql_files import migrations
from zmws.store.sqlite import file as sqlite_file
from zmws.store.sqlite import upkeep
from zmws.store.sqlite.dialect import SQL_FOLDER


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
        "from tests.store.contract import insert\n"
        "from zmws.store.sqlite.disk import SqliteStore\n"
        "path = Path(sys.argv[1])\n"
        "store = SqliteStore(path, free_bytes_min=0, own_folder=path.parent)\n"
        "store.commit([insert(f'j{n}') for n in range(100)])\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(path)], cwd=SQL_FOLDER.parents[3], timeout=60)
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
    for _ in range(20):  # on a busy machine the look may be over before anybody can end it
        opened(path, check_s_max=0.0).close()
        if "looked for damage for 0 s" in caplog.text:
            return
    pytest.fail("it always looked at all of the file")


def test_an_older_file_is_brought_up_step_by_step(path: Path, tmp_path: Path) -> None:
    store = opened(path)
    store.commit([insert("a")])
    store.close()
    folder = tmp_path / "sql"
    folder.mkdir()
    for one in SQL_FOLDER.glob("0*.sql"):
        (folder / one.name).write_text(one.read_text())
    n = len(migrations(SQL_FOLDER))
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
            "ALTER TABLE jobs DROP COLUMN saved; ALTER TABLE services DROP COLUMN defaults; "
            "ALTER TABLE services DROP COLUMN params; ALTER TABLE jobs DROP COLUMN meta; "
            "ALTER TABLE services DROP COLUMN limits; ALTER TABLE jobs DROP COLUMN cause; "
            "DROP TABLE causes; DROP TABLE caused; DROP TABLE series; DROP TABLE marks; DROP TABLE audit; "
            "DROP TABLE batches; DROP TABLE conclusions; DROP TABLE schedules; DROP TABLE keys; "
            "DROP INDEX jobs_of_submitter; "
            "DROP INDEX jobs_of_parent; DROP INDEX jobs_of_batch; DROP INDEX jobs_of_chain; "
            + "".join(f"ALTER TABLE jobs DROP COLUMN {name}; " for name in marked("kin"))
            + "PRAGMA user_version = 1;"
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
    n = len(migrations(SQL_FOLDER))
    (folder / f"{n + 1:04}_bad.sql").write_text(
        "ALTER TABLE jobs ADD COLUMN more TEXT;\nSELECT * FROM nowhere;"
    )
    with pytest.raises(StoreError, match="nowhere"):
        opened(path, sql_folder=folder)
    store = opened(path)
    assert said(store.commit([insert("a")])) == [(NEW, "a")]
    store.close()
