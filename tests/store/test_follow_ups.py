"""Jobs that follow from others: how they stand to them, what an insert of one may meet, and families."""

from __future__ import annotations

from typing import Any

import pytest

from tests.store.contract import (
    delete,
    finish,
    found,
    ids,
    insert,
    job,
    listed,
    matching,
    said,
    unfinished,
    unit,
    update,
)
from tests.store.model import ModelStore
from zmws.core.reads import Filter, ReadExpired, ReadFamily, ReadJobs, ReadSearch, ReadUnfinished
from zmws.core.record import COLUMNS
from zmws.core.writes import EXISTING, FULL, NEW, UNIQUE_CONFLICT, InsertJob
from zmws.store.base import Store
from zmws.store.sql import reads
from zmws.store.sqlite.memory import MemoryStore

KIN: dict[str, Any] = {
    "parent": "p",
    "parent_number": 7,
    "batch": "b",
    "chain": "c",
    "depth": 3,
    "step": 2,
    "steps": 4,
    "rest": '[{"service": "X", "params": "\\ud800"}]',
    "on_complete": "ON",
    "on_failed": "OFF",
    "submitter": "ann",
    "concludes": {"batch": "z", "as": "then", "total": 3, "first": ["x"]},
}


def follows(job_id: str, parent: str | None = "p", spare: str = "spare", **more: Any) -> InsertJob:
    write = insert(job_id, parent=parent, **more)
    write.spare_id = spare
    return write


def family(store: Store, job_id: str, limit: int = 100) -> list[str]:
    return ids(store.read(ReadFamily(None, job_id, limit)).rows)


# ---------------------------------------------------------------- how they stand to others


def test_kin_has_all_of_its_columns(store: Store) -> None:
    assert KIN.keys() == {column.name for column in COLUMNS if "kin" in column.marks}
    write = insert("a", **KIN)
    store.commit([insert("p"), write, insert("z")])
    row = job(store, "a")
    assert row == write.row | {"history": []}
    assert {name: (row[name], type(row[name])) for name in KIN} == {
        name: (value, type(value)) for name, value in KIN.items()
    }
    blank = {column.name: column.blank for column in COLUMNS if "kin" in column.marks}
    assert {name: job(store, "z")[name] for name in KIN} == blank
    # Who acts on it has all but what is as long as its body; lists have what they show.
    light = found(store, "a", whole=False)
    assert light is not None and {name: light[name] for name in KIN} == KIN | {"rest": None}
    (shown,) = store.read(ReadJobs(None, Filter(parent="p"))).rows
    assert {name: shown[name] for name in KIN} == KIN | {"rest": None, "concludes": None}
    store.commit([update("a", state="running", attempt=1)])
    assert store.read(ReadUnfinished(None)).rows == [write.row | {"state": "running", "attempt": 1}]


@pytest.mark.parametrize("name", KIN)
def test_each_of_them_alone_makes_kin(store: Store, name: str) -> None:
    writes = [insert("a"), insert("b", **{name: KIN[name]}), insert("c")]
    assert {one.verdict for one in store.commit(writes)} == {NEW}
    assert [job(store, job_id)[name] for job_id in "abc"] == [
        writes[0].row[name],
        KIN[name],
        writes[0].row[name],
    ]


def test_kin_and_others_of_one_commit_are_in_the_order_of_their_numbers(store: Store) -> None:
    writes = [insert(f"j{n}", f"{n}".encode(), **[{}, {"parent": "p"}][n % 2]) for n in range(150)]
    store.commit(writes)
    assert matching(store) == [f"j{n}" for n in range(150)]
    assert [job(store, f"j{n}")["body"] for n in range(150)] == [(f"{n}".encode(),) for n in range(150)]
    # A repeat among them is told, and each other is new.
    again = [insert("k1", parent="p"), insert("j7"), insert("k2"), insert("j8", parent="x")]
    assert said(store.commit(again)) == [(NEW, "k1"), (EXISTING, "j7"), (NEW, "k2"), (EXISTING, "j8")]


def test_filters_name_kin_in_lists_in_searches_and_for_operators(store: Store) -> None:
    store.commit(
        [insert(f"j{n}", b"word", parent="pq"[n % 2], chain="c" if n > 5 else None) for n in range(9)]
    )
    store.commit([finish("j2", "failed"), insert("other", b"word")])
    assert listed(store, parent="q") == ["j7", "j5", "j3", "j1"]
    assert listed(store, parent="p", chain="c") == ["j8", "j6"]
    assert matching(store, ("failed", "waiting"), 2, parent="p", state="failed") == ["j2"]
    for where, expected in (
        ({"parent": "q"}, ["j7", "j5", "j3", "j1"]),
        ({"chain": "c"}, ["j8", "j7", "j6"]),
        ({"chain": "c", "parent": "q"}, ["j7"]),
        ({"parent": "p", "state": "failed"}, ["j2"]),
        ({"batch": "b"}, []),
    ):
        rows = store.read(ReadSearch(None, Filter(**where), "word", ("params",)))
        assert ids(rows.rows) == expected and rows.next is None


def test_the_expired_that_somebody_is_told_of_come_with_their_bodies(store: Store) -> None:
    kept: dict[str, Any] = {"expires_at": 5.0, "meta": '{"m": 1}'}
    store.commit([insert("a", b"A", on_failed="OFF", **kept), insert("b", b"B", on_complete="ON", **kept)])
    rows = store.read(ReadExpired(None, 5.0, 10)).rows
    assert [(row["id"], row["body"], row["meta"]) for row in rows] == [
        ("a", (b"A",), '{"m": 1}'),
        ("b", (), None),
    ]


def test_a_page_of_the_expired_is_bounded_by_its_bodies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reads, "EXPIRED_BYTES", 250)
    store = MemoryStore()
    writes = [insert(f"j{n}", b"x" * 100, expires_at=float(n), on_failed="OFF") for n in range(5)]
    store.commit(writes)
    page = store.read(ReadExpired(None, 9.0, 10))
    assert ids(page.rows) == ["j0", "j1"] and page.more == (2.0, writes[2].row["number"])
    store.commit([insert("long", b"x" * 1000, expires_at=-1.0, on_failed="OFF")])
    assert ids(store.read(ReadExpired(None, 9.0, 10)).rows) == ["long"]


# ---------------------------------------------------------------- what an insert of one may meet


def test_one_of_its_own_parent_stands_for_it(store: Store) -> None:
    store.commit([insert("p"), follows("p:1")])
    (verdict,) = store.commit([follows("p:1", service="T")])
    assert (verdict.verdict, verdict.job_id, verdict.service) == (EXISTING, "p:1", "S")
    # That is no refusal, of whatever service it is.
    verdicts = store.commit(unit(finish("p"), follows("p:1", service="T"), follows("p:2")))
    assert said(verdicts) == [(EXISTING, "p:1"), (NEW, "p:2")]
    assert job(store, "p")["state"] == "complete" and listed(store) == ["p:2", "p:1", "p"]


def test_where_somebody_elses_job_has_its_id_it_has_the_spare_one(store: Store) -> None:
    store.commit([insert("p"), insert("p:1"), insert("p:2", parent="q")])
    writes = [follows("p:1", spare="s1", batch="b"), follows("p:2", spare="s2"), follows("cron", None)]
    verdicts = store.commit(unit(finish("p"), *writes))
    assert said(verdicts) == [(NEW, "s1"), (NEW, "s2"), (NEW, "cron")]
    assert job(store, "s1") == writes[0].row | {"id": "s1", "history": []}
    assert writes[0].row["id"] == "p:1", "a write is as it was"
    assert job(store, "p:1")["parent"] is None
    # Nobody is a parent as well as another.
    assert said(store.commit([follows("cron", None), follows("p:2", None, "s3")])) == [
        (EXISTING, "cron"),
        (NEW, "s3"),
    ]


def test_two_that_want_the_same_id_in_one_commit(store: Store) -> None:
    verdicts = store.commit([insert("x"), follows("x", spare="y"), follows("z"), follows("z")])
    assert said(verdicts) == [(NEW, "x"), (NEW, "y"), (NEW, "z"), (EXISTING, "z")]


def test_if_even_the_spare_id_is_taken_the_core_is_broken(store: Store) -> None:
    store.commit([insert("x"), insert("spare")])
    with pytest.raises(AssertionError):
        store.commit([insert("before"), follows("x")])


def test_who_holds_its_unique_key_stands_for_it_and_refuses_nothing(store: Store) -> None:
    store.commit([insert("p"), insert("holder", unique="u"), insert("taken")])
    writes = [follows("p:1", unique="u"), follows("taken", unique="u"), follows("p:3", unique="v")]
    verdicts = store.commit(unit(finish("p"), *writes))
    assert said(verdicts) == [(UNIQUE_CONFLICT, "holder"), (UNIQUE_CONFLICT, "holder"), (NEW, "p:3")]
    assert job(store, "p")["state"] == "complete" and found(store, "spare") is None


def test_no_full_service_refuses_it(store: Store) -> None:
    write = follows("p:1")
    write.only_if_known = True
    verdicts = store.commit([insert("x", only_if_known=True), write])
    assert said(verdicts) == [(FULL, "x"), (NEW, "p:1")]


def test_no_lack_of_room_refuses_it_in_memory() -> None:
    store = MemoryStore(bytes_max=1)
    large = follows("p:1", body=b"x" * 100_000)
    large.size += 100_000
    plain = insert("x", body=b"x" * 100_000)
    plain.size += 100_000
    assert said(store.commit([large, plain])) == [(NEW, "p:1"), (FULL, "x")]
    assert said(store.commit(unit(finish("p:1"), follows("p:2", parent="p:1")))) == [(NEW, "p:2")]


# ---------------------------------------------------------------- families


def test_a_family_begins_at_the_first_and_goes_down_in_generations(store: Store) -> None:
    store.commit([insert("root"), insert("stranger"), insert("a", parent="root"), insert("b", parent="root")])
    store.commit([insert("b1", parent="b"), insert("a1", parent="a"), insert("a2", parent="a")])
    store.commit([insert("a11", parent="a1", depth=3, step=2, steps=5), insert("s1", parent="stranger")])
    whole = ["root", "a", "b", "a1", "a2", "b1", "a11"]
    for job_id in whole:
        assert family(store, job_id) == whole
    assert family(store, "s1") == ["stranger", "s1"] and family(store, "nobody") == []
    rows = store.read(ReadFamily(None, "a11", 10))
    last = rows.rows[-1]
    assert (last["depth"], last["step"], last["steps"]) == (3, 2, 5) and last["body"] == ()
    assert rows.next is None and "history" not in last
    for limit in range(1, 9):
        page = store.read(ReadFamily(None, "b1", limit))
        assert ids(page.rows) == whole[:limit] and (page.next is None) == (limit >= 7)
    # Whose parent is forgotten is the first now.
    store.commit([finish("root"), delete("root")])
    assert family(store, "a11") == ["a", "a1", "a2", "a11"] and family(store, "b") == ["b", "b1"]


def test_nobody_is_in_a_family_twice_though_ids_were_given_twice(store: Store) -> None:
    store.commit([insert("a", parent="c"), insert("b", parent="a"), insert("c", parent="b")])
    store.commit([insert("self", parent="self"), insert("child", parent="self")])
    assert family(store, "a") == ["b", "c", "a"] and family(store, "c") == ["a", "b", "c"]
    assert family(store, "self") == ["self", "child"] == family(store, "child")
    assert store.read(ReadFamily(None, "a", 3)).next is None
    assert store.read(ReadFamily(None, "a", 2)).next is not None


def test_a_family_is_bounded_in_time_and_in_height(monkeypatch: pytest.MonkeyPatch) -> None:
    store, model = MemoryStore(), ModelStore()
    for n in range(100):
        store.commit([insert(f"j{n}", parent=f"j{n - 1}")])
        model.commit([insert(f"j{n}", parent=f"j{n - 1}")])
    assert family(store, "j50", 1000) == [f"j{n}" for n in range(100)] == family(model, "j50", 1000)
    monkeypatch.setattr(reads, "PARENTS", 10)
    assert family(store, "j50", 3) == ["j41", "j42", "j43"]
    monkeypatch.setattr(reads, "PAGE_S", -1.0)
    page = store.read(ReadFamily(None, "j50", 1000))
    assert ids(page.rows) == ["j50"] and page.next is not None


def test_ends_of_kin_are_counted_as_others(store: Store) -> None:
    store.commit([insert("a", **KIN | {"batch": None}), finish("a", "failed", error={"code": "c"})])
    assert unfinished(store).ended == {("S", "failed"): 1}
    assert job(store, "a")["cause"] is not None
