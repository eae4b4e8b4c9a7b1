"""A file that a version before has written: it is opened, keeps all that it has, and is right afterwards.

`version_5.db.gz` and `version_6.db.gz` are such files, written by brokers of these versions (only the folders
in their tracebacks are others). In each are eight jobs: of MIX one is complete, two have failed, one is
scheduled and one runs; of LATER, which is paused, two wait and one is cancelled. That of version 6 has
causes, figures and a mark, too.

`version_7.db.gz` was written by the store of that version: a job in each state and named by it, of MIX
but for those that wait, of which one more is in a group. There are a cause, figures, a mark, and two acts.

`version_8.db.gz`, too: of MIX a member of the batch b, a step of the chain c, one in a group, one that runs,
and one that is complete; b is open, with a job that is to follow; there are a schedule and an act.

`version_9.db.gz`, too: of MIX three jobs of the key ann (one of the batch b, one runs, one is complete), and
one of nobody in a group; b is open, with a job that is to follow, and c has ended; there are ann and a key
that was revoked.
"""

from __future__ import annotations

import gzip
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.store.contract import (
    delete,
    finish,
    found,
    insert,
    job,
    listed,
    matching,
    revive,
    said,
    unfinished,
    update,
    waiting,
)
from tests.store.disk import MIB, by_hand, opened
from zmws.core.reads import (
    Filter,
    ReadAhead,
    ReadAudit,
    ReadCauses,
    ReadFamily,
    ReadJobs,
    ReadScheduled,
    ReadSearch,
    ReadSeries,
    ReadUnfinished,
)
from zmws.core.record import COLUMNS
from zmws.core.rows import KeyRow, KnownBatch, KnownService, Row, ScheduleRow, job_of, row_of
from zmws.core.states import STATES
from zmws.core.writes import (
    DELETED,
    NEW,
    UNIQUE_CONFLICT,
    CloseBatch,
    Counted,
    FinishMember,
    OpenBatch,
    Pruned,
    PruneJobs,
    WriteAct,
    WriteKey,
    WriteMark,
    WriteSchedule,
    WriteSeries,
)
from zmws.store.sql.sql_files import migrations
from zmws.store.sqlite import file as sqlite_file
from zmws.store.sqlite import upkeep
from zmws.store.sqlite.dialect import SQL_FOLDER
from zmws.store.sqlite.disk import SqliteStore
from zmws.wire.causes import cause_of

HERE = Path(__file__).parent
COMPLETE, FAILED, OTHER_FAILED, SCHEDULED, FIRST, SECOND, CANCELLED, RUNNING = range(1, 9)
TABLES = ("jobs", "bodies", "history", "services", "counts")
OF_6 = (*TABLES, "causes", "caused", "series", "marks")
OF_7 = (*OF_6, "audit")
OF_8 = (*OF_7, "batches", "conclusions", "schedules")
OF_9 = (*OF_8, "keys")
Names = dict[str, list[str]]  # of the columns of each table


@pytest.fixture
def old(path: Path) -> Path:
    """The file, not opened yet."""
    return of_version(5, path)


@pytest.fixture
def of_6(path: Path) -> Path:
    """The same of version 6."""
    return of_version(6, path)


@pytest.fixture
def of_8(path: Path) -> Path:
    """The one of version 8."""
    return of_version(8, path)


@pytest.fixture
def of_7(path: Path) -> Path:
    """The one of version 7."""
    return of_version(7, path)


def of_version(version: int, path: Path) -> Path:
    path.parent.mkdir()
    path.write_bytes(gzip.decompress((HERE / f"version_{version}.db.gz").read_bytes()))
    return path


def id_of(store: SqliteStore, number: int) -> str:
    (row,) = store.read(ReadJobs(None, Filter(), 1, number + 1)).rows
    assert row["number"] == number
    return str(row["id"])


def old_jobs(store: SqliteStore) -> dict[int, Row]:
    rows = store.read(ReadJobs(None, Filter(), 100)).rows
    return {row["number"]: job(store, row["id"]) for row in rows}


def names_of(connection: sqlite3.Connection, tables: tuple[str, ...]) -> Names:
    return {
        table: [name for _, name, *_ in connection.execute(f"PRAGMA table_info({table})")] for table in tables
    }


def rows_of(connection: sqlite3.Connection, names: Names) -> dict[str, list[Any]]:
    """All that is in these columns."""
    kept = {}
    for table, some in names.items():
        columns = ", ".join(f'"{name}"' for name in some)
        kept[table] = connection.execute(f"SELECT {columns} FROM {table} ORDER BY 1, 2").fetchall()
    return kept


def schema_of(path: Path) -> list[Any]:
    with by_hand(path) as connection:
        text = "SELECT type, name, sql FROM sqlite_master ORDER BY 1, 2"
        return connection.execute(text).fetchall()


def test_an_old_file_is_opened_and_keeps_every_row(old: Path) -> None:
    with by_hand(old) as connection:
        assert sqlite_file.version(connection) == 5
        names = names_of(connection, TABLES)
        before = rows_of(connection, names)
    assert [len(before[table]) for table in TABLES] == [8, 8, 2, 2, 3]
    opened(old).close()
    opened(old).close()
    with by_hand(old) as connection:
        assert sqlite_file.version(connection) == migrations(SQL_FOLDER)[-1].version
        assert rows_of(connection, names) == before
        assert connection.execute("SELECT count(*) FROM jobs WHERE cause IS NULL").fetchone() == (8,)
    assert upkeep.check(old) == []


def test_an_old_file_has_the_schema_of_a_new_one(old: Path, tmp_path: Path) -> None:
    opened(old).close()
    (tmp_path / "new").mkdir()
    new = tmp_path / "new" / "zmws.db"
    opened(new).close()
    assert schema_of(old) == schema_of(new)


def test_the_migration_writes_no_job_anew(old: Path) -> None:
    """Or a file of millions of jobs would keep a start waiting."""
    with by_hand(old) as connection:
        root = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'jobs'").fetchone()[0]
        size = connection.execute("PRAGMA page_size").fetchone()[0]
    page = slice((root - 1) * size, root * size)
    before = old.read_bytes()
    opened(old).close()
    after = old.read_bytes()
    assert after[page] == before[page] and any(before[page])
    assert len(after) <= len(before) + 36 * size


@pytest.mark.parametrize(
    ("version", "tables", "counts"),
    [
        (6, OF_6, [8, 8, 1, 2, 3, 1, 2, 6, 2]),
        (7, OF_7, [8, 8, 2, 2, 4, 1, 1, 4, 1, 2]),
        (8, OF_8, [5, 5, 0, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1]),
        (9, OF_9, [4, 4, 0, 0, 1, 0, 0, 0, 0, 0, 2, 1, 0, 2]),
    ],
)
def test_a_file_of_before_keeps_every_row_and_has_the_schema_of_a_new_one(
    path: Path, tmp_path: Path, version: int, tables: tuple[str, ...], counts: list[int]
) -> None:
    was = of_version(version, path)
    with by_hand(was) as connection:
        assert sqlite_file.version(connection) == version
        names = names_of(connection, tables)
        before = rows_of(connection, names)
    assert upkeep.check(was) == []
    assert [len(before[table]) for table in tables] == counts
    opened(was).close()
    opened(was).close()
    (tmp_path / "new").mkdir()
    new = tmp_path / "new" / "zmws.db"
    opened(new).close()
    assert schema_of(was) == schema_of(new)
    with by_hand(was) as connection:
        assert sqlite_file.version(connection) == migrations(SQL_FOLDER)[-1].version == 10
        assert rows_of(connection, names) == before
    assert upkeep.check(was) == []


def test_a_file_of_version_6_has_its_causes_and_an_audit_that_begins(of_6: Path) -> None:
    store = opened(of_6)
    (cause,) = store.read(ReadCauses(None, None, 10)).causes
    assert (cause.type, cause.failed, cause.frame) == ("ValueError", 2, "workers/mix.py:10 in work")
    assert len(listed(store, cause=cause.cause)) == 2
    marks = store.read(ReadSeries(None, None, 60, 0.0, 1e12, 10)).marks
    assert [(mark.text, mark.by) for mark in marks][1:] == [("deploy 1.4", "anna")]
    assert store.read(ReadAudit(None, None, None, None, None, None, 10)).acts == []
    store.commit([WriteAct(0.0, 9, 1.8e9, "anna", "pause", "MIX", None, None, "done")])
    store.close()
    store = opened(of_6)
    (act,) = store.read(ReadAudit(None, None, None, None, None, None, 10)).acts
    assert (act.number, act.by, act.verb, act.on) == (1, "anna", "pause", "MIX")
    store.close()
    assert upkeep.check(of_6) == []


def test_the_jobs_of_an_old_file_are_what_they_were(old: Path) -> None:
    store = opened(old)
    rows = old_jobs(store)
    assert [rows[n]["state"] for n in sorted(rows)] == [
        "complete",
        "failed",
        "failed",
        "scheduled",
        "waiting",
        "waiting",
        "cancelled",
        "running",
    ]
    for row in rows.values():
        assert set(row) == {column.name for column in COLUMNS} | {"history"}
        assert row["cause"] is None
        kept = {name: value for name, value in row.items() if name != "history"}
        assert row_of(job_of(row)) == kept  # the core can hold it
    assert rows[COMPLETE]["body"] == (b'PARAM-JSON: {"what": "ok", "n": "1"}',)
    assert rows[COMPLETE]["result"] == (b'PARAM-JSON: {"n": "1"}',)
    assert rows[FAILED]["error"]["error"] == "bad row 1 of 'orders'"
    assert rows[RUNNING]["history"][-1][2:] == ("log", "a line")
    assert rows[FIRST]["group"] == "a" and rows[SECOND]["group"] is None
    store.close()


def test_an_old_file_is_recovered_from(old: Path) -> None:
    store = opened(old)
    (running,) = store.read(ReadUnfinished(None)).rows
    assert running["number"] == RUNNING and running["progress_text"] == "asleep"
    left = unfinished(store)
    assert left.services == [
        KnownService("LATER", True, None, None, None),
        KnownService("MIX", None, None, "{}", None),
    ]
    assert left.waiting == [("LATER", None, 1), ("LATER", "a", 1)] and left.scheduled == [("MIX", 1)]
    assert left.ended == {("MIX", "complete"): 1, ("MIX", "failed"): 2, ("LATER", "cancelled"): 1}
    assert left.number == 8
    (scheduled,) = store.read(ReadScheduled(None, False, (0.0, 0), 3, MIB)).rows
    assert scheduled["number"] == SCHEDULED
    assert said(store.commit([insert("new", number=9, service="MIX", unique="k1")])) == [
        (UNIQUE_CONFLICT, scheduled["id"])
    ]
    assert [row["number"] for row in waiting(store, service="LATER", group="a").rows] == [FIRST]
    store.close()


def test_what_failed_before_has_no_cause_and_is_listed_all_the_same(old: Path) -> None:
    store = opened(old)
    failed = [id_of(store, OTHER_FAILED), id_of(store, FAILED)]
    assert store.read(ReadCauses(None, None, 10)).causes == []
    assert listed(store, state="failed") == failed == matching(store, ("failed",))[::-1]
    (row, _) = store.read(ReadJobs(None, Filter(state="failed"))).rows
    assert row["cause"] is None and row["error"]["type"] == "ValueError"
    # Nor does anything else find it by one.
    assert listed(store, cause=cause_of(job(store, failed[0])["error"]).key("MIX")) == []
    store.close()


def test_what_failed_before_is_retried_and_fails_anew_for_a_cause(old: Path) -> None:
    store = opened(old)
    job_id = id_of(store, FAILED)
    error = job(store, job_id)["error"]
    assert said(store.commit([revive(job_id, error=None, rank=1.0)])) == [(NEW, job_id)]
    assert unfinished(store).ended[("MIX", "failed")] == 1
    assert store.read(ReadCauses(None, None, 10)).causes == []
    end = finish(job_id, "failed", 1e12, "MIX", error=error, ended_at=1_795_700_000.0)
    store.commit([update(job_id, state="running"), end])
    (cause,) = store.read(ReadCauses(None, None, 10)).causes
    assert (cause.type, cause.message, cause.failed, cause.total) == ("ValueError", "bad row # of '…'", 1, 1)
    assert cause.frame == "workers/mix.py:7 in work" and cause.last_job == job_id
    assert listed(store, cause=cause.cause) == [job_id] and job(store, job_id)["cause"] == cause.cause
    # And once more.
    store.commit([revive(job_id, error=None, rank=1.0)])
    (cause,) = store.read(ReadCauses(None, None, 10)).causes
    assert (cause.failed, cause.total) == (0, 1)
    store.close()
    assert upkeep.check(old) == []


def test_what_failed_before_is_deleted_and_forgotten(old: Path) -> None:
    store = opened(old)
    one, other = id_of(store, FAILED), id_of(store, OTHER_FAILED)
    (verdict,) = store.commit([delete(one)])
    assert (verdict.verdict, verdict.service, verdict.state) == (DELETED, "MIX", "failed")
    (pruned,) = store.commit([PruneJobs(at=1e12, limit=1_000)])
    assert isinstance(pruned, Pruned) and pruned.next_at is None
    assert pruned.counts == {("MIX", "complete"): 1, ("MIX", "failed"): 1, ("LATER", "cancelled"): 1}
    assert found(store, one) is None and found(store, other) is None
    assert unfinished(store).ended == {}
    store.close()
    assert upkeep.check(old) == []


def test_what_ran_then_fails_for_a_cause_and_the_rest_goes_its_way(old: Path) -> None:
    store = opened(old)
    running, first, scheduled = (id_of(store, n) for n in (RUNNING, FIRST, SCHEDULED))
    why = {"code": "worker_lost", "error": "its worker was lost 3 times"}
    store.commit(
        [
            finish(running, "failed", 1e12, "MIX", error=why),
            update(scheduled, state="waiting"),
            update(first, state="running", attempt=1),
        ]
    )
    store.commit(
        [finish(first, "complete", 1e12, "LATER", result=(b"r",)), finish(scheduled, "expired", 1e12, "MIX")]
    )
    (cause,) = store.read(ReadCauses(None, "MIX", 10)).causes
    assert (cause.type, cause.message, cause.failed) == ("worker_lost", "its worker was lost # times", 1)
    assert unfinished(store).ended[("MIX", "failed")] == 3
    store.close()
    assert upkeep.check(old) == []


def test_an_old_file_has_figures_marks_and_searches(old: Path) -> None:
    store = opened(old)
    at = 1_795_700_040
    store.commit([WriteSeries(at, [("MIX", {"started": 1}), ("", {})], 0.0, 0.0)])
    store.commit([WriteMark(float(at), "mark", "after the update", None, "me")])
    read = store.read(ReadSeries(None, "MIX", 60, 0.0, 1e12, 10))
    assert read.series == [(at, "", {}), (at, "MIX", {"started": 1})] and len(read.marks) == 1
    second = job(store, id_of(store, SECOND))
    ahead = ReadAhead(None, "LATER", None, (second["rank"], second["number"] + 1), 0.0, 10)
    assert store.read(ahead).next == 1
    for text, places, numbers in (
        ("bad row", ("error",), [OTHER_FAILED, FAILED]),
        ('"what": "ok"', ("params",), [SCHEDULED, COMPLETE]),
        ("PARAM-JSON", ("result",), [COMPLETE]),
        (second["id"], ("id",), [SECOND]),
    ):
        rows = store.read(ReadSearch(None, Filter(), text, places)).rows
        assert [row["number"] for row in rows] == numbers
    store.close()


def test_a_file_of_before_is_checked_and_a_backup_of_it_is_put_back(old: Path, path: Path) -> None:
    assert upkeep.check(old) == []
    with by_hand(old) as connection:
        assert sqlite_file.version(connection) == 5  # and left as it is
    opened(path).close()
    kept = upkeep.restore(old, path)
    assert kept is not None and kept.exists()
    store = opened(path)
    assert {row["state"] for row in store.read(ReadJobs(None, Filter())).rows} >= {"failed", "complete"}
    store.close()
    assert upkeep.check(path) == []


def test_a_damaged_file_of_before_is_told(old: Path) -> None:
    with by_hand(old) as connection:
        connection.execute("DELETE FROM bodies WHERE number = (SELECT min(number) FROM bodies)")
        connection.commit()
    (problem,) = upkeep.check(old)
    assert "have no body" in problem


def test_the_jobs_of_a_file_of_version_7_stand_alone_and_go_their_way(of_7: Path) -> None:
    store = opened(of_7)
    rows = old_jobs(store)
    assert {row["id"]: row["state"] for row in rows.values()} == {
        **{state: state for state in STATES},
        "grouped": "waiting",
    }
    blank = {column.name: column.blank for column in COLUMNS if "kin" in column.marks}
    for row in rows.values():
        assert {name: row[name] for name in blank} == blank
        assert row_of(job_of(row)) == {name: value for name, value in row.items() if name != "history"}
        assert row["body"] == (b'PARAM-JSON: {"n": %d}' % row["number"],)
    left = unfinished(store)
    assert (left.batches, left.schedules) == ([], []) and left.number == 8
    assert left.ended == {("MIX", state): 1 for state in ("complete", "failed", "cancelled", "expired")}
    assert left.forget_at == 1_795_786_400.0
    # Nobody is kin of theirs, and each is a family of its own.
    assert listed(store, batch="b") == listed(store, parent="failed") == listed(store, chain="c") == []
    assert [row["id"] for row in store.read(ReadFamily(None, "failed", 10)).rows] == ["failed"]
    acts = store.read(ReadAudit(None, None, None, None, None, None, 10)).acts
    assert [act.verb for act in acts] == ["cancel", "pause"]
    (cause,) = store.read(ReadCauses(None, None, 10)).causes
    assert (cause.failed, cause.last_job) == (1, "failed")
    store.close()


def test_a_file_of_version_7_takes_kin_batches_and_schedules(of_7: Path) -> None:
    store = opened(of_7)
    schedule = ScheduleRow(name="nightly", service="MIX", cron="0 3 * * *", anchor=1.0)
    store.commit(
        [
            OpenBatch("b", 1.0, None, insert("x", number=0).row, None, None, None, None),
            WriteSchedule(schedule),
            insert("member", number=9, service="MIX", batch="b", parent="running"),
        ]
    )
    assert said(store.commit([revive("failed", error=None), CloseBatch("b", 10, 2.0, 2.0, "spare")])) == [
        (NEW, "failed"),
        ("counted", ""),
    ]
    end = {"state": "complete", "ended_at": 3.0}
    (counted,) = store.commit([FinishMember("member", end, "MIX", 1e12, "b", 11, 3.0, 3.0, "spare")])
    assert isinstance(counted, Counted) and counted.ended
    assert counted.concluded is not None and counted.concluded["id"] == "b:then"
    assert [row["id"] for row in store.read(ReadFamily(None, "member", 10)).rows] == ["running", "member"]
    assert unfinished(store).schedules == [schedule]
    store.close()
    assert upkeep.check(of_7) == []


def test_the_jobs_of_a_file_of_version_8_are_nobodys_and_it_takes_keys(of_8: Path) -> None:
    store = opened(of_8)
    assert {row["submitter"] for row in old_jobs(store).values()} == {None}
    left = unfinished(store)
    assert (left.keys, left.submitted, left.batches) == ([], [], [KnownBatch("b", 1.0, "anna")])
    ann = KeyRow(
        name="ann", kind="curve", proof="p", role="client", rights={"submit": ("MIX", "T-*")}, rate=0.5
    )
    more = [WriteKey(ann), insert("hers", number=9, service="MIX", submitter="ann")]
    store.commit(
        [
            *more,
            insert("next", number=10, service="MIX", submitter="ann"),
            finish("next", "failed", 9.0, "MIX"),
        ]
    )
    store.close()
    store = opened(of_8)
    assert (unfinished(store).keys, unfinished(store).submitted) == ([ann], [("ann", 1)])
    store.commit([WriteKey(replace(ann, revoked_at=2.0))])
    assert unfinished(store).keys == [replace(ann, revoked_at=2.0)]
    store.close()
    assert upkeep.check(of_8) == []


def test_the_batches_of_a_file_of_version_9_are_those_of_who_has_opened_them(path: Path) -> None:
    of_9 = of_version(9, path)
    store = opened(of_9)
    left = unfinished(store)
    assert (left.batches, left.submitted) == ([KnownBatch("b", 1.0, "ann")], [("ann", 2)])
    assert [key.name for key in left.keys] == ["ann", "old"]
    store.commit([OpenBatch("d", 3.0, None, None, None, None, "bob", "acme")])
    assert unfinished(store).batches[1:] == [KnownBatch("d", 3.0, "bob", "acme")]
    end = {"state": "complete", "ended_at": 3.0}
    store.commit([CloseBatch("b", 11, 3.0, 3.0, "spare")])
    (counted,) = store.commit([FinishMember("hers", end, "MIX", 1e12, "b", 12, 3.0, 3.0, "spare")])
    assert isinstance(counted, Counted) and counted.concluded is not None
    assert counted.concluded["submitter"] == "ann"
    store.close()
    assert upkeep.check(of_9) == []
