"""The pages that feed the core."""

from __future__ import annotations

from tests.store.contract import (
    finish,
    ids,
    insert,
    update,
    waiting,
)
from zmws.core.reads import ReadExpired, ReadScheduled
from zmws.store.base import Store


def test_a_page_of_a_group_is_in_the_order_of_rank_and_number(store: Store) -> None:
    store.commit(
        [insert("a", rank=2.0), insert("b", rank=1.0), insert("c", rank=1.0), insert("d", rank=-5.0)]
    )
    store.commit([insert("e", rank=0.0, group="g"), insert("f", rank=0.0, service="T")])
    page = waiting(store)
    assert ids(page.rows) == ["d", "b", "c", "a"] and page.more is None
    assert page.rows[0]["body"] == (b"body",)
    assert ids(waiting(store, group="g").rows) == ["e"] and ids(waiting(store, service="T").rows) == ["f"]


def test_a_page_begins_at_its_key_and_names_the_first_that_it_left_out(store: Store) -> None:
    writes = [insert(f"j{n}", rank=float(n // 3)) for n in range(7)]
    keys = [(write.row["rank"], write.row["number"]) for write in writes]
    store.commit(writes)
    for start in range(7):
        page = waiting(store, since=keys[start], limit=3)
        assert ids(page.rows) == [f"j{n}" for n in range(start, min(7, start + 3))]
        assert page.more == (keys[start + 3] if start + 3 < 7 else None)
    assert ids(waiting(store, since=(1.0, 0), limit=1).rows) == ["j3"]
    assert waiting(store, since=(2.0, keys[6][1] + 1)).rows == []


def test_a_page_is_bounded_in_bytes_but_never_empty(store: Store) -> None:
    writes = [insert(f"j{n}", body=b"x" * 100, rank=float(n)) for n in range(4)]
    store.commit(writes)
    for bytes_max, there in ((1, 1), (100, 1), (199, 1), (200, 2), (399, 3), (400, 4)):
        page = waiting(store, bytes_max=bytes_max)
        assert len(page.rows) == there
        assert page.more == (None if there == 4 else (float(there), writes[there].row["number"]))


def test_a_job_leaves_its_page_when_it_starts_and_comes_back_by_its_new_rank(store: Store) -> None:
    store.commit([insert("a", rank=1.0), insert("b", rank=2.0), update("a", state="running", attempt=1)])
    assert ids(waiting(store).rows) == ["b"]
    store.commit([update("a", state="scheduled", ready_at=50.0)])
    assert ids(waiting(store).rows) == ["b"]
    store.commit([update("a", state="waiting", rank=3.0), update("b", rank=4.0)])
    assert ids(waiting(store).rows) == ["a", "b"]


def test_scheduled_jobs_come_by_their_time_over_all_services(store: Store) -> None:
    writes = [
        insert("a", state="scheduled", ready_at=30.0, body=b"x" * 10),
        insert("b", state="scheduled", ready_at=10.0, service="T", body=b"x" * 10),
        insert("c", state="scheduled", ready_at=30.0, body=b"x" * 10),
        insert("d", ready_at=5.0),
    ]
    store.commit(writes)
    page = store.read(ReadScheduled(None, False, (float("-inf"), 0), 2, 1 << 20))
    assert ids(page.rows) == ["b", "a"] and page.more == (30.0, writes[2].row["number"])
    assert page.rows[0]["body"] == (b"x" * 10,)
    page = store.read(ReadScheduled(None, False, page.more, 2, 1 << 20))
    assert ids(page.rows) == ["c"] and page.more is None
    page = store.read(ReadScheduled(None, False, (10.0, 0), 9, 15))
    assert ids(page.rows) == ["b"] and page.more == (30.0, writes[0].row["number"])


def test_scheduled_jobs_of_either_clock_come_apart(store: Store) -> None:
    store.commit(
        [
            insert("steady", state="scheduled", ready_at=20.0),
            insert("wall", state="scheduled", ready_at=10.0, by_wall=True),
            insert("failed", state="scheduled", ready_at=30.0, by_wall=True),
            update("failed", ready_at=40.0, by_wall=False),
        ]
    )
    start = (float("-inf"), 0)
    assert ids(store.read(ReadScheduled(None, False, start, 9, 1 << 20)).rows) == ["steady", "failed"]
    (row,) = store.read(ReadScheduled(None, True, start, 9, 1 << 20)).rows
    assert row["id"] == "wall" and row["by_wall"] is True


def test_expired_are_those_that_never_ran_the_earliest_first(store: Store) -> None:
    store.commit(
        [
            insert("a", expires_at=20.0),
            insert("b", expires_at=10.0, state="scheduled"),
            insert("c", expires_at=5.0),
            insert("d", expires_at=5.0, attempt=1),
            insert("e", expires_at=20.5),
            insert("f"),
            insert("g", expires_at=1.0),
            update("g", state="running", attempt=1),
            insert("h", expires_at=2.0),
            finish("h", "cancelled"),
        ]
    )
    rows = store.read(ReadExpired(None, 20.0, 10)).rows
    assert ids(rows) == ["c", "b", "a"] and rows[0]["body"] == ()
    assert ids(store.read(ReadExpired(None, 20.0, 2)).rows) == ["c", "b"]
    store.commit([update("c", expires_at=None), update("a", expires_at=50.0)])
    assert ids(store.read(ReadExpired(None, 20.5, 10)).rows) == ["b", "e"]
