"""Lists, and what an operator's filter names."""

from __future__ import annotations

from typing import Any

from tests.store.contract import (
    finish,
    ids,
    insert,
    job,
    listed,
    matching,
)
from zmws.core.reads import Filter, ReadJobs
from zmws.core.rows import Row
from zmws.core.states import FINAL_STATES, STATES
from zmws.core.writes import Write
from zmws.store.base import Store


def test_lists_are_newest_first_and_go_on_where_they_stopped(store: Store) -> None:
    store.commit([insert(f"j{n}") for n in range(25)])
    newest_first = [f"j{n}" for n in reversed(range(25))]
    for limit in (1, 3, 5, 24, 25, 100):
        assert listed(store, limit=limit) == newest_first
        assert matching(store, limit=limit) == newest_first[::-1]
    page = store.read(ReadJobs(None, Filter(), 25))
    assert page.next is None and "history" not in page.rows[0]


def test_lists_show_of_an_error_its_code_its_type_and_the_beginning_of_its_text(store: Store) -> None:
    error = {"code": "job_failed", "error": "half \ud800 " + "x" * 10_000_000, "type": "Oh", "traceback": "t"}
    store.commit([insert("a"), insert("b"), insert("c")])
    store.commit([finish("a", "failed", error=error), finish("b", "failed", error={"code": "mine"})])
    for where in (Filter(), Filter(state="failed"), Filter(service="S")):
        rows = {row["id"]: row for row in store.read(ReadJobs(None, where, 10)).rows}
        shown = {"code": "job_failed", "error": error["error"][:200], "type": "Oh"}
        assert rows["a"]["error"] == shown
        assert rows["b"]["error"] == {"code": "mine", "error": ""}
        assert "c" not in rows or rows["c"]["error"] is None
    assert job(store, "a")["error"] == error


def test_lists_are_filtered_by_all_that_is_given(store: Store) -> None:
    populate(store)
    rows = store.read(ReadJobs(None, Filter(), 1000)).rows
    for where in FILTERS:
        kept = [row["id"] for row in rows if matches(row, where)]
        for limit in (2, 1000):
            assert listed(store, limit, **where) == kept, where
            assert matching(store, limit=limit, **where) == kept[::-1], where


def test_what_an_operator_names_is_of_some_states_and_between_two_numbers(store: Store) -> None:
    populate(store)
    rows = store.read(ReadJobs(None, Filter(), 1000)).rows[::-1]
    numbers = [row["number"] for row in rows]
    for states in (("failed",), ("waiting", "scheduled"), ("running", "complete"), (), STATES):
        for where in FILTERS:
            kept = [row for row in rows if row["state"] in states and matches(row, where)]
            assert matching(store, states, 3, **where) == ids(kept)
            some = [row for row in kept if numbers[4] < row["number"] <= numbers[-5]]
            assert matching(store, states, 3, numbers[4], numbers[-5], **where) == ids(some)


FILTERS: list[dict[str, Any]] = [
    {},
    {"service": "S"},
    {"service": "nobody"},
    {"group": "g"},
    {"since": 20.0},
    {"before": 20.0},
    {"since": 10.0, "before": 30.0, "service": "T"},
    *({"state": state} for state in STATES),
    *({"state": state, "service": "T"} for state in STATES),
    {"state": "waiting", "group": "g", "service": "S"},
    {"state": "failed", "since": 20.0},
    {"batch": "b"},
    {"batch": "c", "service": "S"},
    {"batch": "nobody"},
    {"chain": "c"},
    {"chain": "c", "batch": "b"},
    {"parent": "j0"},
    {"parent": "j0", "since": 10.0},
    {"submitter": "ann"},
    {"submitter": "ann", "chain": "c"},
    {"submitter": "ann", "state": "failed"},
    {"submitter": "nobody"},
    *({"state": state, "batch": "b"} for state in STATES),
    *({"state": state, "parent": "j0", "group": "g"} for state in ("waiting", "failed")),
]


NAMES = ("service", "state", "group", "batch", "chain", "parent", "submitter")


def matches(row: Row, where: dict[str, Any]) -> bool:
    since, before = where.get("since"), where.get("before")
    return (
        all(row[name] == where[name] for name in NAMES if name in where)
        and (since is None or row["created_at"] >= since)
        and (before is None or row["created_at"] < before)
    )


def populate(store: Store) -> None:
    """42 jobs: each state, two services, with and without a group, and in part kin."""
    writes: list[Write] = []
    for n in range(42):
        state = STATES[n % 7]
        first = "waiting" if state in FINAL_STATES else state
        kin: dict[str, Any] = {"batch": [None, "b", "c", "b"][n % 4], "chain": [None, "c"][n % 2]}
        kin["submitter"] = [None, "ann", "ann"][n % 3]
        kin["parent"] = ["j0", None, "j1", None, None][n % 5]
        writes.append(
            insert(
                f"j{n}",
                service="ST"[n % 2],
                group=["g", None, "h"][n % 3],
                created_at=float(n),
                state=first,
                **kin if n % 7 != 3 else {},
            )
        )
        if state in FINAL_STATES:
            writes.append(finish(f"j{n}", state, service="ST"[n % 2]))
    store.commit(writes)
