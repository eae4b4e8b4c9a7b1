"""What operators did: it is kept, listed in pages, and forgotten by age and by number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.store.contract import insert, unit
from tests.store.disk import by_hand, opened
from zmws.core.reads import ReadAudit
from zmws.core.rows import Act
from zmws.core.writes import FULL, ForgetActs, WriteAct
from zmws.store.base import Store
from zmws.store.sql import reads
from zmws.store.sql.sql_files import queries
from zmws.store.sqlite import upkeep
from zmws.store.sqlite.memory import MemoryStore

ALWAYS = (0.0, 1_000_000)  # nothing is forgotten


def act(at: float, by: str = "anna", verb: str = "pause", on: str | None = "S", **more: Any) -> WriteAct:
    kept = more.pop("kept", ALWAYS)
    rest = {"detail": None, "count": None, "outcome": "done"} | more
    return WriteAct(*kept, at, by, verb, on, **rest)


def page(store: Store, limit: int = 100, cursor: int | None = None, **where: Any) -> tuple[list[Act], Any]:
    known = dict.fromkeys(("by", "verb", "on", "since", "before")) | where
    rows = store.read(ReadAudit(None, limit=limit, cursor=cursor, **known))
    return rows.acts, rows.next


def numbers(store: Store, limit: int = 100, **where: Any) -> list[int]:
    """Of the whole list, page after page."""
    found: list[int] = []
    cursor = None
    while True:
        acts, cursor = page(store, limit, cursor, **where)
        assert len(acts) <= limit
        found += [one.number for one in acts]
        if cursor is None:
            return found


def test_an_act_is_kept_as_it_was_and_the_newest_comes_first(store: Store) -> None:
    store.commit([act(5.5, verb="cancel", on="j1", detail='{"dry": 1}', count=3)])
    store.commit([act(6.5, by="bob", on=None, outcome="not_possible")])
    assert page(store) == (
        [
            Act(2, 6.5, "bob", "pause", None, None, None, "not_possible"),
            Act(1, 5.5, "anna", "cancel", "j1", '{"dry": 1}', 3, "done"),
        ],
        None,
    )


def test_acts_are_found_by_who_what_where_and_when(store: Store) -> None:
    store.commit(
        [
            act(1.0),
            act(2.0, by="bob"),
            act(3.0, verb="stop", on="hello"),
            act(4.0, on="T"),
            act(2.5, on=None),  # the clock was set back
        ]
    )
    assert numbers(store) == [5, 4, 3, 2, 1]
    assert numbers(store, by="bob") == [2] and numbers(store, by="bo") == []
    assert numbers(store, verb="stop") == [3]
    assert numbers(store, on="S") == [2, 1] and numbers(store, on="S", by="anna") == [1]
    assert numbers(store, since=2.0) == [5, 4, 3, 2], "the first is included"
    assert numbers(store, before=2.5) == [2, 1], "and the second is not"
    assert numbers(store, since=2.0, before=4.0) == [5, 3, 2]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8, 100])
def test_pages_go_on_where_the_one_before_has_ended(store: Store, limit: int) -> None:
    for n in range(1, 9):
        store.commit([act(float(n), by="anna" if n % 2 else "bob")])
    assert numbers(store, limit) == [8, 7, 6, 5, 4, 3, 2, 1]
    assert numbers(store, limit, by="bob") == [8, 6, 4, 2]
    acts, _ = page(store, 1, cursor=5)
    assert [one.number for one in acts] == [4]
    store.commit([act(9.0)])
    acts, _ = page(store, 3, cursor=5)
    assert [one.number for one in acts] == [4, 3, 2], "what came since moves no page"


def test_acts_are_forgotten_by_age_and_the_newest_are_kept(store: Store) -> None:
    store.commit([act(float(n)) for n in range(1, 7)])
    store.commit([act(7.0, kept=(3.0, 1_000))])
    assert numbers(store) == [7, 6, 5, 4, 3]
    store.commit([act(8.0, kept=(0.0, 2))])
    assert numbers(store) == [8, 7]
    store.commit([ForgetActs(8.0, 1_000)])
    assert numbers(store) == [8]
    store.commit([ForgetActs(0.0, 1)])
    assert numbers(store) == [8]
    store.commit([ForgetActs(9.0, 1)])
    assert numbers(store) == []
    store.commit([act(10.0)])
    assert numbers(store) == [9], "a number never comes again"


def test_very_many_are_forgotten_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zmws.store.sql.audit.FORGOTTEN_MAX", 10)
    store = MemoryStore()
    store.commit([act(float(n)) for n in range(1, 51)])
    left = []
    for kept in ((0.0, 20), (0.0, 20), (0.0, 20), (45.0, 20), (45.0, 20)):
        store.commit([ForgetActs(*kept)])
        left.append(len(numbers(store)))
    assert left == [40, 30, 20, 10, 6]


def test_an_act_of_a_refused_unit_is_not_there(store: Store) -> None:
    store.commit([act(1.0)])
    told = store.commit(unit(act(2.0), insert("x", only_if_known=True)))
    assert [one.verdict for one in told] == [FULL] and numbers(store) == [1]
    store.commit([act(3.0)])
    after, first = numbers(store)
    assert first == 1 < after


def test_half_a_surrogate_pair_is_kept_as_nearly_as_can_be(store: Store) -> None:
    store.commit([act(1.0, on="half \ud800")])
    (one,), _ = page(store)
    assert one.on == "half ?"


def test_a_page_for_what_hardly_anybody_did_looks_at_a_bounded_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reads, "PAGE_S", -1.0)  # the time is up after each window
    store = MemoryStore()
    store.commit([act(float(n), by="bob" if n == 1 else "anna") for n in range(1, 301)])
    acts, cursor = page(store, 2, by="bob")
    assert acts == [] and cursor is not None and 1 < cursor < 300
    assert numbers(store, 2, by="bob") == [1]


def test_what_one_did_is_found_in_whatever_window_it_is(store: Store) -> None:
    store.commit([act(float(n), by=f"b{n}") for n in range(1, 31)])
    for n in range(1, 31):
        assert numbers(store, 1, by=f"b{n}") == [n]


def test_acts_are_there_after_the_file_was_opened_again(path: Path) -> None:
    store = opened(path)
    store.commit([act(1.0), act(2.0)])
    before = page(store)
    store.close()
    store = opened(path)
    assert page(store) == before and len(before[0]) == 2
    store.close()
    assert upkeep.check(path) == []


@pytest.mark.parametrize(
    ("name", "values", "index"),
    [
        ("acts", (0, 9, None, None, None, None, None, 9), "INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
        ("acts_edge", (9, 9), "INTEGER PRIMARY KEY (rowid<?)"),
        ("forget_old_acts", (0, 9), "COVERING INDEX audit_at (at<?)"),
        ("forget_more_acts", (9, 9), "INTEGER PRIMARY KEY (rowid<?)"),
    ],
)
def test_the_audit_goes_by_its_indexes(path: Path, name: str, values: tuple[Any, ...], index: str) -> None:
    opened(path).close()
    with by_hand(path) as connection:
        text = "EXPLAIN QUERY PLAN " + queries()[name]
        plan = [row[3] for row in connection.execute(text, values)]
    assert any(index in step for step in plan), plan
    assert not any("TEMP B-TREE" in step for step in plan), plan


@pytest.mark.parametrize("detail", ["nothing", "[]"])
def test_a_check_notices_damage_to_the_audit(path: Path, detail: str) -> None:
    store = opened(path)
    store.commit([act(1.0, detail="{}"), act(2.0)])
    store.close()
    assert upkeep.check(path) == []
    with by_hand(path) as connection:
        connection.execute("UPDATE audit SET detail = ? WHERE number = 1", (detail,))
    assert upkeep.check(path) == ["1 acts have a detail that cannot be read, the first is number 1"]
