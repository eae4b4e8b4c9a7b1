"""The store on disk: commits, and how reads go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.store.contract import finish, insert, listed, matching, unfinished, update
from tests.store.disk import MIB, by_hand, opened
from zmws.core.reads import ReadExpired, ReadScheduled, ReadWaiting
from zmws.core.writes import RememberService
from zmws.errors import StoreError
from zmws.store.sql.sql_files import queries
from zmws.store.sqlite import upkeep


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
    monkeypatch.setattr("zmws.store.sql.reads.FEW", 5)
    monkeypatch.setattr("zmws.store.sql.reads.WINDOW_ROWS", 7)
    monkeypatch.setattr("zmws.store.sql.reads.PAGE_S", 0.0)
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


def test_a_list_of_kin_walks_along_their_index_however_many_there_are(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zmws.store.sql.reads.FEW", 5)
    monkeypatch.setattr("zmws.store.sql.reads.WINDOW_ROWS", 7)
    monkeypatch.setattr("zmws.store.sql.reads.PAGE_S", 0.0)
    store = opened(path)
    kin: list[dict[str, Any]] = [
        {"batch": "b"},
        {"batch": "c", "parent": "p"},
        {},
        {"batch": "b", "chain": "c"},
    ]
    store.commit([insert(f"j{n}", **kin[n % 4]) for n in range(100)])
    store.commit([finish(f"j{n}", "failed") for n in (0, 3, 40, 41, 98)] + [finish("j99", "cancelled")])
    store.commit([insert("few1", batch="few"), insert("few2", batch="few"), finish("few2", "failed")])
    newest_first = [f"j{n}" for n in reversed(range(100))]
    of_b = [f"j{n}" for n in reversed(range(100)) if n % 4 in (0, 3)]
    assert listed(store, 3, batch="b") == of_b and matching(store, limit=3, batch="b") == of_b[::-1]
    assert listed(store, 3, parent="p") == newest_first[2::4]
    assert listed(store, 3, chain="c") == newest_first[::4]
    assert listed(store, 3, batch="b", state="failed") == ["j40", "j3", "j0"]
    assert listed(store, 3, batch="b", state="cancelled") == ["j99"]
    assert matching(store, ("waiting", "failed"), 3, batch="few") == ["few1", "few2"]
    assert matching(store, ("running",), 3, batch="b") == []
    plans = []
    reads = store._reads

    def watching(text: str, values: Any = ()) -> Any:
        plan = [row[3] for row in store._connection.execute(f"EXPLAIN QUERY PLAN {text}", values)]
        plans.append((text, plan))
        return store._connection.execute(text, values)

    reads._execute = watching  # type: ignore[assignment]
    for where in (
        {"batch": "b"},
        {"chain": "c"},
        {"parent": "p"},
        {"batch": "b", "service": "S", "since": 0.0},
    ):
        matching(store, limit=3, **where)
        matching(store, ("failed", "waiting"), limit=3, **where)
    for text, plan in plans:
        assert not any("TEMP B-TREE" in step for step in plan), (text, plan)
        if "number > ?" in text:
            assert "jobs_of_" in plan[0] and "number<?" in plan[0], (text, plan)
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
        busy, pages, moved = store._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        assert (busy, pages, moved) == (0, 0, 0)
    store.close()
