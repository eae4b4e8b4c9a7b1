"""Jobs in which a text stands."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.store.contract import finish, ids, insert, job
from tests.store.disk import opened
from tests.store.model import ModelStore
from zmws.core.job import listed_error
from zmws.core.reads import Filter, ReadSearch
from zmws.core.rows import Rows
from zmws.core.writes import InsertJob
from zmws.store.base import Store
from zmws.store.sql import search
from zmws.store.sql.search import Search
from zmws.store.sqlite.dialect import SQLITE
from zmws.store.sqlite.memory import MemoryStore

EVERYWHERE = ("id", "error", "params", "result")
HOSTILE = 'ä "x" \\ \n\t\0 \u2028 € \U0001f600'


def page(
    store: Store | Search,
    text: str,
    places: Sequence[str] = EVERYWHERE,
    limit: int = 100,
    cursor: int | None = None,
    **where: Any,
) -> Rows:
    read = ReadSearch(None, Filter(**where), text, tuple(places), limit, cursor)
    return store.answer(read) if isinstance(store, Search) else store.read(read)


def searched(store: Store | Search, text: str, *places: str, limit: int = 100, **where: Any) -> list[str]:
    """All that is found, page after page."""
    found: list[str] = []
    cursor = None
    while True:
        rows = page(store, text, places or EVERYWHERE, limit, cursor, **where)
        assert len(rows.rows) <= limit
        found += ids(rows.rows)
        if rows.next is None:
            return found
        assert cursor is None or rows.next < cursor
        cursor = rows.next


def with_params(job_id: str, params: Any, ascii_only: bool = True, **more: Any) -> InsertJob:
    text = "PARAM-JSON: " + json.dumps(params, ensure_ascii=ascii_only)
    return insert(job_id, text.encode("utf-8", "surrogatepass"), **more)


# ---------------------------------------------------------------- where a text stands


def test_a_text_is_found_in_each_place_that_is_asked_for(store: Store) -> None:
    store.commit([insert("wort"), insert("b", b"ein wort"), insert("c"), insert("d"), insert("e")])
    store.commit([finish("c", "failed", error={"code": "c", "error": "kein wort"})])
    store.commit([finish("d", result=(b"das wort",))])
    assert searched(store, "wort", "id") == ["wort"]
    assert searched(store, "wort", "params") == ["b"]
    assert searched(store, "wort", "error") == ["c"]
    assert searched(store, "wort", "result") == ["d"]
    assert searched(store, "wort") == ["d", "c", "b", "wort"]
    assert searched(store, "wort", "result", "id") == ["d", "wort"]
    assert searched(store, "Wort") == [] == searched(store, "wort ")


def test_what_is_found_is_a_row_of_a_list(store: Store) -> None:
    error = {"code": "c", "error": "x" * 10_000, "type": "T", "traceback": "needle"}
    store.commit([insert("a", b"body"), insert("b")])
    store.commit([finish("a", "failed", error=error, result=(b"r",), attempts=({"attempt": 1},))])
    (row,) = page(store, "needle").rows
    unlisted = {"body": (), "result": (), "attempts": (), "states": ()}
    expected = job(store, "a", whole=False) | unlisted | {"error": listed_error(error)}
    assert row == expected


@pytest.mark.parametrize("ascii_only", [True, False])
def test_a_text_is_found_however_json_has_written_it(store: Store, ascii_only: bool) -> None:
    store.commit([with_params("a", {"name": HOSTILE}, ascii_only), with_params("b", {"name": "Grusse"})])
    for n in range(len(HOSTILE)):
        for part in (HOSTILE[n:], HOSTILE[: n + 1]):
            assert searched(store, part, "params")[-1:] == ["a"], part
    assert searched(store, HOSTILE, "params") == ["a"]
    assert searched(store, 'ä "x" \\\\', "params") == []


def test_a_text_is_found_as_it_is_where_no_json_is(store: Store) -> None:
    store.commit([insert("a", HOSTILE.encode()), insert("b", b"\xff\xfe \x80"), insert("c", b"")])
    store.commit([finish("b", result=(HOSTILE.encode(), b"\xff tail"))])
    assert searched(store, HOSTILE, "params") == ["a"]
    assert searched(store, HOSTILE, "result") == ["b"]
    assert searched(store, "tail") == ["b"]
    assert searched(store, "€ \U0001f600") == ["b", "a"]


def test_an_error_is_looked_through_as_the_json_that_it_is(store: Store) -> None:
    store.commit([insert("a"), insert("b")])
    store.commit([finish("a", "failed", error={"code": "c", "error": f"bad {HOSTILE}", "traceback": "t\nu"})])
    assert searched(store, HOSTILE, "error") == ["a"]
    assert searched(store, "bad ä", "error") == ["a"]
    assert searched(store, "t\nu", "error") == ["a"]
    assert searched(store, "traceback", "error") == ["a"]  # the names are of it too


def test_half_a_surrogate_pair_is_found_where_it_is_and_nowhere_else(store: Store) -> None:
    store.commit([with_params("a", "x\ud800y"), with_params("b", "x\ud800y", ascii_only=False)])
    store.commit([insert("c", b"x?y"), insert("x?y"), insert("d"), insert("e")])
    store.commit([finish("d", "failed", error={"code": "c", "error": "x\ud800y"})])
    store.commit([finish("e", "failed", error={"code": "c", "error": "x?y"})])
    assert searched(store, "x\ud800y") == ["d", "b", "a"]
    assert searched(store, "\ud800", "id", "error") == ["d"]
    assert searched(store, "\ud800", "id") == []
    assert searched(store, "\udfff") == []


def test_a_job_without_a_body_or_a_result_is_no_obstacle(store: Store) -> None:
    store.commit([insert("a", b""), insert("b", b"needle")])
    assert searched(store, "needle") == ["b"]
    assert searched(store, "needle", "result") == []


# ---------------------------------------------------------------- filters


def test_a_search_is_filtered_by_all_that_is_given(store: Store) -> None:
    for n in range(24):
        more = {"service": "ST"[n % 2], "group": ("g", None, "h")[n % 3], "created_at": float(n)}
        store.commit([insert(f"j{n}", b"needle" if n % 4 else b"hay", **more)])
        if n % 5 == 0:
            store.commit([finish(f"j{n}", "failed", service="ST"[n % 2], error={"code": "cd"[n % 10 > 0]})])
    cause = job(store, "j5")["cause"]
    kept = [n for n in range(24) if n % 4]
    for where, wanted in (
        ({}, kept),
        ({"service": "T"}, [n for n in kept if n % 2]),
        ({"service": "nobody"}, []),
        ({"group": "h"}, [n for n in kept if n % 3 == 2]),
        ({"since": 5.0, "before": 9.0}, [n for n in kept if 5 <= n < 9]),
        ({"state": "failed"}, [n for n in kept if n % 5 == 0]),
        ({"state": "failed", "service": "S"}, [n for n in kept if n % 10 == 0]),
        ({"state": "waiting"}, [n for n in kept if n % 5]),
        ({"state": "complete"}, []),
        ({"cause": cause}, [5, 15]),
        ({"cause": cause, "state": "failed", "group": "h"}, [5]),
        ({"cause": cause, "service": "S"}, []),
        ({"cause": "0" * 12}, []),
    ):
        for limit in (1, 3, 100):
            found = searched(store, "needle", limit=limit, **where)
            assert found == [f"j{n}" for n in reversed(wanted)], where


# ---------------------------------------------------------------- pages


def test_a_page_says_how_much_it_has_looked_at_and_how_far_back_that_was(store: Store) -> None:
    for n in range(20):
        store.commit([insert(f"j{n}", b"needle" if n in (3, 7, 8, 15) else b"hay", created_at=100.0 - n)])
    rows = page(store, "needle", limit=2)
    assert ids(rows.rows) == ["j15", "j8"] and rows.next == job(store, "j8")["number"]
    assert (rows.looked, rows.looked_to) == (12, 81.0)  # j19 is of the earliest time
    rows = page(store, "needle", limit=2, cursor=rows.next)
    assert ids(rows.rows) == ["j7", "j3"] and rows.next is None
    assert (rows.looked, rows.looked_to) == (8, 93.0)
    rows = page(store, "needle", cursor=job(store, "j0")["number"])
    assert (rows.rows, rows.next, rows.looked, rows.looked_to) == ([], None, 0, None)
    assert page(store, "needle", limit=4).next is None


def pages_of(some: Search, text: str, limit: int, **where: Any) -> Iterator[Rows]:
    cursor = None
    while True:
        rows = page(some, text, ("params",), limit, cursor, **where)
        assert len(rows.rows) <= limit
        yield rows
        if rows.next is None:
            return
        cursor = rows.next


def test_a_page_in_many_windows_is_as_one_in_one() -> None:
    store, model = MemoryStore(), ModelStore()
    times = [float((n * 7 + 100) % 400) for n in range(400)]  # the earliest is in the middle
    for n in range(400):
        write = insert(f"j{n}", f"body {n} {n % 7} {n % 90 == 3}".encode(), created_at=times[n])
        for one in (store, model):
            one.commit([write])
            if n % 3 == 0:
                one.commit([finish(f"j{n}", "failed", error={"error": "e"})])
    cause = job(model, "j0")["cause"]
    for rows_max in (1, 7, 60, 2_000):
        some = Search(store._connection, SQLITE, 60.0, rows_max=rows_max)
        for text in ("True", "body 39", "nowhere", "body"):
            for where in ({}, {"state": "failed"}, {"service": "S"}, {"cause": cause}):
                for limit in (1, 4, 400):
                    pages = list(pages_of(some, text, limit, **where))
                    found = [job_id for one in pages for job_id in ids(one.rows)]
                    assert found == searched(model, text, "params", **where)
                    # Each record of the path is looked at once.
                    of_path = times[::3] if "state" in where or "cause" in where else times
                    assert sum(one.looked for one in pages) == len(of_path)
                    looked_to = [one.looked_to for one in pages if one.looked_to is not None]
                    assert min(looked_to) == min(of_path)


def test_a_page_whose_time_is_up_says_where_to_go_on() -> None:
    store = MemoryStore()
    store.commit(
        [insert(f"j{n}", b"needle" if n % 40 == 0 else b"hay", created_at=float(n)) for n in range(100)]
    )
    slow = Search(store._connection, SQLITE, 0.0, rows_max=10)
    seen = []
    cursor = None
    while True:
        rows = page(slow, "needle", cursor=cursor)
        seen.append((ids(rows.rows), rows.looked, rows.looked_to))
        if rows.next is None:
            break
        assert rows.next == job(store, f"j{100 - 10 * len(seen)}")["number"]
        cursor = rows.next
    expected = [([f"j{n}"] if n % 40 == 0 else [], 10, float(n)) for n in range(90, -1, -10)]
    assert seen == [*expected, ([], 0, None)]
    assert searched(slow, "needle") == ["j80", "j40", "j0"]


@pytest.mark.parametrize("path_of_it", [{}, {"service": "S"}, {"state": "failed"}, {"cause": "c"}])
def test_a_search_that_goes_on_finds_each_job_once(path: Path, path_of_it: dict[str, Any]) -> None:
    store = opened(path, search_s_max=0.0)
    store.commit([insert(f"j{n}", b"needle" if n % 60 == 0 else b"hay") for n in range(300)])
    store.commit([finish(f"j{n}", "failed", error={"error": "e"}) for n in range(300)])
    if "cause" in path_of_it:
        path_of_it = {"cause": job(store, "j0")["cause"]}
    for limit in (1, 2, 100):
        found = searched(store, "needle", limit=limit, **path_of_it)
        assert found == ["j240", "j180", "j120", "j60", "j0"]
    assert page(store, "nowhere", **path_of_it).looked == search.FIRST_ROWS
    store.close()


def test_a_page_of_large_records_does_not_take_much_longer_than_it_may(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By a clock of its own: each record that is looked at takes a tenth of a second."""
    store = MemoryStore()
    store.commit([insert(f"j{n}") for n in range(500)])
    some = Search(store._connection, SQLITE, 20.0, rows_max=2_000)
    clock, windows, fetch = [0.0], [], some._fetch

    def fetched(text: str, values: tuple[Any, ...]) -> list[Any]:
        windows.append(values[-1])
        clock[0] += values[-1] / 10
        return fetch(text, values)

    monkeypatch.setattr(some, "_fetch", fetched)
    monkeypatch.setattr(search.time, "monotonic", lambda: clock[0])
    rows = page(some, "nowhere")
    assert rows.next is not None and rows.looked == sum(windows)
    # A window is half of the one before, down to a single record, so the page ends soon after its time.
    assert windows[:7] == [50, 25, 12, 6, 3, 1, 1] and 20.0 < clock[0] < 20.2
    windows.clear()
    some = Search(store._connection, SQLITE, 20.0, rows_max=200)
    monkeypatch.setattr(
        some, "_fetch", lambda text, values: windows.append(values[-1]) or fetch(text, values)
    )
    assert page(some, "nowhere").looked == 500
    assert windows == [50, 100, 200, 200]


def test_a_search_beside_commits_holds_its_turn_for_a_statement_alone() -> None:
    turns: list[str] = []

    class Turn:
        def __enter__(self) -> None:
            assert turns[-1:] != ["in"]
            turns.append("in")

        def __exit__(self, *wrong: object) -> None:
            turns.append("out")

    store = MemoryStore()
    store.commit([insert(f"j{n}") for n in range(100)])
    assert searched(Search(store._connection, SQLITE, 9.0, Turn(), 10), "nowhere") == []
    assert turns.count("in") == turns.count("out") > 20


@pytest.mark.parametrize(
    ("where", "index"),
    [
        ({}, "jobs"),
        ({"service": "S"}, "jobs_service (service=? AND number>? AND number<?)"),
        ({"state": "failed"}, "jobs_failed (number>? AND number<?)"),
        ({"parent": "a"}, "jobs_of_parent (parent=? AND number>? AND number<?)"),
        ({"chain": "a", "service": "S"}, "jobs_of_chain (chain=? AND number>? AND number<?)"),
        ({"batch": "a", "state": "failed"}, "jobs_of_batch (batch=? AND number>? AND number<?)"),
        ({"cause": "c"}, "caused USING PRIMARY KEY (cause=? AND number>? AND number<?)"),
        ({"cause": "c", "service": "S", "state": "failed"}, "caused USING PRIMARY KEY (cause=?"),
    ],
)
def test_a_search_walks_along_an_index(where: dict[str, Any], index: str) -> None:
    store = MemoryStore()
    store.commit([insert("a"), insert("b")])
    some, plans = Search(store._connection, SQLITE, 9.0), []

    class Watching:
        def __call__(self, text: str, values: Any) -> Any:
            plans.append([row[3] for row in store._connection.execute(f"EXPLAIN QUERY PLAN {text}", values)])
            return store._connection.execute(text, values)

    some._execute = Watching()
    page(some, "needle", **where)
    for plan in plans:
        assert any(index in step for step in plan), plan
        assert not any("TEMP B-TREE" in step for step in plan), plan


def test_a_slash_is_found_as_php_escapes_it_and_a_short_text_is_not_found_in_a_length(store: Store) -> None:
    store.commit([insert("a", body=rb'PARAM-JSON: {"path": "in\/out"}'), insert("b", body=b"x" * 0x27)])
    for text, found in (("in/out", ["a"]), ("'", []), ("x", ["b"]), ("xx", ["b"]), ("}", ["a"])):
        rows = store.read(ReadSearch(None, Filter(), text, ("params",))).rows
        assert [row["id"] for row in rows] == found, text
