"""Backups and checks."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.store.contract import delete, finish, insert, listed, revive
from tests.store.disk import by_hand, opened
from zmws.core.writes import AppendToJob, PruneJobs
from zmws.errors import StoreError
from zmws.store.sqlite import upkeep


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
